"""Reading events at the speed of the parser: the body is decoded into typed records, and that checks it.

Only what these records know is read so. Whatever fails here, or cannot be told, is looked at again with the slow
shapes, which know everything Klaviyo allows and how to point at what is wrong.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import orjson

from sandbox import ingest
from sandbox.bodies import MAX_PROFILE_BYTES
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


class _SingleAttributes(_EventAttributes, kw_only=True):
    profile: _ProfileData


class _Single(_Strict):
    type: Literal["event"]
    attributes: _SingleAttributes


class _SingleBody(_Strict):
    data: _Single


class _Event(_Strict):
    type: Literal["event"]
    attributes: _EventAttributes


class _Events(_Strict):
    data: Annotated[list[_Event], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


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


class _JobBody(_Strict):
    data: _Job


class _Unsure(Exception):
    """The quick look cannot say whether this is right."""


_single_decoder = msgspec.json.Decoder(_SingleBody)
_job_decoder = msgspec.json.Decoder(_JobBody)


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


def _new_event(attributes: _EventAttributes, now: float, *, backfill: bool) -> ingest.NewEvent:
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


def _new_entry(account: Account, profile: _Profile, events: list[ingest.NewEvent]) -> ingest.Entry:
    sent = profile.attributes
    attributes: dict[str, Any] = {}
    key = None
    if sent.email is not None:
        attributes["email"] = sent.email
        key = normalized(sent.email)
        if key not in account.by_email and not is_email(sent.email):
            raise _Unsure
    for name in ("external_id", "first_name", "last_name"):
        value = getattr(sent, name)
        if value is not None:
            attributes[name] = value
    if bytes(sent.properties) != b"null":
        held = _free(sent.properties)
        if len(held) > MAX_PROFILE_BYTES - 4096:
            raise _Unsure
        attributes["properties"] = orjson.loads(held)
    if not (key or sent.external_id or profile.id):
        raise _Unsure
    return ingest.Entry(profile.id, attributes, None, events, None if profile.id or sent.external_id else key)


def read_event(account: Account, body: bytes) -> ingest.Entry | None:
    """The entry of a single call's body that is surely right; None where only the slow look can tell."""
    try:
        attributes = _single_decoder.decode(body).data.attributes
        event = _new_event(attributes, time.time(), backfill=False)
        return _new_entry(account, attributes.profile.data, [event])
    except (_Unsure, msgspec.DecodeError):
        return None


def read_events(account: Account, body: bytes) -> list[ingest.Entry] | None:
    """The entries of a bulk call's body that is surely right; None where only the slow look can tell."""
    now = time.time()
    found = []
    try:
        for entry in _job_decoder.decode(body).data.attributes.entries.data:
            said = entry.attributes
            backfill = bool(said.backfill)
            events = [_new_event(event.attributes, now, backfill=backfill) for event in said.events.data]
            found.append(_new_entry(account, said.profile.data, events))
    except (_Unsure, msgspec.DecodeError):
        return None
    return found
