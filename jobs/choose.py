"""Which deliveries of a lane are looked at next: due ones by (priority, id), or those of a batch of unknown end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from jobs.run import Run
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin
from webapp.database import reading
from webapp.dialects import among, db_now
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


def _of_lane(run: Run, kind: Kind) -> tuple[ColumnElement[bool], ...]:
    return (
        _DELIVERIES.c.connection_id == run.held.connection_id,
        _DELIVERIES.c.kind == kind,
        _DELIVERIES.c.status == Status.WAITING,
    )


def _waiting(run: Run, kind: Kind) -> Any:
    return (
        select(*_COLUMNS)
        .join(_ACTIVITIES, _ACTIVITIES.c.id == _DELIVERIES.c.activity_id)
        .join(_PEOPLE, _PEOPLE.c.id == _DELIVERIES.c.person_id)
        .where(
            *_of_lane(run, kind),
        )
        .order_by(_DELIVERIES.c.priority, _DELIVERIES.c.id)
    )


def due(run: Run, kind: Kind, limit: int) -> list[Item]:
    """The next due deliveries of a kind that is never put off: anything but events."""
    with reading() as session:
        items = _rows(session, _waiting(run, kind).where(_DELIVERIES.c.due_at <= db_now()).limit(limit))
    run.share = _share(run, items)
    return items


class Chosen(NamedTuple):
    """Due events, and whether there may be more of them."""

    items: list[Item]
    more: bool


def due_events(run: Run, limit: int) -> Chosen:
    """The next due events.

    A person's later ones wait behind an earlier one that is put off, for their creation, so that they keep their order.
    """
    with reading() as session:
        # One moment for both questions: whatever came due between two would be missing here and block nobody there.
        now = session.scalar(select(db_now()))
        items = _rows(session, _waiting(run, Kind.EVENT).where(_DELIVERIES.c.due_at <= now).limit(limit))
        blocked = _first_of_each(session, run, items, _DELIVERIES.c.due_at > now) if items else {}
    run.share = _share(run, items)
    return Chosen(_unblocked(items, blocked), len(items) == limit)


def due_events_behind(run: Run, limit: int, behind: Sequence[Item]) -> Chosen:
    """The due events of the same priority that come after these, which are under way and still wait.

    A person's later ones wait also behind an earlier one that has come due since and is not among these.
    """
    last, under_way = behind[-1], {item.id for item in behind}
    with reading() as session:
        now = session.scalar(select(db_now()))
        later = (_DELIVERIES.c.priority == last.priority, _DELIVERIES.c.id > last.id, _DELIVERIES.c.due_at <= now)
        items = _rows(session, _waiting(run, Kind.EVENT).where(*later).limit(limit))
        if not items:
            return Chosen([], more=False)
        passed = or_(_DELIVERIES.c.due_at > now, _DELIVERIES.c.id < behind[0].id)
        blocked = _first_of_each(session, run, items, passed)
        among_these = session.connection().execute(_range(run, behind[0], last)).all()
    for delivery_id, person_id in among_these:
        if delivery_id not in under_way:
            blocked[person_id] = min(delivery_id, blocked.get(person_id, delivery_id))
    return Chosen(_unblocked(items, blocked), len(items) == limit)


def _range(run: Run, first: Item, last: Item) -> Any:
    return select(_DELIVERIES.c.id, _DELIVERIES.c.person_id).where(
        *_of_lane(run, Kind.EVENT),
        _DELIVERIES.c.priority == last.priority,
        _DELIVERIES.c.id.between(first.id, last.id),
    )


def _rows(session: Session, statement: Any) -> list[Item]:
    return [Item._make(row) for row in session.connection().execute(statement).all()]


def _unblocked(items: list[Item], blocked: Mapping[int, int]) -> list[Item]:
    return [item for item in items if item.id < blocked.get(item.person_id, item.id + 1)]


def _first_of_each(session: Session, run: Run, items: list[Item], which: ColumnElement[bool]) -> dict[int, int]:
    """Person id -> their first waiting event that is so, among those that come before the last of `items`."""
    statement = (
        select(_DELIVERIES.c.person_id, func.min(_DELIVERIES.c.id))
        .where(
            *_of_lane(run, Kind.EVENT),
            _DELIVERIES.c.priority.in_({item.priority for item in items}),
            _DELIVERIES.c.id < max(item.id for item in items),
            which,
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
    """These with their people's fields as they are by now; without those erased or settled meanwhile."""
    held = {item.id: item.fields_version for item in items}
    with reading() as session:
        versions = (
            select(_DELIVERIES.c.id, _PEOPLE.c.fields_version, _PEOPLE.c.id)
            .join(_PEOPLE, _PEOPLE.c.id == _DELIVERIES.c.person_id)
            .where(
                among(session, _DELIVERIES.c.id, held),
                _DELIVERIES.c.status == Status.WAITING,
                _PEOPLE.c.email.is_not(None),
            )
        )
        rows = session.connection().execute(versions).all()
        newer = {person_id for delivery_id, version, person_id in rows if version > held[delivery_id]}
        if len(rows) < len(items):
            left = {row[0] for row in rows}
            items = [item for item in items if item.id in left]
        if not newer:
            return list(items)
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
