"""Kind `settle_rest`: what still waits in a disconnected or replaced account is settled in bites, then the grant ends.

Arguments: `reason` (`disconnected` or `account_replaced`), `up_to` (the last delivery id it is about), `revoke`.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, delete, func, select
from sqlalchemy.orm import Session

from jobs import settle
from jobs.tasks.run import TaskRun
from webapp.catalogue.reasons import Reason, Status
from webapp.database import reading
from webapp.models import Connection, ConnectionState, Delivery, Grant
from webapp.services import grants

BITE = 1000


def step(run: TaskRun) -> bool:
    """One bite; whether more is to do."""
    if run.task.total is None:
        total = _left(run)
        run.write(lambda session: run.save(session, total=total))
    if run.write(lambda session: _bite(session, run)):
        return True
    if run.task.arguments["reason"] == Reason.DISCONNECTED:
        _end_grant(run)
    return False


def _left(run: TaskRun) -> int:
    with reading() as session:
        return session.scalar(select(func.count(Delivery.id)).where(_mine(run))) or 0


def _mine(run: TaskRun) -> ColumnElement[bool]:
    return and_(
        Delivery.connection_id == run.connection.id,
        Delivery.status == Status.WAITING,
        Delivery.id <= run.task.arguments["up_to"],
    )


def _bite(session: Session, run: TaskRun) -> int:
    statement = select(Delivery.id, Delivery.kind).where(_mine(run)).limit(BITE)
    rows = session.execute(statement).all()
    reason = Reason(run.task.arguments["reason"])
    for kind in sorted({row.kind for row in rows}):
        results = {row.id: settle.skipped(reason) for row in rows if row.kind == kind}
        settle.settle(session, run.connection, kind, results)
    run.save(session, done=run.task.done + len(rows))
    return len(rows)


def _end_grant(run: TaskRun) -> None:
    """Revoking one grant probably uninstalls the app for the whole account: only where nobody else has it live."""
    with reading() as session:
        others = session.scalar(
            select(Connection.id).where(
                Connection.klaviyo_account_id == run.connection.klaviyo_account_id,
                Connection.state != ConnectionState.DISCONNECTED,
            )
        )
        grant = session.scalar(select(Grant).where(Grant.connection_id == run.connection.id))
    if grant is None:
        return
    if others is None:
        grants.app().revoke(grants.refresh_token(grant))  # best effort: the tokens are deleted whatever it says
    run.write(lambda session: session.execute(delete(Grant).where(Grant.id == grant.id)))
