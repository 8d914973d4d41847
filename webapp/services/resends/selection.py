"""Which deliveries a resend is about: some by id, or all that filters mean up to a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from webapp.dialects import index_range, plan_anew
from webapp.forms.delivery_filters import Filters, parse
from webapp.models import Activity, Delivery, Person
from webapp.services.deliveries.ranges import COLUMNS, LAST_ID, AnyRow, Range, merged, ranges
from webapp.services.deliveries.resend_rules import STATUSES, UNROUTED
from webapp.services.deliveries.search import bounds, matcher, named

MOST_IDS = 1_000
# A count looks at this many rows of each cause at most; the page then says "or more".
MOST_COUNTED = 200_000
BITE_LOOKED = 2_000


@dataclass(frozen=True, slots=True)
class Selection:
    """`ids`, or else `filters`. `up_to` is the newest id there was: what fails later is another resend's."""

    ids: tuple[int, ...] | None
    filters: Filters
    up_to: int

    def arguments(self) -> dict[str, Any]:
        """As a task keeps it."""
        return {"ids": list(self.ids) if self.ids is not None else None, "up_to": self.up_to, **self.words()}

    def words(self) -> dict[str, Any]:
        """The filters, as a page's address has them."""
        return {"filters": self.filters.query(before=None, follow=False)}


def from_arguments(arguments: Mapping[str, Any]) -> Selection:
    """Back from a task's arguments."""
    filters, _ = parse(arguments["filters"])
    ids = arguments["ids"]
    return Selection(tuple(ids) if ids is not None else None, filters, arguments["up_to"])


def chosen(session: Session, workspace_id: int, ids: list[int], filters: Filters) -> Selection:
    """What a person chose: ids where any were given, else everything the filters mean today."""
    up_to = session.scalar(select(func.max(Delivery.id))) or 0
    asked = replace(filters, before=None, follow=False)
    listed = None if ids else named(session, workspace_id, asked, MOST_IDS)
    if listed is not None:
        return Selection(tuple(sorted(listed)), asked, up_to)
    return Selection(tuple(sorted(set(ids))[:MOST_IDS]) if ids else None, asked, up_to)


def alike(session: Session, workspace_id: int, selection: Selection) -> list[AnyRow]:
    """The selection in groups of deliveries that the rules treat alike, with `number` of each.

    Rows of (status, reason, kind, event, connection_id, person_id, is_erased, store_id, home_store_id, number);
    `person_id` is 0 or None; the stores only of those that are to be routed anew.
    """
    if selection.ids is not None:
        mine = and_(Delivery.workspace_id == workspace_id, Delivery.id.in_(selection.ids))
        return list(session.execute(_grouped(mine)))
    above, below = bounds(session, selection.filters)
    plan_anew(session)
    found: list[AnyRow] = []
    for prefix in _ended(session, workspace_id, selection.filters):
        where, order = index_range(session, prefix, Delivery.id, above=above, below=min(below, selection.up_to + 1))
        ids = select(Delivery.id).where(where).order_by(*order).limit(MOST_COUNTED).subquery()
        mine = and_(Delivery.id.in_(select(ids.c.id)), _narrowed(workspace_id, selection.filters))
        found += list(session.execute(_grouped(mine)))
    return found


def _ended(session: Session, workspace_id: int, filters: Filters) -> list[Range]:
    """The ranges of what has ended undelivered. What has not is not counted where a filter does not ask for it."""
    if filters.person_id is not None:
        return ranges(session, workspace_id, filters)
    statuses = [filters.status] if filters.status else list(STATUSES)
    return [found for status in statuses for found in ranges(session, workspace_id, replace(filters, status=status))]


def _narrowed(workspace_id: int, filters: Filters) -> ColumnElement[bool]:
    found: list[ColumnElement[bool]] = [Delivery.workspace_id == workspace_id]
    if filters.person_id is None and filters.status is None:
        found.append(Delivery.status.in_(STATUSES))
    wanted = {
        Delivery.status: filters.status,
        Delivery.reason: filters.reason,
        Delivery.event: filters.event,
        Delivery.connection_id: filters.connection_id,
    }
    found += [column == value for column, value in wanted.items() if value is not None]
    if filters.since is not None:
        found.append(Delivery.created_at >= filters.since)
    if filters.until is not None:
        found.append(Delivery.created_at < filters.until)
    return and_(*found)


def _grouped(mine: ColumnElement[bool]) -> Any:
    """Counts by what the rules look at. Activities and people are read only for those that have no connection.

    Who was erased is read once: an index knows them.
    """
    erased = select(Person.id).where(Person.erased_at.is_not(None))
    unrouted = and_(Delivery.reason.in_(UNROUTED), Delivery.connection_id.is_(None))
    keys = (
        Delivery.status,
        Delivery.reason,
        Delivery.kind,
        Delivery.event,
        Delivery.connection_id,
        (Delivery.person_id * 0).label("person_id"),
        Delivery.person_id.in_(erased).label("is_erased"),
        Activity.store_id,
        Person.home_store_id,
    )
    return (
        select(*keys, func.count().label("number"))
        .select_from(Delivery)
        .outerjoin(Activity, and_(Activity.id == Delivery.activity_id, unrouted))
        .outerjoin(Person, and_(Person.id == Delivery.person_id, unrouted))
        .where(mine)
        .group_by(*keys)
    )


@dataclass(frozen=True, slots=True)
class Bite:
    """The next deliveries, oldest first, and the id to go on from; None: there are no more."""

    ids: list[int]
    following: int | None


def bite(session: Session, workspace_id: int, selection: Selection, *, part: int, after: int, size: int) -> Bite:
    """Up to `size` deliveries of one connection (`part`; 0: none) after an id: a person's events keep their order."""
    if selection.ids is not None:
        wanted = [each for each in selection.ids if each > after]
        statement = select(*COLUMNS).where(Delivery.id.in_(wanted), Delivery.workspace_id == workspace_id)
        rows = list(session.execute(statement.order_by(Delivery.id)))
    else:
        above, below = bounds(session, selection.filters)
        rows = merged(
            session,
            _ended(session, workspace_id, selection.filters),
            above=max(above, after),
            below=min(below, selection.up_to + 1, LAST_ID),
            limit=BITE_LOOKED,
            oldest_first=True,
        )
    is_meant = matcher(workspace_id, selection.filters, {}) if selection.ids is None else lambda _row: True
    found: list[int] = []
    for row in rows:
        if (row.connection_id or 0) == part and row.status in STATUSES and is_meant(row):
            found.append(row.id)
        if len(found) == size:
            return Bite(found, row.id)
    ended = selection.ids is not None or len(rows) < BITE_LOOKED
    return Bite(found, None if ended else rows[-1].id)
