"""Reading deliveries by the indexes there are: ranges of an index merged newest first, a bounded number of rows.

No filter has an index of its own, each would cost ingest. What an index names is found at once; the rest is looked for
among the rows it leads to, LOOKED of them for a page, and the page says how far it looked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, func, or_, select, union_all
from sqlalchemy.orm import Session

from webapp.catalogue.reasons import REASONS, Reason, Status
from webapp.dialects import index_range, plan_anew
from webapp.forms.delivery_filters import Filters
from webapp.models import Connection, Delivery
from webapp.services.deliveries.waiting_reasons import GIVEN

LOOKED = 10_500
CHUNKS = (500, 2_000, 8_000)
LAST_ID = 2**62
# Ids are given in the order of acceptance but for concurrent calls: this much apart at the very most.
SLACK = timedelta(minutes=10)
NEAR = timedelta(minutes=1)
CONNECTIONS = 8
UNCONNECTED = (Reason.NO_EMAIL, Reason.NO_ROUTE, Reason.NOT_CONNECTED)

AnyRow = Row[*tuple[Any, ...]]
Range = tuple[tuple[Any, Any], ...]
COLUMNS = (
    Delivery.id,
    Delivery.workspace_id,
    Delivery.connection_id,
    Delivery.kind,
    Delivery.person_id,
    Delivery.event,
    Delivery.status,
    Delivery.reason,
    Delivery.priority,
    Delivery.created_at,
    Delivery.batch_id,
)


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found. `last_id` is where to go on from; None: nothing is further. `cut`: not all was looked at."""

    rows: list[AnyRow]
    last_id: int | None
    cut: bool


def ranges(session: Session, workspace_id: int, filters: Filters) -> list[Range]:
    """The index ranges that hold every delivery the filters may mean, and as few others as can be."""
    if filters.person_id is not None:
        return [((Delivery.person_id, filters.person_id),)]
    by_connection = filters.connection_id is not None and filters.status in {None, Status.DELIVERED}
    if by_connection and filters.reason is None:
        return [((Delivery.connection_id, filters.connection_id),)]
    if filters.status is None and filters.reason is None:
        owned = select(Connection.id).where(Connection.workspace_id == workspace_id).limit(CONNECTIONS + 1)
        ids = session.scalars(owned).all()
        if len(ids) <= CONNECTIONS:
            unconnected = [outcome(workspace_id, Status.SKIPPED, reason) for reason in UNCONNECTED]
            return [*(((Delivery.connection_id, connection_id),) for connection_id in ids), *unconnected]
    return [outcome(workspace_id, status, reason) for status, reason in _stored_pairs(filters)]


def _stored_pairs(filters: Filters) -> list[tuple[Status, Reason]]:
    """The statuses and reasons to read: what a lane gives to those who wait in it is not written on their rows."""
    found = set(filters.pairs)
    if filters.reason in GIVEN and filters.status in {None, Status.WAITING}:
        found |= {(Status.WAITING, reason) for reason in REASONS[Status.WAITING]}
    return sorted(found)


def outcome(workspace_id: int, status: Status, reason: Reason) -> Range:
    """The range of one status and reason."""
    return ((Delivery.workspace_id, workspace_id), (Delivery.status, status), (Delivery.reason, reason))


def merged(
    session: Session,
    found: Sequence[Range],
    *,
    above: int,
    below: int,
    limit: int,
    oldest_first: bool = False,
) -> list[AnyRow]:
    """The newest (or oldest) rows of the ranges together, `COLUMNS` of each."""
    if not found:
        return []
    statement = _together(session, found, above=above, below=below, limit=limit, oldest_first=oldest_first)
    plan_anew(session)
    return list(session.execute(statement).all())


def _together(
    session: Session, found: Sequence[Range], *, above: int, below: int, limit: int, oldest_first: bool = False
) -> Any:
    parts = []
    for place, prefix in enumerate(found):
        where, order = index_range(session, prefix, Delivery.id, above=above, below=below, oldest_first=oldest_first)
        part = select(*COLUMNS).where(where).order_by(*order).limit(limit).subquery(f"r{place}")
        parts.append(select(part))
    if len(parts) == 1:
        return parts[0]
    together = union_all(*parts).subquery("together")
    order_by = together.c.id.asc() if oldest_first else together.c.id.desc()
    return select(together).order_by(order_by).limit(limit)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are meant. `matches` decides; `conditions` says as much of it as SQL can, so that few rows travel."""

    conditions: Callable[[Any], list[Any]]
    matches: Callable[[AnyRow], bool]


def scan(
    session: Session,
    found: Sequence[Range],
    *,
    wanted: int,
    above: int = 0,
    below: int = LAST_ID,
    only: Wanted | None = None,
) -> Scan:
    """Up to `wanted` rows that are meant, newest first, looking at a bounded number of them."""
    if not found:
        return Scan([], None, cut=False)
    if only is None:
        rows = _unique(merged(session, found, above=above, below=below, limit=wanted + 1))
        return Scan(rows[:wanted], rows[wanted - 1].id if len(rows) > wanted else None, cut=False)
    kept: list[AnyRow] = []
    for chunk in CHUNKS:
        rows, below, looked = _look(session, found, only, above=above, below=below, chunk=chunk)
        kept = _unique([*kept, *filter(only.matches, rows)])
        if len(kept) > wanted:
            return Scan(kept[:wanted], kept[wanted - 1].id, cut=False)
        if looked < chunk:
            return Scan(kept, None, cut=False)
    return Scan(kept, below, cut=True)


def _look(
    session: Session, found: Sequence[Range], only: Wanted, *, above: int, below: int, chunk: int
) -> tuple[list[AnyRow], int, int]:
    """The next `chunk` rows: those that may be meant, the last id that was looked at, how many were."""
    looked = _together(session, found, above=above, below=below, limit=chunk).cte("looked")
    last = select(func.min(looked.c.id)).scalar_subquery()
    number = select(func.count()).select_from(looked).scalar_subquery()
    statement = select(looked, number.label("looked")).where(or_(and_(*only.conditions(looked.c)), looked.c.id == last))
    plan_anew(session)
    rows = list(session.execute(statement.order_by(looked.c.id.desc())).all())
    return (rows, rows[-1].id, rows[-1].looked) if rows else ([], below, 0)


def _unique(rows: list[AnyRow]) -> list[AnyRow]:
    """Without what stands in two ranges: a delivery may have moved from one to the other while they were read."""
    return list({row.id: row for row in rows}.values())


def around(
    session: Session, moment: datetime, key: Any = Delivery.id, made_at: Any = Delivery.created_at
) -> tuple[int, int]:
    """The last id known to be made before `moment`, and the first known to be made at or after it, within a minute.

    A search by the key, by how far the moment lies between two known ones; by halves where that does not get on.
    """
    statement = select(key, made_at)
    first = session.execute(statement.order_by(key).limit(1)).one_or_none()
    last = session.execute(statement.order_by(key.desc()).limit(1)).one_or_none()
    if first is None or last is None or first[1] >= moment:
        return 0, first[0] if first is not None else 1
    if last[1] < moment:
        return last[0], last[0] + 1
    low: tuple[Any, ...] = first
    high: tuple[Any, ...] = last
    halve = False
    while high[0] - low[0] > 1 and high[1] - low[1] > NEAR:
        share = 0.5 if halve else (moment - low[1]) / (high[1] - low[1])
        middle = min(high[0] - 1, max(low[0] + 1, low[0] + int((high[0] - low[0]) * share)))
        row = session.execute(statement.where(key >= middle).order_by(key).limit(1)).one()
        before = high[0] - low[0]
        if row[1] < moment and row[0] < high[0]:
            low = row
        else:
            high = (middle, max(moment, min(row[1], high[1])))
        halve = (high[0] - low[0]) * 2 > before
    return low[0], high[0]


def tally(session: Session, prefix: Range, *, above: int, most: int) -> list[AnyRow]:
    """How many of a range's rows above an id there are by connection and kind, `most` of them looked at.

    Rows of (connection_id, kind, count, newest id).
    """
    plan_anew(session)
    where, order = index_range(session, prefix, Delivery.id, above=above, below=LAST_ID)
    columns = (Delivery.id, Delivery.connection_id, Delivery.kind)
    looked = select(*columns).where(where).order_by(*order).limit(most).subquery()
    grouped = select(looked.c.connection_id, looked.c.kind, func.count(), func.max(looked.c.id))
    return list(session.execute(grouped.group_by(looked.c.connection_id, looked.c.kind)))
