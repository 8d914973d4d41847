"""Which fields of a person are written to Klaviyo."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.http.access import workspace_access
from webapp.models import Role
from webapp.services import sharing
from webapp.views.connections import BASE, EVERYBODY

blueprint = Blueprint("fields", __name__, url_prefix=f"{BASE}/profile-data")


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """Every field with its Klaviyo property, and whether it is on."""
    known, on = sharing.fields(g.workspace.id)
    return render_template("fields/index.html", fields=known.values(), on=on)


@blueprint.post("")
@workspace_access(Role.OWNER)
def save() -> ResponseReturnValue:
    """Save the choice, or turn on what is recommended beside it."""
    known, on = sharing.fields(g.workspace.id)
    wanted = set(request.form.getlist("field"))
    if "recommended" in request.form:
        wanted = set(on) | {field.key for field in known.values() if field.recommended}
    sharing.choose_fields(g.workspace.id, g.user.id, wanted)
    flash("Saved. It counts from now on.")
    return redirect(url_for("fields.index", workspace=g.workspace.slug), 303)
