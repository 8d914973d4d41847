"""Once a minute: what waited for too long ends, old grants are looked at, incidents are told, old rows go."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import expiry, watch
from webapp import clock
from webapp.database import reading, run_writing
from webapp.models import Connection, ConnectionState, Grant, LaneKind
from webapp.services import grants, lanes


def run() -> None:
    """One round."""
    expiry.run()
    _look_at_old_grants()
    watch.run()


def _look_at_old_grants() -> None:
    """A drain refreshes a grant older than a day: so an uninstall is noticed although nothing is sent."""
    statement = (
        select(Grant.connection_id)
        .join(Connection, Connection.id == Grant.connection_id)
        .where(Connection.state == ConnectionState.ACTIVE, Grant.refreshed_at < clock.now() - grants.DAILY)
    )
    with reading() as session:
        old = list(session.scalars(statement.limit(100)))
    if old:
        run_writing(lambda session: _nudge(session, old))


def _nudge(session: Session, connection_ids: list[int]) -> None:
    for connection_id in connection_ids:
        lanes.nudge(session, connection_id, LaneKind.EVENTS)
