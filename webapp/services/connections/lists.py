"""The lists of a connection's Klaviyo account, as a worker last fetched them, for the list picker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.database import end_reads, reading, writing
from webapp.extensions import db
from webapp.klaviyo.parse import FoundList
from webapp.models import Connection, ConnectionState, Grant, Task, TaskState
from webapp.services import tasks
from webapp.services.oauth import grants

KIND = "lists"
REMEMBERED = timedelta(minutes=5)
WAITED_SECONDS = 3.0
OPT_IN = {"single_opt_in": "single opt-in", "double_opt_in": "double opt-in"}


def opt_in(process: str) -> str:
    """`double opt-in` for Klaviyo's `double_opt_in`; a process we do not know as Klaviyo calls it."""
    return OPT_IN.get(process, process.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Picker:
    """What the picker shows. `lists` are remembered ones, of whatever age; `problem` says why there are no newer ones.

    `asking`: a worker is fetching them; `due`: they should be fetched now.
    """

    lists: tuple[FoundList, ...]
    fetched_at: datetime | None
    asking: bool
    due: bool
    problem: str | None
    lacks_scope: bool


def picker(connection: Connection) -> Picker:
    """The picker of a connection, without asking anybody."""
    done, newest = _newest(connection, TaskState.DONE), _newest(connection)
    grant = grants.of(db.session(), connection.id)
    problem, lacks_scope = _hindrance(connection, grant)
    asking = newest is not None and newest.state in tasks.UNFINISHED and problem is None
    if problem is None and newest is not None and newest.state is TaskState.FAILED and _is_fresh(newest):
        # What went wrong before the account was connected again says nothing of how it is now.
        problem = newest.error if grants.was_held(grant, newest.finished_at) else None
    fetched_at = done.finished_at if done is not None else None
    return Picker(
        lists=_lists(done),
        fetched_at=fetched_at,
        asking=asking,
        due=problem is None and not asking and not (done is not None and _is_fresh(done)),
        problem=problem,
        lacks_scope=lacks_scope,
    )


def _hindrance(connection: Connection, grant: Grant | None) -> tuple[str | None, bool]:
    """Why Klaviyo cannot be asked, and whether it is for want of a scope."""
    if connection.state is not ConnectionState.ACTIVE:
        return "Klaviyo does not let us in. Reconnect to see its lists.", False
    if grant is None or "lists:read" not in grant.scope_set:
        return "Klaviyo does not let us see its lists: lists:read is missing.", True
    return None, False


def _newest(connection: Connection, state: TaskState | None = None) -> Task | None:
    """The newest fetch of the account the connection has now."""
    task = tasks.latest(connection.id, KIND, state)
    return task if task is not None and task.arguments == _arguments(connection) else None


def _arguments(connection: Connection) -> dict[str, str]:
    return {"account": connection.klaviyo_account_id}


def _is_fresh(task: Task) -> bool:
    return task.finished_at is not None and clock.now() - task.finished_at < REMEMBERED


def _lists(task: Task | None) -> tuple[FoundList, ...]:
    return tuple(FoundList(*row) for row in task.result.get("lists", ())) if task is not None else ()


def ask(connection: Connection, actor_id: int) -> None:
    """Let a worker fetch them now."""
    with writing() as session:
        arguments = _arguments(connection)
        tasks.ask(
            session, connection.workspace_id, connection.id, KIND, arguments=arguments, name="Lists", actor_id=actor_id
        )


def make_known(workspace_id: int, connection_id: int, list_id: str, actor_id: int) -> None:
    """Have the lists fetched where this one is not among those remembered, and wait a moment for them.

    So a list may be chosen whether or not the picker has been looked at.
    """
    with reading() as session:
        mine = (Connection.id == connection_id, Connection.workspace_id == workspace_id)
        connection = session.scalar(select(Connection).where(*mine))
        if connection is None or connection.list_id == list_id or find(session, connection, list_id) is not None:
            return
    known = picker(connection)
    if known.due:
        ask(connection, actor_id)
    elif not known.asking:
        return
    end = time.monotonic() + WAITED_SECONDS
    while time.monotonic() < end and _is_asking(connection):
        time.sleep(0.1)
    end_reads()


def _is_asking(connection: Connection) -> bool:
    unfinished = (Task.connection_id == connection.id, Task.kind == KIND, Task.state.in_(tasks.UNFINISHED))
    with reading() as session:
        return session.scalar(select(Task.id).where(*unfinished).limit(1)) is not None


def why_unknown(connection: Connection) -> str:
    """What to say of a list that is not among those remembered."""
    known = picker(connection)
    if known.problem:
        return known.problem
    if known.asking:
        return "Klaviyo is still being asked for its lists. Save again in a moment."
    return "This list is not in the Klaviyo account any more. Refresh and choose again."


def find(session: Session, connection: Connection, list_id: str) -> FoundList | None:
    """A list by id among the remembered ones; None for any other."""
    return next((row for row in _lists(_remembered(session, connection)) if row.id == list_id), None)


def were_read(session: Session, connection: Connection) -> bool:
    """Whether the lists of the account are remembered at all."""
    return _remembered(session, connection) is not None


def forget(session: Session, connection: Connection, list_id: str) -> None:
    """A list that was found missing is not among the remembered ones any more, until they are read anew."""
    task = _remembered(session, connection)
    if task is not None:
        task.result = {"lists": [row for row in task.result.get("lists", ()) if row[0] != list_id]}


def _remembered(session: Session, connection: Connection) -> Task | None:
    statement = select(Task).where(Task.connection_id == connection.id, Task.kind == KIND, Task.state == TaskState.DONE)
    task = session.scalar(statement.order_by(Task.id.desc()).limit(1))
    return task if task is not None and task.arguments == _arguments(connection) else None
