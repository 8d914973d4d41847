"""Which events are sent to Klaviyo."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.catalogue.events import COMMON, EVENTS, GROUPS
from webapp.http.access import workspace_access
from webapp.models import Role
from webapp.services import sharing
from webapp.views.connections import BASE, EVERYBODY

blueprint = Blueprint("events", __name__, url_prefix=f"{BASE}/events")


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """Every event with what it is for, when it fires and what Klaviyo receives, and whether it is on."""
    return render_template(
        "events/index.html",
        groups={title: [event for event in EVENTS.values() if event.group == group] for group, title in GROUPS.items()},
        since=sharing.events_since(g.workspace.id),
        samples=sharing.samples(g.workspace.id),
        common=COMMON,
        total=len(EVENTS),
    )


@blueprint.post("")
@workspace_access(Role.OWNER)
def save() -> ResponseReturnValue:
    """Save the choice, or turn on what is recommended beside it."""
    wanted, shown = set(request.form.getlist("event")), None
    if "complete" in request.form:
        shown = set(request.form.getlist("shown"))
    if "recommended" in request.form:
        before = sharing.events_on(g.workspace.id) if shown is None else set()
        wanted |= before | sharing.recommended_events()
    change = sharing.choose_events(g.workspace.id, g.user.id, wanted, shown=shown)
    flash(change.sentence({event.key: event.title for event in EVENTS.values()}))
    return redirect(url_for("events.index", workspace=g.workspace.slug), 303)
