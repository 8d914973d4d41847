"""What we know of a person: merged fields, newest consents. Pure functions over the JSON kept in `people`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from webapp import clock
from webapp.catalogue.fields import Field

CLEARED_ON_LEAVING: dict[str, Any] = {
    "program_member": False,
    "points": None,
    "tier_icon": None,
    "tier_id": None,
    "tier_name": None,
}


def merge_fields(
    known: dict[str, Any], version: int, news: Mapping[str, Any], occurred_at: datetime
) -> tuple[dict[str, Any], int]:
    """`known` with `news` merged in, and the new version (the same where nothing changed).

    Per field the newest `occurred_at` wins; of two at the same moment the larger value (as JSON), so that any order
    of arrival ends the same.
    """
    at = clock.iso(occurred_at)
    merged, grown = dict(known), version
    for key, value in news.items():
        held = merged.get(key)
        if held is None or (held["v"] != value and _newer(at, value, held)):
            grown = version + 1
            merged[key] = {"v": value, "at": at, "n": grown}
        elif _newer(at, value, held):
            merged[key] = {**held, "at": at}
    return merged, grown


def _newer(at: str, value: Any, held: Mapping[str, Any]) -> bool:
    old, new = datetime.fromisoformat(held["at"]), datetime.fromisoformat(at)
    return new > old or (new == old and orjson.dumps(value) > orjson.dumps(held["v"]))


def shared_changes(
    fields: Mapping[str, Any], since_version: int, known: Mapping[str, Field], on: frozenset[str]
) -> dict[str, Any]:
    """Klaviyo property -> value (None clears) of the shared fields that changed after `since_version`."""
    return {
        known[key].property: entry["v"]
        for key, entry in fields.items()
        if key in on and key in known and entry["n"] > since_version
    }


def newest_consent(
    known: dict[str, Any], consent: Mapping[str, Any], occurred_at: datetime, activity_id: int
) -> tuple[dict[str, Any], bool]:
    """`known` with this consent where it is the newest of its channel, and whether it is. Ties go by arrival."""
    channel = str(consent["channel"])
    held = known.get(channel)
    if held and datetime.fromisoformat(held["occurred_at"]) > occurred_at:
        return known, False
    entry = {**consent, "occurred_at": clock.iso(occurred_at), "activity_id": activity_id}
    return {**known, channel: entry}, True
