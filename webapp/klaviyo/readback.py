"""Reading back what Klaviyo holds of a person: the profile with its marketing state, and events by time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from webapp.klaviyo import endpoints
from webapp.klaviyo.client import Call
from webapp.klaviyo.parse import UnexpectedAnswer

EVENTS_PAGE = 200


@dataclass(frozen=True, slots=True)
class HeldProfile:
    """A profile as Klaviyo has it; times as Klaviyo's text. `consent` such as `SUBSCRIBED`."""

    id: str
    email: str
    first_name: str | None
    last_name: str | None
    properties: dict[str, Any]
    consent: str | None
    consent_at: str | None
    suppressed: tuple[str, ...]
    created: str | None
    updated: str | None


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """An event as Klaviyo has it; `unique_id` is what it was sent with."""

    unique_id: str
    at: str


def profile(email: str) -> Call:
    """GET /api/profiles for one address, everything that we write and the marketing state."""
    query = {
        "filter": f"equals(email,{orjson.dumps(email).decode()})",
        "additional-fields[profile]": "subscriptions",
        "fields[profile]": "email,first_name,last_name,properties,created,updated,subscriptions",
    }
    return Call(endpoints.PROFILES, endpoints.PROFILES.path, query=query)


def events(profile_id: str, since: datetime, until: datetime) -> Call:
    """GET /api/events of one profile between two moments, the newest first."""
    query = {
        "filter": f'equals(profile_id,"{profile_id}"),greater-or-equal(datetime,{_shown(since)}),'
        f"less-or-equal(datetime,{_shown(until)})",
        "fields[event]": "event_properties,datetime",
        "page[size]": str(EVENTS_PAGE),
        "sort": "-datetime",
    }
    return Call(endpoints.EVENTS_READ, endpoints.EVENTS_READ.path, query=query)


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def held_profile(body: Any) -> HeldProfile | None:
    """The first profile of an answer; None where there is none. Raises UnexpectedAnswer."""
    rows = _rows(body)
    if not rows:
        return None
    entry = rows[0]
    attributes = entry.get("attributes") or {}
    email = ((attributes.get("subscriptions") or {}).get("email") or {}).get("marketing") or {}
    return HeldProfile(
        id=str(entry.get("id")),
        email=str(attributes.get("email") or "").strip().lower(),
        first_name=attributes.get("first_name"),
        last_name=attributes.get("last_name"),
        properties=attributes.get("properties") or {},
        consent=email.get("consent"),
        consent_at=email.get("consent_timestamp") or email.get("last_updated"),
        suppressed=tuple(str(row.get("reason")) for row in email.get("suppression") or []),
        created=attributes.get("created"),
        updated=attributes.get("updated"),
    )


def held_events(body: Any) -> list[HeldEvent]:
    """The events of an answer. Raises UnexpectedAnswer."""
    found = []
    for entry in _rows(body):
        attributes = entry.get("attributes") or {}
        unique_id = (attributes.get("event_properties") or {}).get("$event_id")
        found.append(HeldEvent(str(unique_id or ""), str(attributes.get("datetime") or "")))
    return found


def _rows(body: Any) -> list[dict[str, Any]]:
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UnexpectedAnswer("the answer has no list of data")
    return rows


def same(ours: Any, theirs: Any) -> bool:
    """Whether a value of ours is what Klaviyo holds: a cleared one may be absent, a moment written differently."""
    if ours is None or theirs is None:
        return ours is None and theirs is None
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if ours == theirs:
        return True
    if not isinstance(ours, str) or not isinstance(theirs, str):
        return False
    try:
        mine, held = (datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (ours, theirs))
    except ValueError:
        return False
    return mine == held if (mine.tzinfo is None) == (held.tzinfo is None) else False
