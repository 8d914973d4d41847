"""What waited for seven days ends as `failed: expired`, for whatever reason it waited.

Consents likewise, but for those held until somebody is in Klaviyo: `skipped: not_in_klaviyo`, as their own lane has it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, select, union_all, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading, run_writing
from webapp.dialects import among, db_now, pinned
from webapp.models import Lane, LaneKind
from webapp.models.delivery import PRIORITY_BACKFILL, PRIORITY_LIVE, PRIORITY_RESEND, PRIORITY_WITHDRAWAL
from webapp.models.tables import DELIVERIES
from webapp.services import lanes

BITE = 1000
KINDS = {LaneKind.EVENTS: Kind.EVENT, LaneKind.FIELDS: Kind.FIELDS, LaneKind.CONSENTS: Kind.CONSENT}
PRIORITIES = (PRIORITY_WITHDRAWAL, PRIORITY_LIVE, PRIORITY_RESEND, PRIORITY_BACKFILL)


def run() -> None:
    """End what is too old, in bites. Only lanes where something waits are looked at, and only their oldest rows."""
    waits = Lane.made > Lane.delivered + Lane.skipped + Lane.failed
    statement = select(Lane.workspace_id, Lane.connection_id, Lane.kind).where(waits, Lane.kind.in_(list(KINDS)))
    with reading() as session:
        found = session.execute(statement).all()
    for workspace_id, connection_id, kind in found:
        while ids := _some_expired(connection_id, KINDS[kind]):
            run_writing(partial(_end, ids=ids, key=(workspace_id, connection_id, KINDS[kind])))


def _some_expired(connection_id: int, kind: Kind) -> list[int]:
    """Of the waiting ones a bite of those that are over."""
    where = {"connection": connection_id, "delivery_kind": kind, "bite": BITE}
    with reading() as session:
        return list(session.connection().execute(_EXPIRED, where).scalars())


def _over(priority: int) -> Select[Any]:
    """Ids grow with acceptance, and so do the ends: the oldest tell. What is sent again has new ends, in any order."""
    waiting = (
        select(DELIVERIES.c.id, DELIVERIES.c.expires_at)
        .where(
            pinned(DELIVERIES.c.connection_id, "connection"),
            DELIVERIES.c.kind == bindparam("delivery_kind"),
            DELIVERIES.c.status == Status.WAITING,
            pinned(DELIVERIES.c.priority, f"priority{PRIORITIES.index(priority)}", priority),
        )
        .order_by(DELIVERIES.c.connection_id, DELIVERIES.c.priority, DELIVERIES.c.id)
    )
    looked = (waiting if priority == PRIORITY_RESEND else waiting.limit(_BITE)).subquery()
    return select(looked.c.id).where(looked.c.expires_at < db_now())


_BITE = bindparam("bite", type_=Integer)
_EXPIRED = union_all(*(_over(priority) for priority in PRIORITIES)).limit(_BITE)


def _end(session: Session, ids: list[int], key: tuple[int, int, Kind]) -> None:
    workspace_id, connection_id, kind = key
    waiting = (among(session, DELIVERIES.c.id, ids), DELIVERIES.c.status == Status.WAITING)
    held = and_(DELIVERIES.c.kind == Kind.CONSENT, DELIVERIES.c.reason == Reason.NOT_IN_KLAVIYO)
    skipped = _settled(session, (*waiting, held), Status.SKIPPED, Reason.NOT_IN_KLAVIYO)
    failed = _settled(session, waiting, Status.FAILED, Reason.EXPIRED)
    lanes.count(session, workspace_id, connection_id, kind, lanes.Counts(skipped=skipped, failed=failed))


def _settled(session: Session, which: tuple[ColumnElement[bool], ...], status: Status, reason: Reason) -> int:
    values = {"status": status, "reason": reason, "settled_at": clock.now()}
    return session.connection().execute(update(DELIVERIES).where(*which).values(**values)).rowcount
