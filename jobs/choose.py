"""Which deliveries of a lane are looked at next: due ones by (priority, id), or those of a batch of unknown end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    Select,
    bindparam,
    exists,
    select,
)
from sqlalchemy.orm import Session

from jobs import line
from jobs.run import Run
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin
from webapp.database import reading
from webapp.dialects import db_now, one_of
from webapp.models import Connection, Delivery
from webapp.models.delivery import PRIORITY_LIVE
from webapp.models.tables import ACTIVITIES, DELIVERIES, PEOPLE, WORKSPACES

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


_COLUMNS = (
    DELIVERIES.c.id,
    DELIVERIES.c.activity_id,
    ACTIVITIES.c.external_id,
    DELIVERIES.c.event,
    ACTIVITIES.c.origin,
    ACTIVITIES.c.occurred_at,
    ACTIVITIES.c.accepted_at,
    DELIVERIES.c.created_at,
    DELIVERIES.c.expires_at,
    ACTIVITIES.c.properties,
    ACTIVITIES.c.consent,
    DELIVERIES.c.attempts,
    DELIVERIES.c.priority,
    DELIVERIES.c.person_id,
    PEOPLE.c.email,
    PEOPLE.c.first_name,
    PEOPLE.c.last_name,
    PEOPLE.c.fields,
    PEOPLE.c.fields_version,
    PEOPLE.c.consents,
    ACTIVITIES.c.starts_flows,
    DELIVERIES.c.only_existing,
    DELIVERIES.c.reason,
)


# Made once. Rows of tables, not of mapped classes: the mapper costs as much as the query.
_ITEMS = (
    select(*_COLUMNS)
    .join(ACTIVITIES, ACTIVITIES.c.id == DELIVERIES.c.activity_id)
    .join(PEOPLE, PEOPLE.c.id == DELIVERIES.c.person_id)
    .order_by(*line.IN_LINE)
)
_WAITING = _ITEMS.where(*line.OF_LANE)
# Without the lane, whose line SQLite would rather walk: a batch's ids are of one lane anyway.
_BY_ID = _ITEMS.where(one_of(DELIVERIES.c.id), DELIVERIES.c.status == Status.WAITING)
_DUE_BY_ID = _BY_ID.where(DELIVERIES.c.due_at <= db_now())
_DUE = _WAITING.where(DELIVERIES.c.due_at <= db_now()).limit(line.LIMIT)
_DUE_BY_NOW = _WAITING.where(DELIVERIES.c.due_at <= line.NOW).limit(line.LIMIT)
_LATER = _DUE_BY_NOW.where(line.OF_PRIORITY, DELIVERIES.c.id > bindparam("last"))
_RANGE = select(DELIVERIES.c.id, DELIVERIES.c.person_id).where(
    *line.OF_LANE,
    line.OF_PRIORITY,
    DELIVERIES.c.id.between(bindparam("first"), bindparam("last")),
)
_SETTINGS_VERSION = select(WORKSPACES.c.version).where(WORKSPACES.c.id == bindparam("workspace")).scalar_subquery()
_VERSIONS = (
    select(DELIVERIES.c.id, PEOPLE.c.fields_version, PEOPLE.c.id, _SETTINGS_VERSION)
    .join(PEOPLE, PEOPLE.c.id == DELIVERIES.c.person_id)
    .where(one_of(DELIVERIES.c.id), DELIVERIES.c.status == Status.WAITING, PEOPLE.c.email.is_not(None))
)
_FIELDS = select(PEOPLE.c.id, PEOPLE.c.fields, PEOPLE.c.fields_version).where(one_of(PEOPLE.c.id))


def _lane(run: Run, kind: Kind) -> dict[str, Any]:
    return {"connection": run.held.connection_id, "delivery_kind": kind}


def due(run: Run, kind: Kind, limit: int) -> list[Item]:
    """The next due deliveries of a kind that is never put off: anything but events."""
    with reading() as session:
        items = _rows(session, _DUE, {**_lane(run, kind), "most": limit})
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
        where = {**_lane(run, Kind.EVENT), "now": clock.now(), "most": limit}
        items = _rows(session, _DUE_BY_NOW, where)
        blocked = line.first_of_each(session, line.PUT_OFF, where, items) if items else {}
    run.share = _share(run, items)
    return Chosen(_unblocked(items, blocked), len(items) == limit)


def due_events_behind(run: Run, limit: int, behind: Sequence[Item]) -> Chosen:
    """The due events of the same priority that come after these, which are under way and still wait.

    A person's later ones wait also behind an earlier one that has come due since and is not among these.
    """
    last, under_way = behind[-1], {item.id for item in behind}
    with reading() as session:
        where = {**_lane(run, Kind.EVENT), "now": clock.now(), "priority": last.priority}
        items = _rows(session, _LATER, {**where, "last": last.id, "most": limit})
        if not items:
            return Chosen([], more=False)
        where["first"] = behind[0].id
        blocked = line.first_of_each(session, line.PASSED, where, items)
        among_these = session.connection().execute(_RANGE, {**where, "last": last.id}).all()
    for delivery_id, person_id in among_these:
        if delivery_id not in under_way:
            blocked[person_id] = min(delivery_id, blocked.get(person_id, delivery_id))
    return Chosen(_unblocked(items, blocked), len(items) == limit)


def _rows(session: Session, statement: Select[Any], where: Mapping[str, Any]) -> list[Item]:
    return [Item._make(row) for row in session.connection().execute(statement, where).all()]


def _unblocked(items: list[Item], blocked: Mapping[int, int]) -> list[Item]:
    return [item for item in items if item.id < blocked.get(item.person_id, item.id + 1)]


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


def by_id(ids: Iterable[int]) -> list[Item]:
    """Those of some deliveries of one lane that still wait."""
    with reading() as session:
        return _rows(session, _BY_ID, {"ids": list(ids)})


def due_by_id(run: Run, ids: Iterable[int]) -> list[Item]:
    """Those of them that are due."""
    with reading() as session:
        items = _rows(session, _DUE_BY_ID, {"ids": list(ids)})
    run.share = _share(run, items)
    return items


class AsKnown(NamedTuple):
    """Events that are about to be sent, and the version of the workspace's settings at the same moment."""

    items: list[Item]
    settings_version: int


def as_known_now(run: Run, items: Sequence[Item]) -> AsKnown:
    """These with their people's fields as they are by now; without those erased or settled meanwhile."""
    held = {item.id: item.fields_version for item in items}
    with reading() as session:
        where = {"ids": list(held), "workspace": run.held.workspace_id}
        rows = session.connection().execute(_VERSIONS, where).all()
        newer = {person_id for delivery_id, version, person_id, _ in rows if version > held[delivery_id]}
        if len(rows) < len(items):
            left = {row[0] for row in rows}
            items = [item for item in items if item.id in left]
        settings_version = rows[0][3] if rows else 0
        if not newer:
            return AsKnown(list(items), settings_version)
        found = session.connection().execute(_FIELDS, {"ids": list(newer)})
        known = {row.id: {"fields_text": row.fields, "fields_version": row.fields_version} for row in found}
    return AsKnown([item._replace(**known.get(item.person_id, {})) for item in items], settings_version)


def next_due_at(run: Run, kind: Kind) -> datetime | None:
    """When the earliest waiting delivery of the lane comes due; None where nothing waits."""
    with reading() as session:
        found: datetime | None = session.connection().scalar(line.NEXT_DUE, _lane(run, kind))
        return found
