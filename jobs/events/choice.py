"""Which events of a lane's line go next, with what is remembered of their people, and whether that still holds.

The line is read as it stands, from its head: mostly all of it is due, and nobody need ask who is put off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, func, select
from sqlalchemy.orm import Session

from jobs import choose, line
from jobs.events.event import EVENTS, Event
from jobs.run import Run
from webapp import clock
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind
from webapp.database import reading
from webapp.dialects import one_of
from webapp.models.tables import DELIVERIES, PEOPLE, PROFILE_LINKS, WORKSPACES

_LINKED = (
    EVENTS.where(*line.OF_LANE)
    .add_columns(
        PROFILE_LINKS.c.klaviyo_id,
        PROFILE_LINKS.c.found,
        PROFILE_LINKS.c.looked_up_at,
        PROFILE_LINKS.c.creating_since,
        DELIVERIES.c.due_at <= line.NOW,
    )
    .outerjoin(
        PROFILE_LINKS,
        and_(
            PROFILE_LINKS.c.connection_id == DELIVERIES.c.connection_id,
            PROFILE_LINKS.c.person_id == DELIVERIES.c.person_id,
        ),
    )
)
_BEHIND = (line.OF_PRIORITY, DELIVERIES.c.id > bindparam("last"))
_STANDING = _LINKED.limit(line.LIMIT)
_STANDING_LATER = _STANDING.where(*_BEHIND)
_DUE_BY_NOW = _STANDING.where(DELIVERIES.c.due_at <= line.NOW)
_LATER = _DUE_BY_NOW.where(*_BEHIND)
_BEFORE = (
    select(DELIVERIES.c.id, DELIVERIES.c.person_id)
    .where(*line.OF_LANE, line.OF_PRIORITY, DELIVERIES.c.id <= bindparam("last"))
    .order_by(*line.IN_LINE)
    .limit(line.LIMIT)
)
_RANGE = select(DELIVERIES.c.id, DELIVERIES.c.person_id).where(
    *line.OF_LANE,
    line.OF_PRIORITY,
    DELIVERIES.c.id.between(bindparam("first"), bindparam("last")),
)
_SETTINGS_VERSION = select(WORKSPACES.c.version).where(WORKSPACES.c.id == bindparam("workspace")).scalar_subquery()


def _sendable(*columns: Any) -> Select[Any]:
    """Of chosen deliveries those that still wait, for somebody who is not erased."""
    still = (one_of(DELIVERIES.c.id), DELIVERIES.c.status == Status.WAITING, PEOPLE.c.email.is_not(None))
    return select(*columns, _SETTINGS_VERSION).join(PEOPLE, PEOPLE.c.id == DELIVERIES.c.person_id).where(*still)


_VERSIONS = _sendable(DELIVERIES.c.id, PEOPLE.c.fields_version, PEOPLE.c.id)
_SUMS = _sendable(func.count(DELIVERIES.c.id), func.sum(PEOPLE.c.fields_version))
_FIELDS = select(PEOPLE.c.id, PEOPLE.c.fields, PEOPLE.c.fields_version).where(one_of(PEOPLE.c.id))


class Chosen(NamedTuple):
    """Due events, and whether there may be more of them. `is_all`: nothing else stands in the line."""

    items: list[Event]
    more: bool
    is_all: bool = False


def due_events(run: Run, limit: int) -> Chosen:
    """The next due events.

    A person's later ones wait behind an earlier one that is put off, for their creation, so that they keep their order.
    """
    # One moment for all questions: whatever came due between two would be missing here and block nobody there.
    where = {**choose.of_lane(run, Kind.EVENT), "now": clock.now(), "most": limit}
    with reading() as session:
        standing = _linked(session, _STANDING, where)
        items = [item for item in standing if item.is_due]
        if len(items) < len(standing) == limit:  # many are put off: who is due may stand far behind
            items = _linked(session, _DUE_BY_NOW, where)
            blocked = line.first_of_each(session, line.PUT_OFF, where, items) if items else {}
        else:
            blocked = _put_off(standing, items)
    run.share = choose.share(run, items)
    return Chosen(_unblocked(items, blocked), len(items) == limit, is_all=len(items) == len(standing) < limit)


def due_events_behind(run: Run, limit: int, behind: Sequence[Event], delivered: frozenset[int]) -> Chosen:
    """The due events of the same priority that come after these, which are under way and still wait.

    A person's later ones wait also behind an earlier one that has come due since and is not among these, nor among
    those `delivered` before them that do not say so yet.
    """
    last, gone = behind[-1], delivered.union(item.id for item in behind)
    where = {
        **choose.of_lane(run, Kind.EVENT),
        "now": clock.now(),
        "priority": last.priority,
        "last": last.id,
        "most": limit,
    }
    with reading() as session:
        standing = _linked(session, _STANDING_LATER, where)
        items = [item for item in standing if item.is_due]
        blocked = _put_off(standing, items)
        if len(items) < len(standing) == limit:
            items = _linked(session, _LATER, where)
            blocked = line.first_of_each(session, line.PUT_OFF, where, items) if items else {}
        if not items:
            return Chosen([], more=False)
        before = session.connection().execute(_BEFORE, {**where, "most": line.FRONT}).all()
        if len(before) == line.FRONT:
            where["first"] = min(gone)
            blocked = line.first_of_each(session, line.PASSED, where, items)
            before = session.connection().execute(_RANGE, where).all()
    for delivery_id, person_id in before:
        if delivery_id not in gone:
            blocked[person_id] = min(delivery_id, blocked.get(person_id, delivery_id))
    return Chosen(_unblocked(items, blocked), len(items) == limit)


def _put_off(standing: Sequence[Event], items: Sequence[Event]) -> dict[int, int]:
    """Person id -> their first event that is not due, of those before the last of `items`; see `line.first_of_each`."""
    if len(items) == len(standing) or not items:
        return {}
    last, priorities = max(item.id for item in items), {item.priority for item in items}
    firsts: dict[int, int] = {}
    for item in standing:
        if not item.is_due and item.id < last and item.priority in priorities:
            firsts[item.person_id] = min(item.id, firsts.get(item.person_id, item.id))
    return firsts


def _linked(session: Session, statement: Select[Any], where: Mapping[str, Any]) -> list[Event]:
    return [Event(*row) for row in session.connection().execute(statement, where).all()]


def _unblocked(items: list[Event], blocked: Mapping[int, int]) -> list[Event]:
    return [item for item in items if item.id < blocked.get(item.person_id, item.id + 1)]


class AsKnown(NamedTuple):
    """Events that are about to be sent, and the version of the workspace's settings at the same moment."""

    items: list[Event]
    settings_version: int


def as_known_now(run: Run, items: Sequence[Event]) -> AsKnown:
    """These with their people's fields as they are by now; without those erased or settled meanwhile.

    Versions only grow: where as many still wait and their sum is the same, none is another, and no row need be read.
    """
    held = {item.id: item.fields_version for item in items}
    with reading() as session:
        where = {"ids": list(held), "workspace": run.held.workspace_id}
        count, total, settings_version = session.connection().execute(_SUMS, where).one()
        if count == len(items) and total == sum(held.values()):
            return AsKnown(list(items), settings_version)
        rows = session.connection().execute(_VERSIONS, where).all()
        newer = {person_id for delivery_id, version, person_id, _ in rows if version > held[delivery_id]}
        if len(rows) < len(items):
            left = {row[0] for row in rows}
            items = [item for item in items if item.id in left]
        settings_version = rows[0][3] if rows else run.settings_version
        if not newer:
            return AsKnown(list(items), settings_version)
        found = session.connection().execute(_FIELDS, {"ids": list(newer)})
        known = {row.id: {"fields_text": row.fields, "fields_version": row.fields_version} for row in found}
    items = [item._replace(**known[item.person_id]) if item.person_id in known else item for item in items]
    return AsKnown(items, settings_version)
