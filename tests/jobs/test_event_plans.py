"""Any mix of due events becomes calls within Klaviyo's caps that keep everybody's order and create nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.events import plan
from jobs.events.event import Event
from jobs.lookup import Link
from tests.jobs import planned
from tests.jobs.planned import CUSTOM, NOW, event, events, link, shared
from webapp.catalogue.events import EVENTS
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Origin
from webapp.klaviyo import payloads
from webapp.services.activities.delivery_maker import LIFE
from webapp.services.workspaces.snapshot import WorkspaceSettings


def bodies(items: list[Event], links: dict[int, Link], settings: WorkspaceSettings) -> list[dict[str, Any]]:
    """The profile of every entry of the bulk call."""
    entries = [plan.entry_of(settings, each, links.get(each.person_id)) for each in items]
    body = orjson.loads(payloads.events(entries).body or b"")
    entries = body["data"]["attributes"]["events-bulk-create"]["data"]
    return [entry["attributes"]["profile"]["data"] for entry in entries]


@given(events(), st.booleans(), st.booleans(), shared)
def test_any_mix_is_sorted_whole_and_in_order(
    situation: tuple[list[Event], dict[int, Link]], creates: bool, looked_up: bool, known: WorkspaceSettings
) -> None:
    items, links = situation
    found = plan.plan(items, links, creates=creates, looked_up=looked_up, now=NOW)
    ids = [each.id for each in items]
    assert sorted([*found.settled, *(each.id for each in found.sendable)]) == ids
    assert [each.id for each in found.sendable] == sorted(each.id for each in found.sendable), "everybody's order"
    for each, profile in zip(found.sendable, bodies(found.sendable, links, known), strict=True):
        there = links.get(each.person_id)
        is_there = there is not None and there.found
        if not creates or each.origin is Origin.TEST:
            assert is_there, "nobody is created"
        assert profile.get("id") == (there.klaviyo_id if there and is_there else None)
        assert ("email" in profile["attributes"]) is not is_there
    for each in items:
        if each.id in found.settled:
            check_settled(each, links, found.settled[each.id].reason, creates=creates)
            if found.settled[each.id].reason is Reason.BACKLOG:
                theirs = [other for other in items if other.person_id == each.person_id and other.id <= each.id]
                put_off = [other for other in theirs if other.id in found.settled]
                assert any(NOW - other.created_at < plan.CREATION_WAIT for other in put_off), "it or one before it"


def check_settled(each: Event, links: dict[int, Link], reason: Reason, *, creates: bool) -> None:
    there = links.get(each.person_id)
    match reason:
        case Reason.ERASED:
            assert each.email is None
        case Reason.EXPIRED:
            assert each.expires_at <= NOW
        case Reason.NOT_IN_KLAVIYO:
            assert not (there and there.found)
            assert not creates or each.origin is Origin.TEST
        case Reason.BACKLOG:
            assert creates
        case _:
            raise AssertionError(reason)


def test_an_event_waits_a_minute_for_its_persons_creation_then_goes_by_address() -> None:
    young = event(1, created_at=NOW - timedelta(seconds=59))
    old = event(2, person=2, created_at=NOW - timedelta(seconds=60))
    links = {1: link(1, found=False), 2: link(2, found=False)}
    found = plan.plan([young, old], links, creates=True, looked_up=True, now=NOW)
    assert found.sendable == [old]
    waits = found.settled[1]
    assert (waits.status, waits.reason, waits.due_at) == (Status.WAITING, Reason.BACKLOG, NOW + plan.CREATION_LOOK)
    without_looking = plan.plan([young], {}, creates=True, looked_up=False, now=NOW)
    assert without_looking.sendable == [young]


def test_the_minute_begins_anew_with_a_resend_and_after_a_pause() -> None:
    """The fields lane begins at the same time: without a minute for it nobody created would be known as ours."""
    links = {1: link(1, found=False)}
    old = event(1, created_at=NOW - timedelta(hours=1), expires_at=NOW - timedelta(hours=1) + LIFE)
    resent = old._replace(expires_at=NOW - timedelta(seconds=59) + LIFE)
    for each, started, waits in [
        (old, None, False),
        (resent, None, True),
        (old, NOW - timedelta(seconds=59), True),
        (old, NOW - timedelta(seconds=60), False),
    ]:
        found = plan.plan([each], links, creates=True, looked_up=True, now=NOW, started_at=started)
        assert bool(found.settled) is waits


def test_nobody_passes_an_earlier_event_that_waits() -> None:
    """A later one may carry an earlier moment: the processes that took them have clocks of their own."""
    first = event(1, created_at=NOW - timedelta(seconds=59))
    second = event(2, created_at=NOW - timedelta(seconds=61))
    found = plan.plan([first, second], {1: link(1, found=False)}, creates=True, looked_up=True, now=NOW)
    assert found.sendable == []
    assert found.settled[1] == found.settled[2]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1200), st.integers(0, 6), st.booleans(), st.integers(1, 400), shared)
def test_a_bulk_call_fits(count: int, size: int, by_id: bool, letters: int, known: WorkspaceSettings) -> None:
    """A thousand events and 5 MB, whatever is in them: long payloads, many fields with long names, long addresses."""
    said = [{"points": 5, "tier_name": "Ö" * letters, "shoe": "x" * letters, "long": None}]
    made = event(1, changes=said, properties=orjson.dumps({"caption": '"' * (10**size // 2)}).decode())
    made = made._replace(email="ö" * 88 + "@example.com", external_id="e" * 200)
    items = [made._replace(id=number, person_id=number, external_id=f"{number}") for number in range(count)]
    there = link() if by_id else None
    encoded = plan.fitting(items, known, dict.fromkeys(range(count), there) if there else {})
    chosen = encoded.items
    assert chosen == items[: len(chosen)], "the first ones, in their order"
    assert 1 <= len(chosen) <= payloads.BULK_EVENTS
    assert list(encoded.entries.values()) == [plan.entry_of(known, each, there) for each in chosen]
    body = payloads.events(list(encoded.entries.values())).body or b""
    if len(chosen) > 1:
        assert len(body) <= payloads.BODY_BYTES
    if len(chosen) < min(count, payloads.BULK_EVENTS):
        assert len(body) > payloads.BODY_BYTES * 0.6, "and not many fewer than fit"
    entries = orjson.loads(body)["data"]["attributes"]["events-bulk-create"]["data"]
    unique = [entry["attributes"]["events"]["data"][0]["attributes"]["unique_id"] for entry in entries]
    assert len(set(unique)) == len(unique)


@given(events(), shared)
def test_an_event_carries_the_shared_fields_as_they_are_now(
    situation: tuple[list[Event], dict[int, Link]], known: WorkspaceSettings
) -> None:
    items, links = situation
    for each in items:
        write = plan.write_of(known, each, links.get(each.person_id))
        expected = {
            known.fields[key].property: held["v"]
            for key, held in orjson.loads(each.fields_text).items()
            if key in known.fields_on
        }
        assert write.profile.properties == expected
        assert (write.metric, write.time) == (EVENTS["post_created"].metric, each.occurred_at)
        assert write.backfill is (each.origin is not Origin.PLATFORM and not each.starts_flows)


def test_everybodys_events_of_one_call_differ_also_between_workspaces() -> None:
    one, other = planned.settings(), planned.settings()
    assert plan.write_of(one, event(1), None).unique_id == plan.write_of(other, event(1), None).unique_id
    assert (
        plan.write_of(replace(one, workspace_id=2), event(1), None).unique_id
        != plan.write_of(one, event(1), None).unique_id
    )


@pytest.mark.parametrize("key", sorted(CUSTOM))
def test_retired_or_unknown_fields_do_not_travel(key: str) -> None:
    held = event(1, changes=[{key: "x", "gone_from_the_catalogue": 1}])
    assert plan.write_of(planned.settings("points"), held, None).profile.properties == {}
    assert plan.write_of(planned.settings(key), held, None).profile.properties == {CUSTOM[key].property: "x"}
