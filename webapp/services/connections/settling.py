"""What still waited when an account went away: settled by a worker, in bites, with progress."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.dialects import index_range, plan_anew
from webapp.extensions import db
from webapp.forms.delivery_filters import Filters
from webapp.models import Connection, Delivery, Person, Task, TaskState
from webapp.services import tasks
from webapp.services.deliveries import ranges
from webapp.services.deliveries.search import bounds

KIND = tasks.SETTLE_REST
NAME = "Settling what waited"
RESEND_OFFERED = timedelta(days=7)


def ask(
    session: Session, connection: Connection, reason: Reason, actor_id: int | None, **arguments: str | None
) -> None:
    """Let a worker settle what waits up to now."""
    last = session.scalar(select(func.max(Delivery.id)).where(Delivery.connection_id == connection.id)) or 0
    _ask(session, connection, {"reason": reason, "up_to": last, **arguments}, actor_id)


def _ask(session: Session, connection: Connection, arguments: dict[str, object], actor_id: int | None) -> None:
    tasks.ask(
        session,
        connection.workspace_id,
        connection.id,
        KIND,
        arguments=arguments,
        name=NAME,
        actor_id=actor_id,
    )


def is_replacing(session: Session, connection_id: int) -> bool:
    """Whether something that waited for a replaced account is still unsettled: nothing may be sent until it is."""
    statement = select(Task.arguments).where(
        Task.connection_id == connection_id, Task.kind == KIND, Task.state != TaskState.DONE
    )
    return any(arguments["reason"] == Reason.ACCOUNT_REPLACED for arguments in session.scalars(statement))


def unsettled(connection_id: int) -> Task | None:
    """The oldest settling that is not done: under way, or ended by a problem."""
    statement = select(Task).where(Task.connection_id == connection_id, Task.kind == KIND, Task.state != TaskState.DONE)
    return db.session.scalar(statement.order_by(Task.id).limit(1))


def go_on(workspace_id: int, connection_id: int) -> None:
    """Take up a settling that ended by a problem. Raises LookupError where there is none."""
    with writing() as session:
        statement = select(Task).where(
            Task.workspace_id == workspace_id,
            Task.connection_id == connection_id,
            Task.kind == KIND,
            Task.state.in_([TaskState.FAILED, TaskState.CANCELLED]),
        )
        stopped = list(session.scalars(statement))
        if not stopped:
            raise LookupError("nothing to go on with")
        for task in stopped:
            tasks.revive(session, task)


def replaced(connection_id: int) -> Task | None:
    """The last replacement of seven days that left something unsent which can still be resent; None: there is none."""
    session, since = db.session(), clock.now() - RESEND_OFFERED
    statement = select(Task).where(
        Task.connection_id == connection_id,
        Task.kind == KIND,
        Task.state == TaskState.DONE,
        Task.created_at > since,
        Task.done > 0,
    )
    newest = session.scalars(statement.order_by(Task.id.desc()))
    found = next((task for task in newest if task.arguments["reason"] == Reason.ACCOUNT_REPLACED), None)
    return found if found is not None and _is_left(session, found, since) else None


def _is_left(session: Session, task: Task, since: datetime) -> bool:
    """Whether anything is left of what the account before did not get, by the rules of a resend."""
    filters = Filters(Status.SKIPPED, Reason.ACCOUNT_REPLACED, connection_id=task.connection_id, since=since)
    ended = ranges.outcome(task.workspace_id, Status.SKIPPED, Reason.ACCOUNT_REPLACED)
    above, below = bounds(session, filters)
    plan_anew(session)
    where, order = index_range(session, ended, Delivery.id, above=above, below=below)
    erased = select(Person.id).where(Person.erased_at.is_not(None))
    left = select(Delivery.id).where(
        where,
        Delivery.connection_id == task.connection_id,
        Delivery.created_at >= since,
        Delivery.kind != Kind.CONSENT,
        Delivery.person_id.not_in(erased),
    )
    return session.scalar(left.order_by(*order).limit(1)) is not None
