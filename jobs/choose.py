"""Which deliveries of a lane are looked at next: due ones by (priority, id), or all of a batch whose end is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import func, select

from jobs.run import Run
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind, Origin, SyncBehavior
from webapp.database import db_now, reading
from webapp.models import Activity, Delivery, Person


@dataclass(frozen=True, slots=True)
class Item:
    """A waiting delivery with all a step needs of it. `email` None: erased meanwhile."""

    id: int
    activity_id: int
    external_id: str
    event: str | None
    origin: Origin
    occurred_at: datetime
    accepted_at: datetime
    created_at: datetime
    expires_at: datetime
    properties: str | None
    consent: str | None
    attempts: int
    person_id: int
    email: str | None
    first_name: str | None
    last_name: str | None
    fields_text: str
    fields_version: int
    consents_text: str

    @property
    def fields(self) -> dict[str, Any]:
        """The person's fields as we hold them now."""
        parsed: dict[str, Any] = orjson.loads(self.fields_text)
        return parsed


_COLUMNS = (
    Delivery.id,
    Delivery.activity_id,
    Activity.external_id,
    Delivery.event,
    Activity.origin,
    Activity.occurred_at,
    Activity.accepted_at,
    Delivery.created_at,
    Delivery.expires_at,
    Activity.properties,
    Activity.consent,
    Delivery.attempts,
    Delivery.person_id,
    Person.email,
    Person.first_name,
    Person.last_name,
    Person.fields,
    Person.fields_version,
    Person.consents,
)


def _waiting(run: Run, kind: Kind) -> Any:
    return (
        select(*_COLUMNS)
        .join(Activity, Activity.id == Delivery.activity_id)
        .join(Person, Person.id == Delivery.person_id)
        .where(
            Delivery.connection_id == run.held.connection_id,
            Delivery.kind == kind,
            Delivery.status == Status.WAITING,
        )
        .order_by(Delivery.priority, Delivery.id)
    )


def due(run: Run, kind: Kind, limit: int) -> list[Item]:
    """The next due deliveries.

    A person's later ones wait behind an earlier one that is not due yet, so that events keep their order.
    """
    with reading() as session:
        rows = session.execute(_waiting(run, kind).where(Delivery.due_at <= db_now()).limit(limit)).all()
        if kind is not Kind.EVENT or run.connection.sync_behavior is not SyncBehavior.CREATE_PROFILE:
            return [Item(*row) for row in rows]
        # Only events that wait for a person's creation are ever put off.
        earlier = (
            select(Delivery.person_id, func.min(Delivery.id))
            .where(
                Delivery.connection_id == run.held.connection_id,
                Delivery.kind == kind,
                Delivery.status == Status.WAITING,
                Delivery.due_at > db_now(),
                Delivery.person_id.in_({row.person_id for row in rows}),
            )
            .group_by(Delivery.person_id)
        )
        blocked = {row[0]: row[1] for row in session.execute(earlier)}
    items = [Item(*row) for row in rows]
    return [item for item in items if item.id < blocked.get(item.person_id, item.id + 1)]


def of_batch(run: Run, kind: Kind, batch_id: int) -> list[Item]:
    """The still waiting deliveries of a batch: the same ones as before, none added."""
    with reading() as session:
        rows = session.execute(_waiting(run, kind).where(Delivery.batch_id == batch_id))
        return [Item(*row) for row in rows]


def next_due_at(run: Run, kind: Kind) -> datetime | None:
    """When the earliest waiting delivery of the lane comes due; None where nothing waits."""
    statement = select(func.min(Delivery.due_at)).where(
        Delivery.connection_id == run.held.connection_id,
        Delivery.kind == kind,
        Delivery.status == Status.WAITING,
    )
    with reading() as session:
        return session.scalar(statement)
