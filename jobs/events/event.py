"""A waiting event as a step needs it, and those of a batch."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from jobs import choose
from jobs.lookup import Link
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Origin
from webapp.database import reading
from webapp.dialects import one_of
from webapp.models.tables import ACTIVITIES, DELIVERIES, PEOPLE


class Event(NamedTuple):  # made by the thousand: a tuple is made from a row at once
    """A waiting event. `email` None: erased meanwhile.

    `klaviyo_id` and after it is what is remembered of the person, see `ProfileLink`, and of the line: only those that
    were chosen from their line have it.
    """

    id: int
    external_id: str
    event: str | None
    origin: Origin
    starts_flows: bool
    occurred_at: datetime
    created_at: datetime
    expires_at: datetime
    properties: str | None
    attempts: int
    priority: int
    person_id: int
    email: str | None
    fields_text: str
    fields_version: int
    klaviyo_id: str | None = None
    found: bool | None = None
    looked_up_at: datetime | None = None
    creating_since: datetime | None = None
    is_due: bool = True


EVENTS = choose.in_line(
    DELIVERIES.c.id,
    ACTIVITIES.c.external_id,
    DELIVERIES.c.event,
    ACTIVITIES.c.origin,
    ACTIVITIES.c.starts_flows,
    ACTIVITIES.c.occurred_at,
    DELIVERIES.c.created_at,
    DELIVERIES.c.expires_at,
    ACTIVITIES.c.properties,
    DELIVERIES.c.attempts,
    DELIVERIES.c.priority,
    DELIVERIES.c.person_id,
    PEOPLE.c.email,
    PEOPLE.c.fields,
    PEOPLE.c.fields_version,
)
# Without the lane, whose line SQLite would rather walk: a batch's ids are of one lane anyway.
_BY_ID = EVENTS.where(one_of(DELIVERIES.c.id), DELIVERIES.c.status == Status.WAITING)


def by_id(ids: Iterable[int]) -> list[Event]:
    """Those of some events of one lane that still wait."""
    with reading() as session:
        return [Event(*row) for row in session.connection().execute(_BY_ID, {"ids": list(ids)}).all()]


def remembered(events: Iterable[Event]) -> dict[int, Link]:
    """What is remembered of the people of chosen events: person id -> link, as far as events need it."""
    rows = {event.person_id: event for event in events if event.looked_up_at is not None}
    return {
        id_: Link(id_, event.klaviyo_id, event.found, event.looked_up_at, creating_since=event.creating_since)
        for id_, event in rows.items()
    }
