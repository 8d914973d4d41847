"""What the platform posted and we could not accept."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from flask import Blueprint, g, render_template, request
from flask.typing import ResponseReturnValue

from webapp.forms.delivery_filters import Filters
from webapp.http.access import workspace_access
from webapp.models import Role
from webapp.services.activities import refusals
from webapp.views.connections import BASE, EVERYBODY
from webapp.views.deliveries import seen_by

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = re.compile(r"(\d{1,17})-(\d{1,18})", re.ASCII)
blueprint = Blueprint("refusals", __name__, url_prefix=f"{BASE}/deliveries/refused")


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """A page of them, newest first, each with the sentence the platform was answered."""
    after = _place(request.args.get("before", ""))
    found = refusals.page(g.workspace.id, after)
    return render_template(
        "deliveries/refused.html",
        refused=found.refused,
        is_first=after is None,
        following=_written(found.following) if found.following else None,
        filters=Filters(),
        seen=seen_by(in_full=g.role is Role.OWNER),
    )


def _written(place: refusals.Place) -> str:
    """A place in an address: microseconds, and the number; several of one call have the same moment."""
    return f"{(place.last_at - EPOCH) // timedelta(microseconds=1)}-{place.number}"


def _place(text: str) -> refusals.Place | None:
    """What `_written` wrote; None for anything else."""
    found = _PLACE.fullmatch(text)
    return refusals.Place(EPOCH + timedelta(microseconds=int(found[1])), int(found[2])) if found else None
