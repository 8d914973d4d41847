"""Deliveries, people and settings for tests of plans: plain values, no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import strategies as st

from jobs.choose import Item
from jobs.events.event import Event
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
        known, version = records.merge_fields(known, version, change, moment(number), KNOWN)
    return known, version


def moment(number: int) -> datetime:
    """When the change with this number happened, from 0 on."""
    return NOW - timedelta(hours=1) + timedelta(seconds=number)


def _plain(number: int, person: int, changes: list[dict[str, Any]]) -> dict[str, Any]:
    fields, version = fields_of(changes)
    return {
        "id": number,
        "origin": Origin.PLATFORM,
        "occurred_at": NOW - timedelta(minutes=5),
        "expires_at": NOW + timedelta(days=6),
        "attempts": 0,
        "priority": 0,
        "person_id": person,
        "email": f"person-{person}@example.com",
        "fields_text": orjson.dumps(fields).decode(),
        "fields_version": version,
    }


def event(number: int, person: int = 1, **values: Any) -> Event:
    """A waiting event; `changes` are what is known of the person's fields."""
    of_events: dict[str, Any] = {
        "external_id": f"a-{number}",
        "event": "post_created",
        "created_at": NOW - timedelta(minutes=2),
        "properties": '{"postId":"1"}',
        "starts_flows": False,
    }
    return Event(**{**_plain(number, person, values.pop("changes", [])), **of_events, **values})


def item(number: int, person: int = 1, **values: Any) -> Item:
    """A waiting delivery of a person's fields; `changes` are what is known of them."""
    of_others: dict[str, Any] = {
        "activity_id": 1000 + number,
        "accepted_at": NOW - timedelta(minutes=2),
        "consent": None,
        "first_name": None,
        "last_name": None,
        "consents_text": "{}",
    }
    return Item(**{**_plain(number, person, values.pop("changes", [])), **of_others, **values})


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
    known = draw(_people())
    return [item(number, person, **values) for number, person, values in draw(_waiting(known))], draw(_links(known))


@st.composite
def events(draw: st.DrawFn) -> tuple[list[Event], dict[int, Link]]:
    """The same of events."""
    known = draw(_people())
    made = []
    for number, person, values in draw(_waiting(known)):
        age = draw(st.sampled_from([0, 59, 61, 3600]))
        values |= {"starts_flows": draw(st.booleans()), "created_at": NOW - timedelta(seconds=age)}
        made.append(event(number, person, **values))
    return made, draw(_links(known))


# Person -> what was said of their fields, and whether they are erased.
Known = dict[int, tuple[list[dict[str, Any]], bool]]


@st.composite
def _people(draw: st.DrawFn) -> Known:
    count = draw(st.integers(1, 5))
    return {person: (draw(changes), draw(st.integers(0, 5)) == 0) for person in range(1, count + 1)}


@st.composite
def _waiting(draw: st.DrawFn, known: Known) -> list[tuple[int, int, dict[str, Any]]]:
    """(number, person, values) of each delivery."""
    found = []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        person = draw(st.sampled_from(sorted(known)))
        said, erased = known[person]
        values: dict[str, Any] = {
            "changes": said,
            "origin": draw(st.sampled_from(Origin)),
            "expires_at": NOW + timedelta(seconds=draw(st.sampled_from([-1, 0, 600]))),
        }
        if erased:
            values["email"] = None
        found.append((number, person, values))
    return found


@st.composite
def _links(draw: st.DrawFn, known: Known) -> dict[int, Link]:
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
    return links
