"""Once a minute: what waited for too long ends, and grants that were not refreshed for a day are looked at."""

from __future__ import annotations

from collections import Counter
from functools import partial

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import db_now, reading, run_writing
from webapp.models import Connection, ConnectionState, Delivery, Grant, LaneKind
from webapp.services import grants, lanes

BITE = 1000


def run() -> None:
    """One round."""
    with reading() as session:
        ids = list(session.scalars(select(Connection.id)))
    for connection_id in ids:
        run_writing(partial(_expire, connection_id=connection_id))
    run_writing(_look_at_old_grants)


def _expire(session: Session, connection_id: int) -> None:
    """Whatever waits, for whatever reason, ends seven days after acceptance or resend. Consents: their lane."""
    statement = select(Delivery.id, Delivery.kind, Delivery.workspace_id).where(
        Delivery.connection_id == connection_id,
        Delivery.kind.in_([Kind.EVENT, Kind.FIELDS]),
        Delivery.status == Status.WAITING,
        Delivery.expires_at < db_now(),
    )
    rows = session.execute(statement.limit(BITE)).all()
    if not rows:
        return
    values = {"status": Status.FAILED, "reason": Reason.EXPIRED, "settled_at": clock.now()}
    session.execute(update(Delivery).where(Delivery.id.in_([row.id for row in rows])).values(**values))
    for kind, number in sorted(Counter(row.kind for row in rows).items()):
        lanes.count(session, rows[0].workspace_id, connection_id, kind, lanes.Counts(failed=number))


def _look_at_old_grants(session: Session) -> None:
    """A drain refreshes a grant older than a day: so an uninstall is noticed although nothing is sent."""
    statement = (
        select(Grant.connection_id)
        .join(Connection, Connection.id == Grant.connection_id)
        .where(Connection.state == ConnectionState.ACTIVE, Grant.refreshed_at < clock.now() - grants.DAILY)
    )
    for connection_id in session.scalars(statement.limit(100)):
        lanes.nudge(session, connection_id, LaneKind.EVENTS)
