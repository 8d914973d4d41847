"""Finding deliveries: filters that the indexes serve, newest first, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp.catalogue.reasons import REASONS, Reason, Status
from webapp.extensions import db
from webapp.forms.delivery_filters import Filters
from webapp.models import Activity, Connection, Delivery, Person
from webapp.services.deliveries import accounts_then, attempts, waiting_reasons
from webapp.services.deliveries import ranges as delivery_ranges
from webapp.services.deliveries.ranges import LAST_ID, SLACK, AnyRow, Wanted, around, ranges, scan

PAGE = 50


@dataclass(frozen=True, slots=True)
class Found:
    """A delivery with what a list shows of it. `reason` is today's: a pause shows on what waits behind it."""

    delivery: Delivery
    activity_id: str
    email: str | None
    account: str | None
    reason: Reason
    is_erased: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Up to PAGE deliveries. `following`: the cursor of the next page. `looked_to`: not everything was looked at."""

    found: list[Found]
    following: int | None
    looked_to: datetime | None


def page(workspace_id: int, filters: Filters) -> Page:
    """A page of what the filters mean. Its order is that of the ids, so that new ones never move what is below."""
    session = db.session()
    holds = waiting_reasons.of_workspace(session, workspace_id)
    ids = named(session, workspace_id, filters, PAGE)
    if ids is not None:
        return Page(details(session, ids, holds), None, None)
    above, below = bounds(session, filters)
    looked = scan(
        session,
        ranges(session, workspace_id, filters),
        wanted=PAGE,
        above=above,
        below=below,
        only=wanted(workspace_id, filters, holds) if needs_matching(filters) else None,
    )
    looked_to = None
    if looked.cut and looked.last_id is not None:
        looked_to = session.scalar(select(Delivery.created_at).where(Delivery.id == looked.last_id))
    return Page(details(session, [row.id for row in looked.rows], holds), looked.last_id, looked_to)


def named(session: Session, workspace_id: int, filters: Filters, limit: int) -> list[int] | None:
    """The deliveries that one of Klaviyo's answers or an activity names, those of them that are meant, newest first.

    None: the filters name none, so that they are to be looked for.
    """
    found: list[set[int]] = []
    if filters.request_id is not None:
        found.append(set(attempts.deliveries_of(session, workspace_id, filters.request_id, limit)))
    if filters.activity_id is not None:
        owed = select(Delivery.id).where(Delivery.activity_id == filters.activity_id)
        found.append(set(session.scalars(owed.limit(limit))))
    if not found:
        return None
    is_meant = matcher(workspace_id, filters, waiting_reasons.of_workspace(session, workspace_id))
    return [row.id for row in rows_of(session, set.intersection(*found)) if is_meant(row)]


def bounds(session: Session, filters: Filters) -> tuple[int, int]:
    """The ids between which the filters' time range and cursor lie, both excluded."""
    above = around(session, filters.since - SLACK)[0] if filters.since else 0
    below = around(session, filters.until + SLACK)[1] if filters.until else LAST_ID
    return above, min(below, filters.before or LAST_ID)


def needs_matching(filters: Filters) -> bool:
    """Whether the rows of the ranges still have to be looked at one by one."""
    named = (filters.event, filters.since, filters.until, filters.connection_id, filters.person_id)
    # What waits is shown under the reason of its lane, which is not the one on its row.
    as_held = filters.status in {None, Status.WAITING} and filters.reason in REASONS[Status.WAITING]
    return as_held or any(value is not None for value in named)


def wanted(workspace_id: int, filters: Filters, holds: waiting_reasons.Holds) -> Wanted:
    """Which rows of the ranges are meant; all but the reason of what waits can be said in SQL."""
    equal = {
        "workspace_id": workspace_id,
        "status": filters.status,
        "event": filters.event,
        "connection_id": filters.connection_id,
        "person_id": filters.person_id,
    }

    def conditions(columns: Any) -> list[Any]:
        found = [columns[name] == value for name, value in equal.items() if value is not None]
        if filters.since is not None:
            found.append(columns.created_at >= filters.since)
        if filters.until is not None:
            found.append(columns.created_at < filters.until)
        return found

    return Wanted(conditions, matcher(workspace_id, filters, holds))


def matcher(workspace_id: int, filters: Filters, holds: waiting_reasons.Holds) -> Callable[[AnyRow], bool]:
    """Whether a row is meant."""

    def matches(row: AnyRow) -> bool:
        reason = waiting_reasons.reason_of(row.status, row.reason, row.connection_id, row.kind, holds)
        return (
            row.workspace_id == workspace_id
            and filters.status in {None, row.status}
            and filters.reason in {None, reason}
            and filters.event in {None, row.event}
            and filters.connection_id in {None, row.connection_id}
            and filters.person_id in {None, row.person_id}
            and (filters.since is None or row.created_at >= filters.since)
            and (filters.until is None or row.created_at < filters.until)
        )

    return matches


def rows_of(session: Session, ids: Iterable[int]) -> list[AnyRow]:
    """The rows of some ids, newest first."""
    statement = select(*delivery_ranges.COLUMNS).where(Delivery.id.in_(list(ids)))
    return list(session.execute(statement.order_by(Delivery.id.desc())))


def details(session: Session, ids: list[int], holds: waiting_reasons.Holds) -> list[Found]:
    """What a list shows of some deliveries, newest first."""
    statement = (
        select(Delivery, Activity.external_id, Person.email, Person.erased_at, Connection)
        .join(Activity, Activity.id == Delivery.activity_id)
        .outerjoin(Person, Person.id == Delivery.person_id)
        .outerjoin(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.id.in_(ids))
        .order_by(Delivery.id.desc())
    )
    rows = session.execute(statement).all()
    before = accounts_then.of(session, [(row.Delivery, row.Connection) for row in rows])
    found = []
    for delivery, external_id, email, erased_at, connection in rows:
        now = connection.account_name if connection is not None else None
        account = before[delivery.id].name if delivery.id in before else now
        found.append(
            Found(delivery, external_id, email, account, waiting_reasons.of(delivery, holds), erased_at is not None)
        )
    return found


def accounts(workspace_id: int) -> dict[int, str]:
    """Connection id -> its account's name, as a filter offers them: live ones first."""
    statement = select(Connection).where(Connection.workspace_id == workspace_id).limit(200)
    found = sorted(db.session.scalars(statement), key=lambda each: (not each.is_live, each.id))
    return {each.id: each.account_name + ("" if each.is_live else " (disconnected)") for each in found}
