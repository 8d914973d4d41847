"""Which deliveries of a lane are looked at next: due ones by (priority, id), or those of a batch of unknown end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    Select,
    exists,
    select,
)
from sqlalchemy.orm import Session

from jobs import line
from jobs.run import Run
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin
from webapp.database import reading
from webapp.dialects import db_now, one_of
from webapp.models import Connection, Delivery
from webapp.models.delivery import PRIORITY_LIVE
from webapp.models.tables import ACTIVITIES, DELIVERIES, PEOPLE

LOW_SHARE = 0.5
FOR_IMPORTS = 7_500  # as many people as a second's look-ups


class Item(NamedTuple):  # made by the thousand: a tuple is made from a row at once
    """A waiting delivery of fields or a consent with all a step needs of it. `email` None: erased meanwhile.

    What a step needs of an event is another thing, see `jobs.events.event`.
    """

    id: int
    activity_id: int
    origin: Origin
    occurred_at: datetime
    accepted_at: datetime
    expires_at: datetime
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
    ACTIVITIES.c.origin,
    ACTIVITIES.c.occurred_at,
    ACTIVITIES.c.accepted_at,
    DELIVERIES.c.expires_at,
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
    DELIVERIES.c.only_existing,
    DELIVERIES.c.reason,
)


def in_line(*columns: Any) -> Select[Any]:
    """These columns of deliveries, with their activities and people, in the order of the line.

    To be made once. Rows of tables, not of mapped classes: the mapper costs as much as the query.
    """
    return (
        select(*columns)
        .join(ACTIVITIES, ACTIVITIES.c.id == DELIVERIES.c.activity_id)
        .join(PEOPLE, PEOPLE.c.id == DELIVERIES.c.person_id)
        .order_by(*line.IN_LINE)
    )


_ITEMS = in_line(*_COLUMNS)
# Without the lane, whose line SQLite would rather walk: a batch's ids are of one lane anyway.
_DUE_BY_ID = _ITEMS.where(
    one_of(DELIVERIES.c.id), DELIVERIES.c.status == Status.WAITING, DELIVERIES.c.due_at <= db_now()
)
_DUE = _ITEMS.where(*line.OF_LANE, DELIVERIES.c.due_at <= db_now()).limit(line.LIMIT)


def of_lane(run: Run, kind: Kind) -> dict[str, Any]:
    """Parameters of `line.OF_LANE`."""
    return {"connection": run.held.connection_id, "delivery_kind": kind}


def due(run: Run, kind: Kind, limit: int) -> list[Item]:
    """The next due deliveries of a kind that is never put off: anything but events."""
    with reading() as session:
        items = _rows(session, _DUE, {**of_lane(run, kind), "most": limit})
    run.share = share(run, items)
    return items


def _rows(session: Session, statement: Select[Any], where: Mapping[str, Any]) -> list[Item]:
    return [Item(*row) for row in session.connection().execute(statement, where).all()]


def share(run: Run, items: Sequence[line.Stands]) -> float:
    """How much of each budget these may use."""
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


def due_by_id(run: Run, ids: Iterable[int]) -> list[Item]:
    """Those of some deliveries of one lane that still wait and are due."""
    with reading() as session:
        items = _rows(session, _DUE_BY_ID, {"ids": list(ids)})
    run.share = share(run, items)
    return items


def next_due_at(run: Run, kind: Kind) -> datetime | None:
    """When the earliest waiting delivery of the lane comes due; None where nothing waits."""
    with reading() as session:
        found: datetime | None = session.connection().scalar(line.NEXT_DUE, of_lane(run, kind))
        return found
