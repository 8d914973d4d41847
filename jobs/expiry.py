"""What waited for seven days ends as `failed: expired`. Consents: their own lane decides."""

from __future__ import annotations

from collections import Counter
from functools import partial

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import among, db_now, reading, run_writing
from webapp.models import Delivery, Lane, LaneKind
from webapp.models.delivery import PRIORITY_BACKFILL, PRIORITY_LIVE, PRIORITY_RESEND
from webapp.services import lanes

BITE = 1000
KINDS = {LaneKind.EVENTS: Kind.EVENT, LaneKind.FIELDS: Kind.FIELDS}
_DELIVERIES = Delivery.metadata.tables["deliveries"]


def run() -> None:
    """End what is too old, in bites. Only lanes where something waits are looked at, and only their oldest rows."""
    waits = Lane.made > Lane.delivered + Lane.skipped + Lane.failed
    statement = select(Lane.workspace_id, Lane.connection_id, Lane.kind).where(waits, Lane.kind.in_(list(KINDS)))
    with reading() as session:
        found = session.execute(statement).all()
    for workspace_id, connection_id, kind in found:
        for priority in (PRIORITY_LIVE, PRIORITY_RESEND, PRIORITY_BACKFILL):
            while ids := _oldest_expired(connection_id, KINDS[kind], priority):
                run_writing(partial(_end, ids=ids, key=(workspace_id, connection_id, KINDS[kind])))


def _oldest_expired(connection_id: int, kind: Kind, priority: int) -> list[int]:
    """Of the oldest waiting ones those that are over: ids grow with acceptance, and so do the ends."""
    oldest = (
        select(Delivery.id, Delivery.expires_at)
        .where(
            Delivery.connection_id == connection_id,
            Delivery.kind == kind,
            Delivery.status == Status.WAITING,
            Delivery.priority == priority,
        )
        .order_by(Delivery.id)
        .limit(BITE)
        .subquery()
    )
    with reading() as session:
        return list(session.scalars(select(oldest.c.id).where(oldest.c.expires_at < db_now())))


def _end(session: Session, ids: list[int], key: tuple[int, int, Kind]) -> None:
    values = {"status": Status.FAILED, "reason": Reason.EXPIRED, "settled_at": clock.now()}
    waiting = (among(session, _DELIVERIES.c.id, ids), _DELIVERIES.c.status == Status.WAITING)
    ended = session.connection().execute(update(_DELIVERIES).where(*waiting).values(**values)).rowcount
    workspace_id, connection_id, kind = key
    counted = Counter({kind: ended})
    lanes.count(session, workspace_id, connection_id, kind, lanes.Counts(failed=counted[kind]))
