"""Reading deliveries by the indexes there are: ranges of an index merged newest first, a bounded number of rows.

No filter has an index of its own, each would cost ingest. What an index names is found at once; the rest is looked for
among the rows it leads to, LOOKED of them for a page, and the page says how far it looked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, select, union_all
from sqlalchemy.orm import Session

from webapp.catalogue.reasons import REASONS, Reason, Status
from webapp.database import index_range
from webapp.forms.delivery_filters import Filters
from webapp.models import Connection, Delivery
from webapp.services.waiting_reasons import GIVEN

LOOKED = 10_500
CHUNKS = (500, 2_000, 8_000)
LAST_ID = 2**62
# Ids are given in the order of acceptance but for concurrent calls: this much apart at the very most.
SLACK = timedelta(minutes=10)
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
    session: Session, found: Sequence[Range], *, above: int, below: int, limit: int, oldest_first: bool = False
) -> list[AnyRow]:
    """The newest (or oldest) rows of the ranges together, `COLUMNS` of each."""
    parts = []
    for place, prefix in enumerate(found):
        where, order = index_range(session, prefix, Delivery.id, above=above, below=below, oldest_first=oldest_first)
        part = select(*COLUMNS).where(where).order_by(*order).limit(limit).subquery(f"r{place}")
        parts.append(select(part))
    if not parts:
        return []
    if len(parts) == 1:
        return list(session.execute(parts[0]).all())
    together = union_all(*parts).subquery("together")
    order_by = together.c.id.asc() if oldest_first else together.c.id.desc()
    return list(session.execute(select(together).order_by(order_by).limit(limit)).all())


def scan(
    session: Session,
    found: Sequence[Range],
    *,
    wanted: int,
    above: int = 0,
    below: int = LAST_ID,
    matches: Callable[[AnyRow], bool] | None = None,
) -> Scan:
    """Up to `wanted` rows that match, newest first, looking at a bounded number of them."""
    kept: list[AnyRow] = []
    seen: set[int] = set()
    for chunk in CHUNKS if matches else (wanted + 1,):
        rows = merged(session, found, above=above, below=below, limit=chunk)
        for row in rows:
            below = row.id
            if row.id in seen or (matches is not None and not matches(row)):
                continue
            if len(kept) == wanted:
                return Scan(kept, kept[-1].id, cut=False)
            seen.add(row.id)
            kept.append(row)
        if len(rows) < chunk:
            return Scan(kept, None, cut=False)
    return Scan(kept, below, cut=True)


def id_at(session: Session, moment: datetime, key: Any = Delivery.id, made_at: Any = Delivery.created_at) -> int:
    """An id such that rows made before `moment` are below it (but for SLACK): a search, halving, by the key."""
    low, high = 0, session.scalar(select(func.max(key))) or 0
    while low < high:
        middle = (low + high + 1) // 2
        statement = select(key, made_at).where(key >= middle)
        row = session.execute(statement.order_by(key).limit(1)).one_or_none()
        if row is None or row[1] >= moment:
            high = middle - 1
        else:
            low = max(middle, row[0])
    return low + 1


def tally(session: Session, prefix: Range, *, above: int, most: int) -> list[AnyRow]:
    """How many of a range's rows above an id there are by connection and kind, `most` of them looked at.

    Rows of (connection_id, kind, count, newest id).
    """
    where, order = index_range(session, prefix, Delivery.id, above=above, below=LAST_ID)
    columns = (Delivery.id, Delivery.connection_id, Delivery.kind)
    looked = select(*columns).where(where).order_by(*order).limit(most).subquery()
    grouped = select(looked.c.connection_id, looked.c.kind, func.count(), func.max(looked.c.id))
    return list(session.execute(grouped.group_by(looked.c.connection_id, looked.c.kind)))
