"""The tasks lane: a grant older than a day is refreshed, then the next due task, a bite at a time, quick ones first."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from jobs import lookup
from jobs.claim import Claim, FenceLost, rows_of
from jobs.run import Hold
from jobs.tasks.kinds import KINDS, LONG
from jobs.tasks.run import TaskProblem, TaskRun, TaskStopped, finish
from webapp import clock, log
from webapp.database import reading, run_writing
from webapp.dialects import db_now
from webapp.models import Connection, ConnectionState, Grant, Task, TaskState
from webapp.services.connections import lifecycle
from webapp.services.oauth import grants
from webapp.services.tasks import WORKED_ON

TRIES = 5


def work(held: Claim, ends_at: float) -> tuple[bool, datetime | None]:
    """Bites until the slice is over or nothing is due: (whether more is due now, when the next one comes due)."""
    _look_at_grant(held)
    while True:
        task = _next(held)
        if task is None:
            return False, _next_due_at(held)
        _bite(held, task, ends_at)
        if time.monotonic() > ends_at:
            return True, None


def _look_at_grant(held: Claim) -> None:
    """Refresh a grant a day old. This lane goes on where the others are paused: an uninstall is noticed there too."""
    old = (
        select(Grant.id)
        .join(Connection, Connection.id == Grant.connection_id)
        .where(
            Grant.connection_id == held.connection_id,
            Grant.refreshed_at < clock.now() - grants.DAILY,
            Connection.state == ConnectionState.ACTIVE,
        )
    )
    with reading() as session:
        if session.scalar(old) is None:
            return
    try:
        grants.usable(held.connection_id)
    except grants.GrantUnavailable:
        return  # housekeeping asks again in a minute
    except grants.GrantEnded as ended:
        lifecycle.lose_grant(held.connection_id, ended.cause, ended.version)


def _next(held: Claim) -> Task | None:
    statement = select(Task).where(
        Task.connection_id == held.connection_id, Task.state.in_(WORKED_ON), Task.due_at <= db_now()
    )
    with reading() as session:
        due = list(session.scalars(statement.order_by(Task.id).limit(200)))
    return min(due, key=lambda task: (KINDS.get(task.kind, (LONG, None))[0], task.id), default=None)


def _next_due_at(held: Claim) -> datetime | None:
    statement = select(func.min(Task.due_at)).where(Task.connection_id == held.connection_id, Task.state.in_(WORKED_ON))
    with reading() as session:
        return session.scalar(statement)


def _bite(held: Claim, task: Task, ends_at: float) -> None:
    """One bite, and what it means for the task. A problem ends the task with a sentence, never silently."""
    with reading() as session:
        connection, lane = rows_of(session, held)
    run = TaskRun(held, connection, lane, task, ends_at)
    run_writing(lambda session: _started(session, task))
    try:
        more = KINDS[task.kind][1](run)
        if not more:
            run_writing(lambda session: finish(session, task, TaskState.DONE))
    except (TaskStopped, FenceLost) as stopped:
        if isinstance(stopped, FenceLost):
            raise
    except Hold as hold:
        until = hold.until or clock.now() + timedelta(seconds=hold.seconds)
        _put_off(task, until, counts=hold.until is None and not hold.limited)
    except grants.GrantUnavailable as problem:
        _put_off(task, clock.now() + timedelta(seconds=problem.retry_seconds), counts=True)
    except grants.GrantEnded as ended:
        _failed(task, "Klaviyo no longer accepts our access. Reconnect first.")
        lifecycle.lose_grant(held.connection_id, ended.cause, ended.version)
    except lookup.MayNotLook:
        _failed(task, "Klaviyo does not allow it: profiles:read is missing. Reconnect to grant it.")
    except TaskProblem as problem:
        _failed(task, str(problem))
    except Exception:
        log.get("tasks").exception("task failed", task=task.id, kind=task.kind)
        _put_off(task, clock.now() + timedelta(seconds=2 ** min(task.tries, 6)), counts=True, ours=True)
    finally:
        run.flush()


def _started(session: Session, task: Task) -> None:
    values = {"state": TaskState.RUNNING, "started_at": task.started_at or clock.now()}
    session.execute(update(Task).where(Task.id == task.id, Task.state.in_(WORKED_ON)).values(**values))


def _put_off(task: Task, until: datetime, *, counts: bool, ours: bool = False) -> None:
    """Try again then; too many tries in a row end it with a sentence."""
    if counts and task.tries + 1 >= TRIES:
        who = "Something broke on our side; it is in our log." if ours else "Klaviyo did not answer as it should."
        _failed(task, f"{who} Try again in a few minutes.")
        return
    tries = Task.tries + (1 if counts else 0)
    run_writing(
        lambda session: session.execute(
            update(Task).where(Task.id == task.id, Task.state.in_(WORKED_ON)).values(due_at=until, tries=tries)
        )
    )


def _failed(task: Task, sentence: str) -> None:
    run_writing(lambda session: finish(session, task, TaskState.FAILED, sentence))
