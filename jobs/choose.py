"""Which deliveries of a lane are looked at next: due ones by (priority, id), or those of a batch of unknown end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from jobs.run import Run
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin
from webapp.database import among, db_now, reading
from webapp.models import Activity, Connection, Delivery, Person
from webapp.models.delivery import PRIORITY_LIVE

LOW_SHARE = 0.5


class Item(NamedTuple):  # made by the thousand: a tuple is made from a row at once
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
    priority: int
    person_id: int
    email: str | None
    first_name: str | None
    last_name: str | None
    fields_text: str
    fields_version: int
    consents_text: str
    starts_flows: bool
    only_existing: bool = False
    reason: Reason = Reason.BACKLOG

    @property
    def fields(self) -> dict[str, Any]:
        """The person's fields as we hold them now."""
        parsed: dict[str, Any] = orjson.loads(self.fields_text)
        return parsed


# Rows of tables, not of mapped classes: the mapper costs as much as the query.
_DELIVERIES, _ACTIVITIES, _PEOPLE = (row.metadata.tables[row.__tablename__] for row in (Delivery, Activity, Person))
_COLUMNS = (
    _DELIVERIES.c.id,
    _DELIVERIES.c.activity_id,
    _ACTIVITIES.c.external_id,
    _DELIVERIES.c.event,
    _ACTIVITIES.c.origin,
    _ACTIVITIES.c.occurred_at,
    _ACTIVITIES.c.accepted_at,
    _DELIVERIES.c.created_at,
    _DELIVERIES.c.expires_at,
    _ACTIVITIES.c.properties,
    _ACTIVITIES.c.consent,
    _DELIVERIES.c.attempts,
    _DELIVERIES.c.priority,
    _DELIVERIES.c.person_id,
    _PEOPLE.c.email,
    _PEOPLE.c.first_name,
    _PEOPLE.c.last_name,
    _PEOPLE.c.fields,
    _PEOPLE.c.fields_version,
    _PEOPLE.c.consents,
    _ACTIVITIES.c.starts_flows,
    _DELIVERIES.c.only_existing,
    _DELIVERIES.c.reason,
)


def _waiting(run: Run, kind: Kind) -> Any:
    return (
        select(*_COLUMNS)
        .join(_ACTIVITIES, _ACTIVITIES.c.id == _DELIVERIES.c.activity_id)
        .join(_PEOPLE, _PEOPLE.c.id == _DELIVERIES.c.person_id)
        .where(
            _DELIVERIES.c.connection_id == run.held.connection_id,
            _DELIVERIES.c.kind == kind,
            _DELIVERIES.c.status == Status.WAITING,
        )
        .order_by(_DELIVERIES.c.priority, _DELIVERIES.c.id)
    )


def due(run: Run, kind: Kind, limit: int) -> list[Item]:
    """The next due deliveries.

    A person's later ones wait behind an earlier one that is not due yet, so that events keep their order.
    """
    with reading() as session:
        # One moment for both questions: whatever came due between two would be missing here and block nobody there.
        now = session.scalar(select(db_now()))
        statement = _waiting(run, kind).where(_DELIVERIES.c.due_at <= now).limit(limit)
        items = [Item._make(row) for row in session.connection().execute(statement).all()]
        # Only events that wait for a person's creation are ever put off.
        blocked = _put_off(session, run, items, now) if kind is Kind.EVENT and items else {}
    run.share = _share(run, items)
    return [item for item in items if item.id < blocked.get(item.person_id, item.id + 1)]


def _put_off(session: Session, run: Run, items: list[Item], now: datetime | None) -> dict[int, int]:
    """Person id -> their first event that is not due yet, among those that come before the last of `items`."""
    statement = (
        select(_DELIVERIES.c.person_id, func.min(_DELIVERIES.c.id))
        .where(
            _DELIVERIES.c.connection_id == run.held.connection_id,
            _DELIVERIES.c.kind == Kind.EVENT,
            _DELIVERIES.c.status == Status.WAITING,
            _DELIVERIES.c.priority.in_({item.priority for item in items}),
            _DELIVERIES.c.id < max(item.id for item in items),
            _DELIVERIES.c.due_at > now,
            among(session, _DELIVERIES.c.person_id, {item.person_id for item in items}),
        )
        .group_by(_DELIVERIES.c.person_id)
    )
    return {row[0]: row[1] for row in session.connection().execute(statement)}


def _share(run: Run, items: list[Item]) -> float:
    return 1.0 if not items or items[0].priority <= PRIORITY_LIVE else low_share(run)


def low_share(run: Run) -> float:
    """Resends, backfills and counts leave half of each budget while live work waits for the same account."""
    mates = select(Connection.id).where(Connection.klaviyo_account_id == run.connection.klaviyo_account_id)
    live = select(
        exists().where(
            Delivery.connection_id.in_(mates),
            Delivery.kind.in_(list(Kind)),
            Delivery.status == Status.WAITING,
            Delivery.priority <= PRIORITY_LIVE,
            Delivery.due_at <= db_now(),
        )
    )
    with reading() as session:
        return LOW_SHARE if session.scalar(live) else 1.0


def by_id(run: Run, kind: Kind, ids: Iterable[int]) -> list[Item]:
    """Those of some deliveries that still wait."""
    with reading() as session:
        rows = session.connection().execute(_waiting(run, kind).where(among(session, _DELIVERIES.c.id, ids))).all()
        return [Item._make(row) for row in rows]


def as_known_now(items: Sequence[Item]) -> list[Item]:
    """These with their people's fields as they are by now; without whoever was erased meanwhile."""
    held = {item.person_id: item.fields_version for item in items}
    with reading() as session:
        versions = select(_PEOPLE.c.id, _PEOPLE.c.fields_version, _PEOPLE.c.email.is_(None).label("is_erased"))
        rows = session.connection().execute(versions.where(among(session, _PEOPLE.c.id, held))).all()
        erased = {row.id for row in rows if row.is_erased}
        newer = [row.id for row in rows if row.fields_version > held[row.id]]
        items = [item for item in items if item.person_id not in erased] if erased else list(items)
        if not newer:
            return items
        columns = (_PEOPLE.c.id, _PEOPLE.c.fields, _PEOPLE.c.fields_version)
        found = session.connection().execute(select(*columns).where(among(session, _PEOPLE.c.id, newer)))
        known = {row.id: {"fields_text": row.fields, "fields_version": row.fields_version} for row in found}
    return [item._replace(**known[item.person_id]) if item.person_id in known else item for item in items]


def next_due_at(run: Run, kind: Kind) -> datetime | None:
    """When the earliest waiting delivery of the lane comes due; None where nothing waits."""
    statement = select(func.min(Delivery.due_at)).where(
        Delivery.connection_id == run.held.connection_id,
        Delivery.kind == kind,
        Delivery.status == Status.WAITING,
    )
    with reading() as session:
        return session.scalar(statement)
