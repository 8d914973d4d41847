"""Deliveries, people and settings for tests of plans: plain values, no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import strategies as st

from jobs.choose import Item
from jobs.lookup import Link
from webapp.catalogue.fields import FIELDS, PREFIX, Field
from webapp.catalogue.words import Origin
from webapp.services.people import records
from webapp.services.workspaces.snapshot import WorkspaceSettings

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CUSTOM = {
    key: Field(key=key, property=f"{PREFIX}{label}", type="text", custom_id=number)
    for number, (key, label) in enumerate({"shoe": "Shoe size", "long": 'Ä"' * 50}.items(), 1)
}
KNOWN = {**FIELDS, **CUSTOM}
FEW = ["points", "tier_name", "program_member", "shoe", "long"]


def settings(*on: str) -> WorkspaceSettings:
    """A workspace that shares these fields."""
    return WorkspaceSettings(
        workspace_id=1,
        version=1,
        stores={},
        store_names={},
        connections=(),
        events_on=frozenset(),
        fields=KNOWN,
        fields_on=frozenset(on),
    )


def fields_of(changes: list[dict[str, Any]]) -> tuple[dict[str, Any], int]:
    """A person's fields after these changes, and their version."""
    known: dict[str, Any] = {}
    version = 0
    for number, change in enumerate(changes):
        known, version = records.merge_fields(
            known, version, change, NOW - timedelta(hours=1) + timedelta(seconds=number), KNOWN
        )
    return known, version


def item(number: int, person: int = 1, **values: Any) -> Item:
    """A waiting delivery of an event; `changes` are what is known of the person's fields."""
    fields, version = fields_of(values.pop("changes", []))
    plain: dict[str, Any] = {
        "id": number,
        "activity_id": 1000 + number,
        "external_id": f"a-{number}",
        "event": "post_created",
        "origin": Origin.PLATFORM,
        "occurred_at": NOW - timedelta(minutes=5),
        "accepted_at": NOW - timedelta(minutes=2),
        "created_at": NOW - timedelta(minutes=2),
        "expires_at": NOW + timedelta(days=6),
        "properties": '{"postId":"1"}',
        "consent": None,
        "attempts": 0,
        "priority": 0,
        "person_id": person,
        "email": f"person-{person}@example.com",
        "first_name": None,
        "last_name": None,
        "fields_text": orjson.dumps(fields).decode(),
        "fields_version": version,
        "consents_text": "{}",
        "starts_flows": False,
    }
    return Item(**{**plain, **values})


def link(person: int = 1, *, found: bool | None = True, **values: Any) -> Link:
    """What is remembered of a person: found now unless said otherwise."""
    plain: dict[str, Any] = dict.fromkeys(Link._fields)
    remembered = {
        "person_id": person,
        "klaviyo_id": f"01K{person}" if found else None,
        "found": found,
        "looked_up_at": NOW,
        "fields_version": 0,
        "rewrite": False,
        "list_due": False,
    }
    return Link(**{**plain, **remembered, **values})


changes = st.lists(
    st.dictionaries(
        st.sampled_from(FEW),
        st.none() | st.integers(0, 5) | st.sampled_from(["Gold", "Ö" * 40]),
        min_size=1,
        max_size=3,
    ),
    max_size=4,
)
shared = st.sets(st.sampled_from(FEW)).map(lambda on: settings(*on))


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Item], dict[int, Link]]:
    """Due deliveries of a few people in the order of their ids, and what is remembered of those people."""
    known = {person: (draw(changes), draw(st.integers(0, 5)) == 0) for person in range(1, draw(st.integers(1, 5)) + 1)}
    items = []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        person = draw(st.sampled_from(sorted(known)))
        said, erased = known[person]
        age = draw(st.sampled_from([0, 59, 61, 3600]))
        values: dict[str, Any] = {
            "changes": said,
            "origin": draw(st.sampled_from(Origin)),
            "starts_flows": draw(st.booleans()),
            "created_at": NOW - timedelta(seconds=age),
            "expires_at": NOW + timedelta(seconds=draw(st.sampled_from([-1, 0, 600]))),
        }
        if erased:
            values["email"] = None
        items.append(item(number, person, **values))
    links = {}
    for person in known:
        found = draw(st.sampled_from([True, False, None, "nothing"]))
        if found != "nothing":
            links[person] = link(
                person,
                found=found,  # type: ignore[arg-type]  # the word is out by now
                fields_version=draw(st.integers(0, 4)),
                list_due=draw(st.booleans()),
                job_batch_id=draw(st.none() | st.just(7)),
            )
    return items, links
