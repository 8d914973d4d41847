"""What a page asks of Klaviyo, and long work: rows that a worker takes up, with progress the page can show.

A task of a connection waits in its tasks lane, which is never paused; each bite commits where it stands, so that a
killed worker's task goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.database import after_commit, run_writing
from webapp.dialects import db_now
from webapp.extensions import db
from webapp.models import LaneKind, Task, TaskState
from webapp.services import audit, lanes

SETTLE_REST = "settle_rest"  # what waited in an account that went away
UNFINISHED = (TaskState.WAITING, TaskState.RUNNING, TaskState.PAUSED)
WORKED_ON = (TaskState.WAITING, TaskState.RUNNING)


def ask(
    session: Session,
    workspace_id: int,
    connection_id: int,
    kind: str,
    *,
    arguments: dict[str, Any] | None = None,
    name: str = "",
    actor_id: int | None = None,
) -> Task:
    """A new task, or the unfinished one of the same kind and arguments: asking twice does not work twice."""
    arguments = arguments or {}
    same = select(Task).where(Task.connection_id == connection_id, Task.kind == kind, Task.state.in_(UNFINISHED))
    for present in session.scalars(same):
        if present.arguments == arguments:
            return present
    now = clock.now()
    task = Task(
        workspace_id=workspace_id,
        connection_id=connection_id,
        kind=kind,
        name=name,
        state=TaskState.WAITING,
        arguments=arguments,
        created_by=actor_id,
        created_at=now,
        due_at=db_now(),  # of the machines that ask one is always a little ahead of whoever works on it
    )
    session.add(task)
    session.flush()
    lanes.nudge(session, connection_id, LaneKind.TASKS)
    after_commit(session, lambda: lanes.wake_lane(connection_id, LaneKind.TASKS))
    return task


def get(workspace_id: int, task_id: int) -> Task | None:
    """A task of this workspace; None for anybody else's."""
    return db.session.scalar(select(Task).where(Task.id == task_id, Task.workspace_id == workspace_id))


def latest(connection_id: int, kind: str, state: TaskState | None = None) -> Task | None:
    """The newest task of a kind, in a given state if asked."""
    statement = select(Task).where(Task.connection_id == connection_id, Task.kind == kind)
    if state is not None:
        statement = statement.where(Task.state == state)
    return db.session.scalar(statement.order_by(Task.id.desc()).limit(1))


def history(workspace_id: int, kinds: Sequence[str], connection_id: int | None = None, limit: int = 50) -> list[Task]:
    """Tasks of some kinds, newest first."""
    statement = select(Task).where(Task.workspace_id == workspace_id, Task.kind.in_(kinds))
    if connection_id is not None:
        statement = statement.where(Task.connection_id == connection_id)
    return list(db.session.scalars(statement.order_by(Task.id.desc()).limit(limit)))


def revive(session: Session, task: Task) -> None:
    """Let a task that ended by a problem go on from where it stands."""
    task.state, task.error, task.finished_at = TaskState.WAITING, None, None
    task.tries, task.due_at = 0, db_now()
    session.flush()
    lanes.nudge(session, task.connection_id, LaneKind.TASKS)
    after_commit(session, lambda: lanes.wake_lane(task.connection_id, LaneKind.TASKS))


def move(workspace_id: int, task_id: int, actor_id: int, *, to: TaskState) -> Task:
    """Pause, resume (to WAITING) or cancel. A finished task stays as it is. Raises LookupError."""
    return run_writing(lambda session: _move(session, workspace_id, task_id, actor_id, to))


def _move(session: Session, workspace_id: int, task_id: int, actor_id: int, to: TaskState) -> Task:
    wanted = select(Task).where(Task.id == task_id, Task.workspace_id == workspace_id)
    task = session.scalar(wanted)
    if task is None:
        raise LookupError("no such task")
    lanes.nudge(session, task.connection_id, LaneKind.TASKS)  # the lane before the task, as its worker locks them
    task = session.execute(wanted.with_for_update().execution_options(populate_existing=True)).scalar_one()
    if task.state not in UNFINISHED:
        return task
    before, task.state = task.state, to
    if to is TaskState.CANCELLED:
        task.finished_at = clock.now()
    task.due_at = db_now()
    audit.record(
        session,
        workspace_id=workspace_id,
        actor_id=actor_id,
        action=f"task.{to}",
        subject=("task", task.id),
        before={"state": before},
        after={"state": to, "kind": task.kind, "name": task.name},
    )
    return task
