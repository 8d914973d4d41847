"""Which events are sent to Klaviyo."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.catalogue.events import EVENTS
from webapp.http.access import workspace_access
from webapp.models import Role
from webapp.services import sharing
from webapp.views.connections import BASE, EVERYBODY

blueprint = Blueprint("events", __name__, url_prefix=f"{BASE}/events")


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """Every event with what it is for, and whether it is on."""
    on = sharing.events_on(g.workspace.id)
    return render_template("events/index.html", events=EVENTS.values(), on=on)


@blueprint.post("")
@workspace_access(Role.OWNER)
def save() -> ResponseReturnValue:
    """Save the choice, or turn on what is recommended beside it."""
    wanted = set(request.form.getlist("event"))
    if "recommended" in request.form:
        wanted = set(sharing.events_on(g.workspace.id)) | {e.key for e in EVENTS.values() if e.recommended}
    sharing.choose_events(g.workspace.id, g.user.id, wanted)
    flash("Saved. It counts from now on.")
    return redirect(url_for("events.index", workspace=g.workspace.slug), 303)
