"""What Create profile would cost: how many people known here are not in a connection's Klaviyo account, as counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from webapp import clock
from webapp.database import writing
from webapp.extensions import db
from webapp.models import Connection, Task, TaskState
from webapp.services import tasks
from webapp.services.oauth import grants

KIND = "price"
REMEMBERED = timedelta(minutes=10)
LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class Price:
    """A count, or how far it is. `missing` and `known` are people; `problem` says why there is no count."""

    counting: bool
    done: int
    known: int
    missing: int
    counted_at: datetime | None
    problem: str | None


def latest(connection: Connection, store_id: int | None) -> Price | None:
    """The newest count for a store, running or finished in the last minutes; None: nobody asked."""
    wanted = _arguments(connection, store_id)
    statement = select(Task).where(Task.connection_id == connection.id, Task.kind == KIND)
    newest = db.session.scalars(statement.order_by(Task.id.desc()).limit(LOOKED_AT))
    task = next((task for task in newest if task.arguments == wanted), None)
    if task is None or task.state is TaskState.CANCELLED:
        return None
    if task.finished_at is not None and clock.now() - task.finished_at > REMEMBERED:
        return None
    if task.state is TaskState.FAILED and not grants.was_held(grants.of(db.session(), connection.id), task.finished_at):
        return None  # what went wrong before the account was connected again says nothing of how it is now
    return Price(
        counting=task.state in tasks.UNFINISHED,
        done=task.done,
        known=task.result.get("known", 0),
        missing=task.result.get("missing", 0),
        counted_at=task.finished_at,
        problem=task.error if task.state is TaskState.FAILED else None,
    )


def ask(connection: Connection, store_id: int | None, actor_id: int) -> None:
    """Let a worker count."""
    with writing() as session:
        arguments = _arguments(connection, store_id)
        name = "Counting who would be added"
        tasks.ask(
            session, connection.workspace_id, connection.id, KIND, arguments=arguments, name=name, actor_id=actor_id
        )


def _arguments(connection: Connection, store_id: int | None) -> dict[str, Any]:
    return {"account": connection.klaviyo_account_id, "store_id": store_id}
