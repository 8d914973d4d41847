"""Kind `settle_rest`: what still waits in a disconnected or replaced account is settled in bites, then the grant ends.

Arguments: `reason` (`disconnected` or `account_replaced`), `up_to` (the last delivery id it is about); of a replaced
account also its id, `account`, and `revoke`, its refresh token as sealed, forgotten at the end. The lanes of a replaced
account are started here, last: nothing that waited for the old account can reach the new one.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.orm import Session

from jobs import settle
from jobs.tasks.run import TaskRun, finish
from webapp import log
from webapp.catalogue.reasons import Reason, Status
from webapp.crypto import CannotDecrypt
from webapp.database import affected, reading
from webapp.models import Connection, ConnectionState, Delivery, Grant, ProfileLink, Task, TaskState
from webapp.services.connections import lifecycle
from webapp.services.oauth import grants

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
    if run.write(lambda session: _forget_links(session, run)):
        return True
    _revoke_replaced(run)
    run.write(lambda session: _go_on(session, run))
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
    with reading() as session:
        grant = grants.of(session, run.connection.id)
    if grant is None:
        return
    _revoke(run.connection.klaviyo_account_id, grants.refresh_token(grant))
    run.write(lambda session: session.execute(delete(Grant).where(Grant.id == grant.id)))


def _forget_links(session: Session, run: TaskRun) -> int:
    """Who was in the old account says nothing of the new one."""
    mine = ProfileLink.connection_id == run.connection.id
    some = select(ProfileLink.person_id).where(mine).limit(BITE)
    run.save(session)
    return affected(session, delete(ProfileLink).where(mine, ProfileLink.person_id.in_(some)))


def _revoke_replaced(run: TaskRun) -> None:
    sealed = run.task.arguments.get("revoke")
    if sealed is None:
        return
    try:
        _revoke(run.task.arguments["account"], grants.opened(run.connection.id, sealed))
    except CannotDecrypt:
        # The keys were rotated meanwhile. The app stays installed in the old account, which its owner can remove.
        log.get("tasks").warning("replaced grant not revoked", connection=run.connection.id)


def _revoke(account_id: str, refresh_token: str) -> None:
    """Revoking one grant probably uninstalls the app for the whole account: only where nobody else has it live.

    Best effort: the tokens are forgotten whatever Klaviyo says.
    """
    statement = select(Connection.id).where(
        Connection.klaviyo_account_id == account_id, Connection.state != ConnectionState.DISCONNECTED
    )
    with reading() as session:
        others = session.scalar(statement.limit(1))
    if others is None:
        grants.app().revoke(refresh_token)


def _go_on(session: Session, run: TaskRun) -> None:
    kept = {name: value for name, value in run.task.arguments.items() if name != "revoke"}
    session.execute(update(Task).where(Task.id == run.task.id).values(arguments=kept))
    finish(session, run.task, TaskState.DONE)
    session.flush()
    lifecycle.go_on(session, session.get_one(Connection, run.connection.id))
