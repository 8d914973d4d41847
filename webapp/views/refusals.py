"""What the platform posted and we could not accept."""

from __future__ import annotations

from flask import Blueprint, g, render_template
from flask.typing import ResponseReturnValue

from webapp.forms.delivery_filters import Filters
from webapp.http.access import workspace_access
from webapp.models import Role
from webapp.services.activities import refusals
from webapp.views.connections import BASE, EVERYBODY
from webapp.views.deliveries import seen_by

blueprint = Blueprint("refusals", __name__, url_prefix=f"{BASE}/deliveries/refused")


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """The newest ones, each with the sentence the platform was answered."""
    found = refusals.newest(g.workspace.id)
    return render_template(
        "deliveries/refused.html",
        refused=found,
        shown=refusals.SHOWN,
        filters=Filters(),
        seen=seen_by(in_full=g.role is Role.OWNER),
    )
