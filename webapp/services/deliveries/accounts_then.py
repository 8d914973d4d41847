"""Which Klaviyo account a delivery went to, or was meant for, where its connection has another one by now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.models import Connection, Delivery, Task
from webapp.services import tasks
from webapp.services.activities.delivery_maker import LIFE


class Account(NamedTuple):
    """Klaviyo's id of it, and its name as it was."""

    id: str
    name: str


def of(session: Session, rows: Iterable[tuple[Delivery, Connection | None]]) -> dict[int, Account]:
    """Delivery id -> its account, of the deliveries of one workspace whose account was replaced since."""
    older = [
        (delivery, connection)
        for delivery, connection in rows
        if connection is not None and connection.resumed_at is not None and _meant_at(delivery) < connection.resumed_at
    ]
    if not older:
        return {}
    replaced: dict[int, list[Task]] = {}
    statement = select(Task).where(
        Task.workspace_id == older[0][0].workspace_id,
        Task.kind == tasks.SETTLE_REST,
        Task.connection_id.in_({connection.id for _, connection in older}),
    )
    for task in session.scalars(statement.order_by(Task.id)):
        if task.arguments["reason"] == Reason.ACCOUNT_REPLACED:
            replaced.setdefault(task.connection_id, []).append(task)
    found = {}
    for delivery, connection in older:
        since = (task for task in replaced.get(connection.id, ()) if task.created_at > _meant_at(delivery))
        first = next(since, None)
        if first is not None:
            account = first.arguments["account"]
            found[delivery.id] = Account(account, first.arguments.get("name", account))
    return found


def _meant_at(delivery: Delivery) -> datetime:
    """What a replacement ended was written down after it, and was meant for the account it was last put in line for."""
    if delivery.reason is Reason.ACCOUNT_REPLACED:
        return delivery.expires_at - LIFE
    return delivery.settled_at or clock.now()
