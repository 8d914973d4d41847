"""POST /api/events: one event."""

from __future__ import annotations

import time
from typing import Any

import orjson

from sandbox import ingest
from sandbox.api.event_reader import read_event
from sandbox.bodies import EARLIER_EVENT, EVENT, EVENT_META_MOVED, checked
from sandbox.effects import RecordEvents
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import invalid
from sandbox.limits import XL
from sandbox.shapes import parse_time

_EARLIEST = 631152000  # 1990-01-01
_LATEST_AHEAD = 366 * 86_400


def second(text: str | None, pointer: str) -> int:
    """An event's time cut to the second; now without one. Raises Refused (400) beyond 1990 and a year ahead."""
    now = time.time()
    at = int(parse_time(text).timestamp() if text else now)
    if not _EARLIEST < at < now + _LATEST_AHEAD:
        raise invalid("The time must be after 1990 and at most one year ahead.", pointer)
    return at


def entry_of(data: dict[str, Any], events: list[ingest.NewEvent], meta: dict[str, Any] | None) -> ingest.Entry:
    """An entry from a profile's JSON."""
    attributes = {name: value for name, value in data["attributes"].items() if name != "meta"}
    return ingest.Entry(data.get("id"), attributes, meta, events)


def event_of(attributes: dict[str, Any], pointer: str, *, backfill: bool = False) -> ingest.NewEvent:
    """An event from its checked attributes."""
    return ingest.NewEvent(
        attributes["metric"]["data"]["attributes"]["name"],
        second(attributes.get("time"), f"{pointer}/time"),
        orjson.dumps(attributes["properties"]),
        attributes.get("unique_id"),
        attributes.get("value"),
        attributes.get("value_currency"),
        attributes.get("backfill") or backfill,
    )


def _read_slowly(call: Call) -> ingest.Entry:
    """The entry of a body. Raises Refused (400) pointing at everything that is wrong."""
    earlier = call.request.headers["revision"] < EVENT_META_MOVED
    attributes = checked(call.body, EARLIER_EVENT if earlier else EVENT)["data"]["attributes"]
    data = attributes["profile"]["data"]
    event = event_of(attributes, "/data/attributes")
    return entry_of(data, [event], data["attributes"].get("meta") if earlier else data.get("meta"))


@endpoint("POST /api/events", "events:write", XL)
async def create_event(call: Call) -> Reply:
    """Accept one event; the profile is created or updated with it."""
    account = call.account
    entry = read_event(account, call.body) or _read_slowly(call)
    if call.world.options.unknown_profile_id == "reject":
        ingest.check_profile_id(account, entry, "/data/attributes/profile/data/id")
    call.world.accept(account, call.name, [RecordEvents(account.id, entry)], at_once=True)
    return Reply(202)
