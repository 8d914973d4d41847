"""Consents held because nobody with the address is in Klaviyo: looked at again as soon as that may have changed."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import update
from sqlalchemy.orm import Session

from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import affected
from webapp.dialects import among, db_now
from webapp.models import Delivery, LaneKind
from webapp.services import lanes


def release(session: Session, connection_id: int, person_ids: Iterable[int] | None = None) -> int:
    """Look again at the held consents of these people (found now), or of all (the behavior changed); how many."""
    statement = update(Delivery).where(
        Delivery.connection_id == connection_id,
        Delivery.kind == Kind.CONSENT,
        Delivery.status == Status.WAITING,
        Delivery.reason == Reason.NOT_IN_KLAVIYO,
        Delivery.due_at > db_now(),
    )
    if person_ids is not None:
        statement = statement.where(among(session, Delivery.person_id, person_ids))
    released = affected(session, statement.values(due_at=db_now()).execution_options(synchronize_session=False))
    if released:
        lanes.nudge(session, connection_id, LaneKind.CONSENTS)
    return released
