"""Which waiting events go out now, in one call, and which are settled without any. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson

from jobs import settle
from jobs.events.event import Event
from jobs.lookup import Link
from jobs.settle import Result
from webapp.catalogue.events import EVENTS
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Origin
from webapp.klaviyo import payloads
from webapp.klaviyo.answers import ApiError
from webapp.klaviyo.payloads import EventWrite, ProfileWrite
from webapp.services.activities.delivery_maker import LIFE
from webapp.services.activities.ingest import unique_id
from webapp.services.people import records
from webapp.services.workspaces.snapshot import WorkspaceSettings

# Up to here single calls: each is its own answer, and 58 a second are allowed for good.
SINGLES = 5
CREATION_WAIT = timedelta(seconds=60)
CREATION_LOOK = timedelta(seconds=2)
# What is around the entries, and what people's fields may grow by before it is sent.
FITTING_BYTES = payloads.BODY_BYTES - 100_000


@dataclass(frozen=True, slots=True)
class Planned:
    """`settled` needs no call; `sendable` goes out in this order, the first ones first."""

    settled: dict[int, Result]
    sendable: list[Event]


class Encoded(NamedTuple):
    """Events for one bulk call, with their entries of its body by (delivery, version of its person's fields).

    `version`: of the settings they were encoded by.
    """

    version: int
    items: list[Event]
    entries: dict[tuple[int, int], bytes]


def plan(
    items: Sequence[Event],
    links: Mapping[int, Link],
    *,
    creates: bool,
    looked_up: bool,
    now: datetime,
    started_at: datetime | None = None,
) -> Planned:
    """Sort due events, each person's in their order.

    `creates`: the connection creates missing people; `looked_up`: whether anybody could be looked up at all;
    `started_at`: since when the lane runs, where it was stopped before.
    """
    settled: dict[int, Result] = {}
    sendable: list[Event] = []
    put_off: dict[int, Result] = {}
    for item in items:
        link = links.get(item.person_id)
        result = _without_call(item, link, creates=creates, now=now)
        if result is None and looked_up and not (link is not None and link.found):
            result = _creation_first(item, now, started_at)
        # Accepted by processes whose clocks differ, a later one may seem to have waited longer.
        result = put_off.get(item.person_id) if result is None else result
        if result is None:
            sendable.append(item)
            continue
        settled[item.id] = result
        if result.status is Status.WAITING:
            put_off[item.person_id] = result
    return Planned(settled, sendable)


def _without_call(item: Event, link: Link | None, *, creates: bool, now: datetime) -> Result | None:
    if item.email is None:
        return settle.skipped(Reason.ERASED)
    if item.expires_at <= now:
        return settle.failed(Reason.EXPIRED)
    if may_not_be_sent(item, link, creates=creates):
        return settle.skipped(Reason.NOT_IN_KLAVIYO)
    return None


def _creation_first(item: Event, now: datetime, started_at: datetime | None) -> Result | None:
    """The fields lane creates them, and knows then that they are ours; after a minute the event goes by address.

    The minute begins when the event was put in line, by a resend too, or when the lanes went on after a pause.
    """
    since = max(item.created_at, item.expires_at - LIFE, started_at or item.created_at)
    return settle.waiting(Reason.BACKLOG, now + CREATION_LOOK) if now - since < CREATION_WAIT else None


def may_not_be_sent(item: Event, link: Link | None, *, creates: bool) -> bool:
    """Whether sending it would create somebody who is not to be created. A test event never creates anybody."""
    return not (link is not None and link.found) and (not creates or item.origin is Origin.TEST)


def fitting(items: Sequence[Event], settings: WorkspaceSettings, links: Mapping[int, Link]) -> Encoded:
    """The first ones that fit one bulk call: 1,000 of them and 5 MB, with room to spare."""
    found = Encoded(settings.version, [], {})
    size = 0
    for item in items[: payloads.BULK_EVENTS]:
        entry = entry_of(settings, item, links.get(item.person_id))
        size += len(entry) + 1
        if found.items and size > FITTING_BYTES:
            break
        found.items.append(item)
        found.entries[item.id, item.fields_version] = entry
    return found


def write_of(settings: WorkspaceSettings, item: Event, link: Link | None) -> EventWrite:
    """One event as Klaviyo gets it, with the person's shared fields as known now."""
    known_id = link.klaviyo_id if link is not None and link.found else None
    shared: dict[str, Any] = {}
    if settings.fields_on:
        shared = records.shared_changes(orjson.loads(item.fields_text), 0, settings.fields, settings.fields_on)
    return EventWrite(
        metric=EVENTS[item.event or ""].metric,
        unique_id=unique_id(settings.workspace_id, item.external_id),
        time=item.occurred_at,
        properties=item.properties or "{}",
        profile=ProfileWrite(id=known_id, email=item.email, properties=shared),
        backfill=item.origin is not Origin.PLATFORM and not item.starts_flows,
    )


def entry_of(settings: WorkspaceSettings, item: Event, link: Link | None) -> bytes:
    """The same as an encoded entry of a bulk body."""
    return payloads.event_entry(write_of(settings, item, link))


def entries_of(
    items: Iterable[Event], settings: WorkspaceSettings, links: Mapping[int, Link]
) -> dict[tuple[int, int], bytes]:
    """Entries of a bulk body by (delivery, version of its person's fields)."""
    return {(item.id, item.fields_version): entry_of(settings, item, links.get(item.person_id)) for item in items}


def is_repeated(error: ApiError) -> bool:
    """Whether Klaviyo refuses an event because it has its `unique_id` already."""
    return "unique_id" in error.pointer or error.code == "duplicate_unique_id"
