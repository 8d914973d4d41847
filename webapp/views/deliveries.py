"""What happened to every activity."""

from __future__ import annotations

from flask import Blueprint, abort, g, render_template, request
from flask.typing import ResponseReturnValue

from webapp.catalogue.causes import CAUSES
from webapp.catalogue.reasons import Reason, Status
from webapp.http.access import workspace_access
from webapp.http.pages import region
from webapp.models import Role
from webapp.services import delivery_search
from webapp.views.connections import BASE, EVERYBODY

blueprint = Blueprint("deliveries", __name__, url_prefix=f"{BASE}/deliveries")


def _filters() -> delivery_search.Filters:
    words = request.args
    status, reason = words.get("status"), words.get("reason")
    connection, before = words.get("connection", ""), words.get("before", "")
    return delivery_search.Filters(
        status=Status(status) if status in set(Status) else None,
        reason=Reason(reason) if reason in set(Reason) else None,
        connection_id=int(connection) if connection.isdigit() else None,
        before=int(before) if before.isdigit() else None,
    )


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """The list; filters stand in the URL. The first page keeps itself current."""
    filters = _filters()
    found = delivery_search.page(g.workspace.id, filters)
    shown = found[: delivery_search.PAGE]
    return region(
        "deliveries/index.html",
        "list",
        found=shown,
        following=shown[-1].delivery.id if len(found) > len(shown) else None,
        filters=filters,
        statuses=list(Status),
        reasons=list(Reason),
        causes=CAUSES,
        show_email=_show_email,
    )


@blueprint.get("/<int:delivery_id>")
@workspace_access(*EVERYBODY)
def show(delivery_id: int) -> ResponseReturnValue:
    """One delivery: what came, where it went, what Klaviyo said, what happens next."""
    found = delivery_search.one(g.workspace.id, delivery_id)
    if found is None:
        abort(404)
    row, activity, attempts = found
    return render_template(
        "deliveries/show.html",
        row=row,
        activity=activity,
        attempts=attempts,
        cause=CAUSES[row.delivery.reason],
        show_email=_show_email,
    )


def _show_email(email: str | None) -> str:
    """Owners see their people's addresses; support agents see them masked."""
    return (email or "no address") if g.role is Role.OWNER else delivery_search.masked(email)
