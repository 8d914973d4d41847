"""POST /api/event-bulk-create-jobs: up to 1,000 events, refused whole for one that is wrong.

The body is decoded into typed records, which checks it at the speed of the parser. Only a body that fails is
looked at again with the slow shapes, which know how to point at what is wrong.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import orjson

from sandbox import ingest
from sandbox.api.events import entry_of, event_of
from sandbox.bodies import EVENTS_BULK, MAX_PROFILE_BYTES, checked
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import invalid
from sandbox.limits import M
from sandbox.shapes import MAX_DEPTH, MAX_ITEMS, MAX_PROPERTIES, MAX_STRING, is_email
from sandbox.state.account import Account, normalized

MAX_EVENTS = 1000
_EARLIEST = 631152000.0
_YEAR = 366 * 86_400
_NULL = msgspec.Raw(b"null")
_Short = Annotated[str, msgspec.Meta(max_length=255)]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Nothing undocumented."""


class _MetricAttributes(_Strict):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=127)]
    service: str | None = None


class _MetricData(_Strict):
    type: Literal["metric"]
    attributes: _MetricAttributes


class _Metric(_Strict):
    data: _MetricData


class _EventAttributes(_Strict):
    properties: msgspec.Raw
    metric: _Metric
    time: datetime | None = None
    value: float | None = None
    value_currency: Annotated[str, msgspec.Meta(min_length=3, max_length=3)] | None = None
    unique_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    backfill: bool | None = None


class _Event(_Strict):
    type: Literal["event"]
    attributes: _EventAttributes


class _Events(_Strict):
    data: Annotated[list[_Event], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


class _ProfileAttributes(_Strict):
    email: str | None = None
    external_id: _Short | None = None
    first_name: _Short | None = None
    last_name: _Short | None = None
    properties: msgspec.Raw = _NULL


class _Profile(_Strict):
    type: Literal["profile"]
    attributes: _ProfileAttributes
    id: _Short | None = None


class _ProfileData(_Strict):
    data: _Profile


class _EntryAttributes(_Strict):
    profile: _ProfileData
    events: _Events
    backfill: bool | None = None


class _Entry(_Strict):
    type: Literal["event-bulk-create"]
    attributes: _EntryAttributes


class _Entries(_Strict):
    data: Annotated[list[_Entry], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


class _JobAttributes(_Strict, rename={"entries": "events-bulk-create"}):
    entries: _Entries


class _Job(_Strict):
    type: Literal["event-bulk-create-job"]
    attributes: _JobAttributes


class _Body(_Strict):
    data: _Job


class _Unsure(Exception):
    """The quick look cannot say whether this is right."""


_decoder = msgspec.json.Decoder(_Body)


def _free(raw: msgspec.Raw) -> bytes:
    """A free object that is surely within the limits: each is bounded from above by counting bytes."""
    held = bytes(raw)
    if (
        held[:1] != b"{"
        or len(held) > MAX_STRING
        or held.count(b":") > MAX_PROPERTIES
        or held.count(b",") >= MAX_ITEMS
        or held.count(b"{") + held.count(b"[") > MAX_DEPTH
    ):
        raise _Unsure
    return held


def _new_event(attributes: _EventAttributes, now: float, backfill: bool) -> ingest.NewEvent:
    at = attributes.time
    if at is None:
        moment = now
    else:
        moment = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        if not _EARLIEST < moment < now + _YEAR:
            raise _Unsure
    return ingest.NewEvent(
        attributes.metric.data.attributes.name,
        int(moment),
        _free(attributes.properties),
        attributes.unique_id,
        attributes.value,
        attributes.value_currency,
        bool(attributes.backfill or backfill),
    )


def _new_entry(account: Account, entry: _Entry, now: float) -> ingest.Entry:
    profile = entry.attributes.profile.data
    sent = profile.attributes
    email = sent.email
    key = None if email is None else normalized(email)
    if email is not None and key not in account.by_email and not is_email(email):
        raise _Unsure
    if profile.id or sent.external_id:
        key = None
    if not (email or sent.external_id or profile.id):
        raise _Unsure
    attributes: dict[str, Any] = {"email": email}
    for name in ("external_id", "first_name", "last_name"):
        value = getattr(sent, name)
        if value is not None:
            attributes[name] = value
    if bytes(sent.properties) != b"null":
        held = _free(sent.properties)
        if len(held) > MAX_PROFILE_BYTES - 4096:
            raise _Unsure
        attributes["properties"] = orjson.loads(held)
    backfill = bool(entry.attributes.backfill)
    events = [_new_event(event.attributes, now, backfill) for event in entry.attributes.events.data]
    return ingest.Entry(profile.id, attributes, None, events, key)


def _read_quickly(account: Account, body: bytes) -> list[ingest.Entry] | None:
    """The entries of a body that is surely right; None where only the slow look can tell."""
    now = time.time()
    try:
        entries = _decoder.decode(body).data.attributes.entries.data
        return [_new_entry(account, entry, now) for entry in entries]
    except (_Unsure, msgspec.DecodeError):
        return None


def _read_slowly(body: bytes) -> list[ingest.Entry]:
    """The entries of a body. Raises Refused (400) pointing at everything that is wrong."""
    found = []
    entries = checked(body, EVENTS_BULK)["data"]["attributes"]["events-bulk-create"]["data"]
    for place, entry in enumerate(entries):
        attributes = entry["attributes"]
        pointer = f"/data/attributes/events-bulk-create/data/{place}/attributes/events/data"
        backfill = bool(attributes.get("backfill"))
        events = [
            event_of(event["attributes"], f"{pointer}/{number}/attributes", backfill=backfill)
            for number, event in enumerate(attributes["events"]["data"])
        ]
        data = attributes["profile"]["data"]
        found.append(entry_of(data, events, data.get("meta")))
    return found


def _check_unique_ids(account: Account, entries: list[ingest.Entry], *, ever: bool) -> None:
    """Raise Refused (400) where a unique id is repeated: in this call, or `ever` before it."""
    keys: set[tuple[str, str, str]] = set()
    for place, entry in enumerate(entries):
        profile = ingest.known(account, entry)
        who = profile.id if profile else normalized(entry.attributes.get("email") or str(entry.attributes))
        for number, event in enumerate(entry.events):
            if event.unique_id is None:
                continue
            key = (who, event.metric, event.unique_id)
            repeated = key in keys
            if ever and not repeated:
                metric_id = account.known_metric_id(event.metric)
                repeated = metric_id is not None and (who, metric_id, event.unique_id) in account.seen
            if repeated:
                raise invalid(
                    f"The unique_id {event.unique_id!r} is repeated for the same profile and metric.",
                    f"/data/attributes/events-bulk-create/data/{place}/attributes/events/data/{number}"
                    "/attributes/unique_id",
                )
            keys.add(key)


@endpoint("POST /api/event-bulk-create-jobs", "events:write", M)
async def create_events(call: Call) -> Reply:
    """Accept up to 1,000 events over all entries."""
    account, options = call.account, call.world.options
    entries = _read_quickly(account, call.body)
    if entries is None:
        entries = _read_slowly(call.body)
    count = sum(len(entry.events) for entry in entries)
    if count > MAX_EVENTS:
        raise invalid(f"At most {MAX_EVENTS} events a call, not {count}.", "/data/attributes/events-bulk-create/data")
    _check_unique_ids(account, entries, ever=options.repeated_unique_id == "ever")
    reading = options.unknown_profile_id
    for place, entry in enumerate(entries):
        pointer = f"/data/attributes/events-bulk-create/data/{place}/attributes/profile/data/id"
        ingest.check_profile_id(account, entry, reading, pointer)
    effects = [partial(ingest.take_effect, account, entry, reading) for entry in entries]
    call.world.accept_events(account, call.name, effects)
    return Reply(202)
