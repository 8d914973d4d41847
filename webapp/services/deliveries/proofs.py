"""Reading back: whether what Klaviyo accepted is really there. Asked for by a person, and by sample."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Status
from webapp.database import run_writing
from webapp.extensions import db
from webapp.models import Connection, ConnectionState, Delivery, Task
from webapp.services import tasks
from webapp.services.deliveries.ranges import around

KIND = "proof"
ONE_IN = 1_000
AN_HOUR = 20
# Klaviyo shows an accepted event after seconds to a few minutes.
SETTLED_FOR = timedelta(minutes=5)
SAMPLED_FROM = timedelta(hours=24)
LOOKED = 200


def ask(delivery: Delivery, actor_id: int) -> Task:
    """Let a worker read one delivery back."""
    arguments = {"deliveries": [delivery.id]}
    return run_writing(
        lambda session: tasks.ask(
            session,
            delivery.workspace_id,
            int(delivery.connection_id or 0),
            KIND,
            arguments=arguments,
            name="Reading back",
            actor_id=actor_id,
        )
    )


def latest(delivery: Delivery) -> Task | None:
    """The newest reading back that is about this delivery."""
    statement = select(Task).where(Task.connection_id == delivery.connection_id, Task.kind == KIND)
    for task in db.session.scalars(statement.order_by(Task.id.desc()).limit(LOOKED)):
        if delivery.id in task.arguments["deliveries"]:
            return task
    return None


def due_samples(session: Session) -> int:
    """Ask for the samples that are due: one delivery in ONE_IN, at most AN_HOUR an hour and connection; how many.

    Every delivery whose id is a multiple of ONE_IN, five minutes after it was delivered. In a writing transaction.
    """
    now = clock.now()
    (first, _), (_, last) = around(session, now - SAMPLED_FROM), around(session, now)
    candidates = list(range(first + 1 + -(first + 1) % ONE_IN, last, ONE_IN))
    wanted: dict[int, list[Delivery]] = defaultdict(list)
    for start in range(0, len(candidates), 5_000):
        statement = (
            select(Delivery)
            .join(Connection, Connection.id == Delivery.connection_id)
            .where(
                Delivery.id.in_(candidates[start : start + 5_000]),
                Delivery.status == Status.DELIVERED,
                Delivery.confirmed_at.is_(None),
                Delivery.settled_at < now - SETTLED_FOR,
                Connection.state == ConnectionState.ACTIVE,
            )
        )
        for delivery in session.scalars(statement.order_by(Delivery.id)):
            wanted[int(delivery.connection_id or 0)].append(delivery)
    return sum(_ask(session, connection_id, wanted[connection_id]) for connection_id in sorted(wanted))


def _ask(session: Session, connection_id: int, sampled: list[Delivery]) -> int:
    """One task for a connection's new samples, within its hourly share. What was read back once is not asked again."""
    before = select(Task).where(Task.connection_id == connection_id, Task.kind == KIND)
    known: set[int] = set()
    this_hour = 0
    for task in session.scalars(before.order_by(Task.id.desc()).limit(LOOKED * 3)):
        known |= set(task.arguments["deliveries"])
        recent = task.created_at > clock.now() - timedelta(hours=1)
        this_hour += len(task.arguments["deliveries"]) if recent and task.arguments.get("sample") else 0
    fresh = [delivery for delivery in sampled if delivery.id not in known][: max(0, AN_HOUR - this_hour)]
    if not fresh:
        return 0
    arguments: dict[str, Any] = {"deliveries": [delivery.id for delivery in fresh], "sample": True}
    workspace_id = fresh[0].workspace_id
    tasks.ask(session, workspace_id, connection_id, KIND, arguments=arguments, name="Reading back a sample")
    return len(fresh)
