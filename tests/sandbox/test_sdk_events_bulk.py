"""Bulk events: up to a thousand, refused whole for one that is wrong; checked alike in the quick way and the slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.bodies import entry, event_attributes, events_job
from tests.sandbox.klaviyo_clients import Plain, refused
from tests.sandbox_process import SandboxProcess

PATH = "/api/event-bulk-create-jobs"
ENTRIES = "/data/attributes/events-bulk-create/data"
ADA = {"email": "ada@example.com"}
# Beside the plain kind, one that the typed reader does not know and leaves to the slow one.
KINDS = pytest.mark.parametrize("more", [{}, {"title": "Dr"}], ids=["quick", "slow"])


def _said(unique_id: str, metric: str = "Joined", **rest: Any) -> dict[str, Any]:
    return event_attributes(metric, unique_id=unique_id, **rest)


@KINDS
def test_events_are_recorded(klaviyo: Any, sandbox: SandboxProcess, account: str, more: dict[str, Any]) -> None:
    known = sandbox.put_profiles(account, "cleo@example.com")["cleo@example.com"]
    ada = {**ADA, "first_name": "Ada", "properties": {"points": 3, "none": None}, **more}
    time = "2026-11-23T10:00:00.5+01:00"
    answer = klaviyo.Events.bulk_create_events(
        events_job(
            entry(ada, [_said("1", properties={"a": [1]}, time=time), _said("2", "Left", backfill=True)]),
            entry({"id": known}, [_said("3", value=2.5, value_currency="SEK")], backfill=True),
            entry({"email": "Bea@Example.com"}, [_said("4")]),
        )
    )
    assert answer is None
    held = {each["unique_id"]: each for each in sandbox.events(account)}
    assert [(each["email"], each["metric"], each["backfill"]) for each in held.values()] == [
        ("ada@example.com", "Joined", False),
        ("ada@example.com", "Left", True),
        ("cleo@example.com", "Joined", True),
        ("bea@example.com", "Joined", False),
    ]
    assert (held["1"]["properties"], held["1"]["time"]) == ({"a": [1]}, "2026-11-23T09:00:00+00:00")
    assert held["3"]["value"] == 2.5
    person = sandbox.profiles(account)["ada@example.com"]
    assert (person["first_name"], person["properties"]) == ("Ada", {"points": 3})


def test_202_with_nothing_in_it(plain: Plain) -> None:
    answer = plain.post(PATH, events_job(entry(ADA, [_said("1")])))
    assert (answer.status_code, answer.content) == (202, b"")


def test_meta_is_beside_the_attributes_here(klaviyo: Any, plain: Plain, sandbox: SandboxProcess, account: str) -> None:
    meta = {"patch_properties": {"unset": ["a"], "append": {"b": [2]}}}
    first = entry({**ADA, "properties": {"a": 1, "b": [1]}}, [_said("1")])
    klaviyo.Events.bulk_create_events(events_job(first))
    klaviyo.Events.bulk_create_events(events_job(entry(ADA, [_said("2")], meta=meta)))
    assert sandbox.profiles(account)["ada@example.com"]["properties"] == {"b": [1, 2]}
    inside = events_job(entry({**ADA, "meta": meta}, [_said("3")]))
    assert plain.refused("POST", PATH, inside).pointers == [
        f"{ENTRIES}/0/attributes/profile/data/attributes/meta",
    ]


@KINDS
def test_unique_id_repeated_in_the_call_refuses_it(
    plain: Plain, sandbox: SandboxProcess, account: str, more: dict[str, Any]
) -> None:
    body = events_job(
        entry({**ADA, **more}, [_said("1"), _said("2")]),
        entry({"email": "ADA@example.com"}, [_said("1", "Left"), _said("2")]),
    )
    found = plain.refused("POST", PATH, body)
    assert (found.status, found.pointers) == (400, [f"{ENTRIES}/1/attributes/events/data/1/attributes/unique_id"])
    assert sandbox.events(account) == []


def test_same_unique_id_for_another_person_or_metric(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    klaviyo.Events.bulk_create_events(
        events_job(entry(ADA, [_said("1"), _said("1", "Left")]), entry({"email": "bea@example.com"}, [_said("1")]))
    )
    assert len(sandbox.events(account)) == 3


@KINDS
def test_unique_id_of_an_earlier_call_is_dropped(
    klaviyo: Any, sandbox: SandboxProcess, account: str, more: dict[str, Any]
) -> None:
    body = events_job(entry({**ADA, **more}, [_said("1"), _said("2")]))
    klaviyo.Events.bulk_create_events(body)
    klaviyo.Events.bulk_create_events(body)
    klaviyo.Events.bulk_create_events(events_job(entry(ADA, [_said("2"), _said("3")])))
    assert [each["unique_id"] for each in sandbox.events(account)] == ["1", "2", "3"]


def test_person_by_id_and_by_address_is_one(klaviyo: Any, plain: Plain, sandbox: SandboxProcess, account: str) -> None:
    known = sandbox.put_profiles(account, "ada@example.com")["ada@example.com"]
    body = events_job(entry({"id": known}, [_said("1")]), entry(ADA, [_said("1")]))
    assert plain.refused("POST", PATH, body).status == 400


@KINDS
@pytest.mark.parametrize(
    ("who", "said", "pointer"),
    [
        ({"email": "nonsense"}, {}, "profile/data/attributes/email"),
        ({}, {}, "profile/data/attributes"),
        ({**ADA, "mood": "fine"}, {}, "profile/data/attributes/mood"),
        ({**ADA, "properties": [1]}, {}, "profile/data/attributes/properties"),
        ({**ADA, "phone_number": "123"}, {}, "profile/data/attributes/phone_number"),
        (ADA, {"properties": None}, "events/data/0/attributes/properties"),
        (ADA, {"properties": "text"}, "events/data/0/attributes/properties"),
        (ADA, {"time": "yesterday"}, "events/data/0/attributes/time"),
        (ADA, {"time": "1989-12-31T00:00:00Z"}, "events/data/0/attributes/time"),
        (ADA, {"unique_id": ""}, "events/data/0/attributes/unique_id"),
        (ADA, {"unique_id": "x" * 256}, "events/data/0/attributes/unique_id"),
        (ADA, {"value": "9"}, "events/data/0/attributes/value"),
        (ADA, {"value_currency": "kronor"}, "events/data/0/attributes/value_currency"),
        (ADA, {"mood": "fine"}, "events/data/0/attributes/mood"),
        (ADA, {"properties": {f"p{number}": 1 for number in range(401)}}, "events/data/0/attributes/properties"),
        (ADA, {"properties": {"list": [0] * 4001}}, "events/data/0/attributes/properties/list"),
        (ADA, {"properties": {"t": "x" * (100 * 1024 + 1)}}, "events/data/0/attributes/properties/t"),
        (ADA, {"metric": {"data": {"type": "metric"}}}, "events/data/0/attributes/metric/data/attributes"),
    ],
)
def test_one_bad_event_refuses_all(
    plain: Plain,
    sandbox: SandboxProcess,
    account: str,
    who: dict[str, Any],
    said: dict[str, Any],
    pointer: str,
    more: dict[str, Any],
) -> None:
    body = events_job(
        entry({"email": "good@example.com", **more}, [_said("1")]),
        entry(who, [{**_said("2"), **said}]),
    )
    found = plain.refused("POST", PATH, body)
    assert (found.status, found.code) == (400, "invalid")
    assert found.pointers == [f"{ENTRIES}/1/attributes/{pointer}"]
    assert sandbox.events(account) == []
    assert sandbox.profiles(account) == {}


def test_at_most_a_thousand_events_over_all_entries(plain: Plain, sandbox: SandboxProcess, account: str) -> None:
    entries = [
        entry({"email": f"p{place}@example.com"}, [_said(str(number)) for number in range(10)]) for place in range(100)
    ]
    assert plain.post(PATH, events_job(*entries)).status_code == 202
    assert sandbox.accounts()[account]["events"] == 1000
    one_more = entry({"email": "one@example.com"}, [_said("x")])
    found = plain.refused("POST", PATH, events_job(*entries, one_more))
    assert (found.status, found.pointers) == (400, [ENTRIES])
    assert sandbox.accounts()[account]["events"] == 1000


def test_nothing_in_it(plain: Plain) -> None:
    assert plain.refused("POST", PATH, events_job()).pointers == [ENTRIES]
    assert plain.refused("POST", PATH, events_job(entry(ADA, []))).pointers == [
        f"{ENTRIES}/0/attributes/events/data",
    ]


@pytest.mark.parametrize("raw", [b"", b"{", b'{"data": []}', b'{"data": {"type": "event-bulk-create-job"}}'])
def test_no_bulk_body_at_all(plain: Plain, raw: bytes) -> None:
    assert plain.refused("POST", PATH, raw=raw).status == 400


def test_scopes(klaviyo_with: Callable[..., Any]) -> None:
    body = events_job(entry(ADA, [_said("1")]))
    assert refused(klaviyo_with("profiles:write", "events:read").Events.bulk_create_events, body).status == 403
    assert klaviyo_with("events:write").Events.bulk_create_events(body) is None
