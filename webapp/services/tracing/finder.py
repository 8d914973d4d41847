"""One box for whatever a person has in hand: an address, an activity's id, Klaviyo's request id, a delivery's id."""

from __future__ import annotations

from sqlalchemy import select

from webapp.extensions import db
from webapp.forms.delivery_filters import REQUEST_ID, Filters
from webapp.forms.numbers import row_id
from webapp.models import Activity, Attempt, Connection, Delivery
from webapp.services.tracing import trace


def find(workspace_id: int, text: str) -> Filters | int | None:
    """The filters that show it, or one delivery's id; None where nothing of this workspace is called so."""
    typed, text = text, text.strip()
    if "@" in text:
        person_id = trace.by_address(workspace_id, text)
        if person_id is not None:
            return Filters(person_id=person_id)
    # An id may begin or end with a space, and a copied one with one too many.
    activity = select(Activity.id).where(Activity.workspace_id == workspace_id)
    called = activity.where(Activity.external_id.in_([typed, text])).order_by(Activity.external_id != typed).limit(1)
    activity_id = db.session.scalar(called)
    if activity_id is not None:
        return Filters(activity_id=activity_id)
    carried = (
        select(Attempt.id)
        .join(Connection, Connection.id == Attempt.connection_id)
        .where(Attempt.request_id == text, Connection.workspace_id == workspace_id)
    )
    if db.session.scalar(carried.limit(1)) is not None:
        return Filters(request_id=text[:REQUEST_ID])
    number = row_id(text)
    if number is not None:
        delivery = select(Delivery.id).where(Delivery.workspace_id == workspace_id, Delivery.id == number)
        return db.session.scalar(delivery)
    return None
