"""Once a minute: what waited for too long ends, old grants are looked at, incidents are told, old rows go.

Every ten minutes a sample of what was delivered is read back from Klaviyo, and what it said of people is forgotten.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import exists, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobs import expiry, pruning, watch
from webapp import clock, log
from webapp.catalogue.reasons import Reason, Status
from webapp.database import reading, run_writing
from webapp.models import Connection, ConnectionState, Delivery, Grant, LaneKind, Task, TaskState
from webapp.services import lanes
from webapp.services.connections import settling
from webapp.services.deliveries import proofs
from webapp.services.oauth import grants
from webapp.services.tracing import erasures, profile_now

GRANTS_A_ROUND = 100
SAMPLES_EVERY = timedelta(minutes=10)
_sampled_at: datetime | None = None


def run() -> None:
    """One round. What breaks in one of them is in the log, and the others go on; the database's absence is raised."""
    over = (pruning.run, erasures.sweep)
    for work in (expiry.run, _settle_late, _look_at_old_grants, watch.run, *over, _ask_for_samples):
        try:
            work()
        except DBAPIError:
            raise
        except Exception:
            log.get("housekeeping").exception("round broken", part=work.__module__)


def _settle_late() -> None:
    """What was being accepted for an account while it was disconnected is settled like what waited there before.

    Not where settling is under way, or ended by a problem: it is taken up by whoever sees it.
    """
    waits = exists().where(Delivery.connection_id == Connection.id, Delivery.status == Status.WAITING)
    open_ones = exists().where(
        Task.connection_id == Connection.id, Task.kind == settling.KIND, Task.state != TaskState.DONE
    )
    statement = select(Connection).where(Connection.state == ConnectionState.DISCONNECTED, waits, ~open_ones)
    with reading() as session:
        found = list(session.scalars(statement))
    for connection in found:
        run_writing(partial(settling.ask, connection=connection, reason=Reason.DISCONNECTED, actor_id=None))


def _ask_for_samples() -> None:
    global _sampled_at  # noqa: PLW0603 - when this process asked last; another one's asking does no harm
    now = clock.now()
    if _sampled_at is None or now - _sampled_at >= SAMPLES_EVERY:
        _sampled_at = now
        run_writing(proofs.due_samples)
        profile_now.forget_old()


def _look_at_old_grants() -> None:
    """The tasks lane refreshes a grant older than a day: so an uninstall is noticed although nothing is sent.

    A hundred of them, whichever: some that cannot be refreshed for long must not keep the others from their turn.
    """
    statement = (
        select(Grant.connection_id)
        .join(Connection, Connection.id == Grant.connection_id)
        .where(Connection.state == ConnectionState.ACTIVE, Grant.refreshed_at < clock.now() - grants.DAILY)
    )
    with reading() as session:
        old = list(session.scalars(statement.order_by(func.random()).limit(GRANTS_A_ROUND)))
    if old:
        run_writing(lambda session: _nudge(session, old))


def _nudge(session: Session, connection_ids: list[int]) -> None:
    for connection_id in connection_ids:
        lanes.nudge(session, connection_id, LaneKind.TASKS)
