"""Single events: accepted with an empty body, recorded once, read back; and the metrics they make."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sandbox.bodies import event
from tests.sandbox.klaviyo_clients import Plain, refused
from tests.sandbox_process import SandboxProcess

ADA = {"email": "ada@example.com"}


def _deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = {"a": found}
    return found


def test_event_is_recorded_and_makes_profile_and_metric(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    who = {"email": "Ada@example.com", "first_name": "Ada", "properties": {"points": 3}}
    body = event(
        who,
        "Joined",
        properties={"shortId": "123", "deep": {"x": [1]}},
        time="2026-11-23T10:00:00.987+01:00",
        unique_id="a-1",
        value=9.5,
        value_currency="SEK",
        backfill=True,
    )
    assert klaviyo.Events.create_event(body) is None
    (held,) = sandbox.events(account)
    assert (held["unique_id"], held["metric"], held["email"]) == ("a-1", "Joined", "ada@example.com")
    assert held["time"] == "2026-11-23T09:00:00+00:00"
    assert held["properties"] == {"shortId": "123", "deep": {"x": [1]}}
    assert (held["value"], held["backfill"]) == (9.5, True)
    assert datetime.fromisoformat(held["received_at"]) <= datetime.now(UTC)
    person = sandbox.profiles(account)["ada@example.com"]
    assert (person["first_name"], person["properties"]) == ("Ada", {"points": 3})
    assert [each.attributes.name for each in klaviyo.Metrics.get_metrics().data] == ["Joined"]


def test_202_with_nothing_in_it(plain: Plain) -> None:
    answer = plain.post("/api/events", event(ADA, unique_id="a-1"))
    assert (answer.status_code, answer.content) == (202, b"")


def test_unique_id_counts_per_profile_and_metric_and_the_first_wins(
    klaviyo: Any, sandbox: SandboxProcess, account: str
) -> None:
    for text in ("first", "second"):
        klaviyo.Events.create_event(event(ADA, "Joined", unique_id="a-1", properties={"text": text}))
    klaviyo.Events.create_event(event(ADA, "Left", unique_id="a-1"))
    klaviyo.Events.create_event(event({"email": "bea@example.com"}, "Joined", unique_id="a-1"))
    held = sandbox.events(account)
    assert [(each["email"], each["metric"]) for each in held] == [
        ("ada@example.com", "Joined"),
        ("ada@example.com", "Left"),
        ("bea@example.com", "Joined"),
    ]
    assert held[0]["properties"] == {"text": "first"}


def test_without_unique_id_its_second_is_it(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    for time in ("2026-11-23T10:00:00.1Z", "2026-11-23T10:00:00.9Z", "2026-11-23T10:00:01Z"):
        klaviyo.Events.create_event(event(ADA, time=time))
    assert len(sandbox.events(account)) == 2


def test_event_by_id_creates_nobody(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    made = sandbox.put_profiles(account, "ada@example.com")["ada@example.com"]
    klaviyo.Events.create_event(event({"id": made}, unique_id="a-1"))
    klaviyo.Events.create_event(event({"id": "01NOBODY"}, unique_id="a-2"))
    assert [each["email"] for each in sandbox.events(account)] == ["ada@example.com"]
    assert list(sandbox.profiles(account)) == ["ada@example.com"]


def test_meta_is_beside_the_attributes_since_2026_10(
    klaviyo: Any, plain: Plain, sandbox: SandboxProcess, account: str
) -> None:
    klaviyo.Events.create_event(event({**ADA, "properties": {"a": 1, "b": 2, "c": 3}}, unique_id="a-1"))
    beside = event(ADA, unique_id="a-2")
    beside["data"]["attributes"]["profile"]["data"]["meta"] = {"patch_properties": {"unset": ["a"]}}
    inside = event({**ADA, "meta": {"patch_properties": {"unset": "b"}}}, unique_id="a-3")
    klaviyo.Events.create_event(beside)
    plain.post("/api/events", inside)
    assert sandbox.profiles(account)["ada@example.com"]["properties"] == {"c": 3}
    profile = "/data/attributes/profile/data"
    assert plain.refused("POST", "/api/events", beside).pointers == [f"{profile}/meta"]
    newer = {"revision": "2026-10-15"}
    assert plain.refused("POST", "/api/events", inside, headers=newer).pointers == [f"{profile}/attributes/meta"]


def test_null_in_an_event_clears_nothing(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    klaviyo.Events.create_event(event({**ADA, "properties": {"a": 1}}, unique_id="a-1"))
    klaviyo.Events.create_event(event({**ADA, "properties": {"a": None}}, unique_id="a-2"))
    assert sandbox.profiles(account)["ada@example.com"]["properties"] == {"a": 1}


@pytest.mark.parametrize(
    ("who", "attributes", "pointer"),
    [
        ({"email": "nonsense"}, {}, "/profile/data/attributes/email"),
        ({}, {}, "/profile/data/attributes"),
        ({"first_name": "Ada"}, {}, "/profile/data/attributes"),
        (ADA, {"properties": None}, "/properties"),
        (ADA, {"properties": [1]}, "/properties"),
        (ADA, {"time": "yesterday"}, "/time"),
        (ADA, {"time": 1700000000}, "/time"),
        (ADA, {"time": "1989-12-31T00:00:00Z"}, "/time"),
        (ADA, {"time": (datetime.now(UTC) + timedelta(days=400)).isoformat()}, "/time"),
        (ADA, {"unique_id": ""}, "/unique_id"),
        (ADA, {"unique_id": "x" * 256}, "/unique_id"),
        (ADA, {"unique_id": 5}, "/unique_id"),
        (ADA, {"value": "9"}, "/value"),
        (ADA, {"value": True}, "/value"),
        (ADA, {"value_currency": "kronor"}, "/value_currency"),
        (ADA, {"backfill": "yes"}, "/backfill"),
        (ADA, {"mood": "fine"}, "/mood"),
        (ADA, {"metric": {"data": {"type": "metric", "attributes": {}}}}, "/metric/data/attributes/name"),
        (ADA, {"properties": {f"p{number}": 1 for number in range(401)}}, "/properties"),
        (ADA, {"properties": {"list": [0] * 4001}}, "/properties/list"),
        (ADA, {"properties": {"text": "x" * (100 * 1024 + 1)}}, "/properties/text"),
        (ADA, {"properties": _deep(11)}, "/properties" + "/a" * 10),
    ],
)
def test_bad_event(plain: Plain, who: dict[str, Any], attributes: dict[str, Any], pointer: str) -> None:
    body = event(who)
    body["data"]["attributes"] |= attributes
    found = plain.refused("POST", "/api/events", body)
    assert (found.status, found.code) == (400, "invalid")
    assert found.pointers == [f"/data/attributes{pointer}"]


@pytest.mark.parametrize("name", ["", "x" * 128])
def test_metric_name_has_1_to_127_characters(plain: Plain, name: str) -> None:
    pointer = "/data/attributes/metric/data/attributes/name"
    assert plain.refused("POST", "/api/events", event(ADA, name)).pointers == [pointer]


def test_at_the_limits(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    properties: dict[str, Any] = {f"p{number}": 1 for number in range(396)}
    properties |= {"list": [0] * 4000, "text": "x" * 100 * 1024, "deep": _deep(9), "utf": "å" * 51_200}
    klaviyo.Events.create_event(event(ADA, "x" * 127, properties=properties, unique_id="u" * 255))
    assert sandbox.events(account)[0]["properties"] == properties


def test_read_back(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    for number in range(3):
        klaviyo.Events.create_event(event(ADA, "Joined", unique_id=f"j{number}", time=f"2026-11-0{number + 1}T00:00Z"))
    klaviyo.Events.create_event(event({"email": "bea@example.com"}, "Left", unique_id="l", properties={"a": 1}))
    metrics = {each.attributes.name: each.id for each in klaviyo.Metrics.get_metrics().data}
    joined = klaviyo.Events.get_events(filter=f'equals(metric_id,"{metrics["Joined"]}")', sort="datetime").data
    assert [each.attributes.event_properties["$event_id"] for each in joined] == ["j0", "j1", "j2"]
    ada = sandbox.profiles(account)["ada@example.com"]["id"]
    both = f'equals(profile_id,"{ada}"),greater-or-equal(datetime,2026-11-02T00:00:00Z)'
    found = klaviyo.Events.get_events(filter=both, include=["metric", "profile"])
    assert [each.attributes.event_properties["$event_id"] for each in found.data] == ["j2", "j1"]
    assert {each["id"] for each in found.included} == {ada, metrics["Joined"]}


def test_read_back_is_paged(plain: Plain, sandbox: SandboxProcess) -> None:
    for number in range(5):
        plain.post("/api/events", event(ADA, unique_id=f"u{number}", time=f"2026-11-0{number + 1}T00:00:00Z"))
    seen, path, query = [], "/api/events", {"page[size]": "2", "sort": "datetime", "fields[event]": "event_properties"}
    while path:
        answer = plain.get(path, query).json()
        seen.append([each["attributes"]["event_properties"]["$event_id"] for each in answer["data"]])
        path, query = (answer["links"]["next"] or "").removeprefix(sandbox.url), {}
    assert seen == [["u0", "u1"], ["u2", "u3"], ["u4"]]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"filter": 'equals(unique_id,"a")'}, "filter"),
        ({"page[size]": "1001"}, "page[size]"),
        ({"sort": "mood"}, "sort"),
        ({"include": "friends"}, "include"),
    ],
)
def test_bad_reading(plain: Plain, query: dict[str, str], parameter: str) -> None:
    found = plain.refused("GET", "/api/events", query=query)
    assert (found.status, found.parameter) == (400, parameter)


def test_metrics_are_the_apps(klaviyo: Any, plain: Plain) -> None:
    klaviyo.Events.create_event(event(ADA, "Joined", unique_id="a"))
    (metric,) = klaviyo.Metrics.get_metrics(filter='equals(integration.name,"Cevoid")').data
    assert metric.attributes.integration["name"] == "Cevoid"
    assert klaviyo.Metrics.get_metrics(filter='equals(integration.name,"Shopify")').data == []
    assert klaviyo.Metrics.get_metric(metric.id).data.attributes.name == "Joined"
    assert refused(klaviyo.Metrics.get_metric, "NOPE01").status == 404
    assert plain.refused("GET", "/api/metrics", query={"filter": 'equals(name,"Joined")'}).parameter == "filter"


def test_scopes(klaviyo_with: Callable[..., Any], sandbox: SandboxProcess, account: str) -> None:
    reader = klaviyo_with("events:read")
    found = refused(reader.Events.create_event, event(ADA, unique_id="a"))
    assert (found.status, "events:write" in found.detail) == (403, True)
    assert reader.Events.get_events().data == []
    assert refused(reader.Metrics.get_metrics).status == 403
    # events:write alone creates and updates people.
    writer = klaviyo_with("events:write")
    writer.Events.create_event(event(ADA, unique_id="a"))
    assert refused(writer.Events.get_events).status == 403
    assert list(sandbox.profiles(account)) == ["ada@example.com"]
