"""The ingest API: what is taken, what is refused and how, on both databases."""

from __future__ import annotations

import gzip
import json
from typing import Any

import orjson
import pytest
from flask import Flask
from sqlalchemy import func, select

from tests.rows import Rows
from webapp.extensions import db
from webapp.forms import json_text
from webapp.models import Activity, Delivery, Lane, Person, Workspace
from webapp.services.sharing import choices
from webapp.services.workspaces import ingest_keys, stores

URL = "/api/v1/activities"
KEY = "test-ingest-key"
AUTH = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def workspace(any_app: Flask, rows: Rows) -> Workspace:
    made = rows.workspace("demo")
    ingest_keys.create(made.id, "test", None, key=KEY)
    choices.choose_events(made.id, None, ["member_joined_program", "member_left_program"])
    choices.choose_fields(made.id, None, ["points", "program_member"])
    rows.connection(made, rows.store(made, "se"))
    return made


def event(identity: str = "a-1", **values: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "type": "event",
        "event": "member_joined_program",
        "store": "se",
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": "Ada@Example.com ", "fields": {"points": 120}},
        "properties": {"shortId": "123456"},
        **values,
    }


def post(app: Flask, *items: Any, headers: dict[str, str] | None = None) -> Any:
    return app.test_client().post(URL, json={"activities": list(items)}, headers=headers or AUTH)


def test_good_ones_are_kept_and_bad_ones_named(any_app: Flask, workspace: Workspace) -> None:
    answer = post(any_app, event("a-1"), event("a-2", event="unheard_of"), event("a-1"), "nonsense")
    assert answer.status_code == 202
    body = answer.get_json()
    assert (body["accepted"], body["duplicates"]) == (1, 1)
    assert [(row["index"], row["id"]) for row in body["rejected"]] == [(1, "a-2"), (3, None)]
    assert "unheard_of" in body["rejected"][0]["error"]
    assert db.session.scalar(select(Person.email)) == "ada@example.com"


def test_sending_it_again_changes_nothing(any_app: Flask, workspace: Workspace) -> None:
    post(any_app, event())
    before = [db.session.scalar(select(func.count()).select_from(table)) for table in (Activity, Delivery)]
    later = event(occurred_at="2026-11-23T11:00:00Z", profile={"email": "ada@example.com", "fields": {"points": 1}})
    assert post(any_app, later).get_json() == {"accepted": 0, "duplicates": 1, "rejected": []}
    assert [db.session.scalar(select(func.count()).select_from(table)) for table in (Activity, Delivery)] == before
    assert orjson.loads(db.session.execute(select(Person.fields)).scalar_one())["points"]["v"] == 120


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"id": ""}, "id"),
        ({"id": "ä"}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"type": "order"}, "type"),
        ({"store": "nowhere"}, "nowhere"),
        ({"occurred_at": "2026-11-23T10:00:00"}, "zone"),
        ({"occurred_at": "1999-12-31T23:00:00Z"}, "2000"),
        ({"occurred_at": "2126-01-01T00:00:00Z"}, "one day"),
        ({"occurred_at": None}, "occurred_at"),
        ({"profile": {"email": "not an address"}}, "email"),
        ({"profile": {"email": f"{'a' * 95}@example.com"}}, "100"),
        ({"profile": {"email": "ada@example.com", "fields": {"height": 1}}}, "height"),
        ({"profile": {"email": "ada@example.com", "fields": {"points": "many"}}}, "points"),
        ({"properties": {"shortId": 5}}, "shortId"),
        ({"properties": []}, "properties"),
        ({"profile": []}, "profile must be an object"),
        ({"profile": False}, "profile must be an object"),
        ({"type": "consent", "consent": {"channel": "email", "state": "subscribed"}}, "collected_by"),
        ({"type": "consent", "consent": {"channel": "sms", "state": "subscribed"}}, "channel"),
    ],
)
def test_each_mistake_is_a_sentence_naming_the_field(
    any_app: Flask, workspace: Workspace, changed: dict[str, Any], named: str
) -> None:
    answer = post(any_app, event(**changed))
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert named in answer.get_json()["rejected"][0]["error"]
    assert db.session.scalar(select(func.count()).select_from(Activity)) == 0


def test_the_call_as_a_whole(any_app: Flask, workspace: Workspace) -> None:
    client = any_app.test_client()
    assert post(any_app, event(), headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.post(URL, json={"activities": []}).status_code == 401
    assert client.post(URL, data=b"{", headers=AUTH).status_code == 400
    assert client.post(URL, json=[], headers=AUTH).status_code == 400
    assert post(any_app, *[event(f"a-{n}") for n in range(1001)]).status_code == 413
    assert client.post(URL, data=b" " * 5_000_001, headers=AUTH).status_code == 413
    bomb = gzip.compress(b" " * 50_000_000)
    assert client.post(URL, data=bomb, headers={**AUTH, "Content-Encoding": "gzip"}).status_code == 413


def test_ndjson_and_gzip(any_app: Flask, workspace: Workspace) -> None:
    lines = b"\n".join([orjson.dumps(event("n-1")), b"{broken", orjson.dumps(event("n-2"))])
    headers = {**AUTH, "Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
    answer = any_app.test_client().post(URL, data=gzip.compress(lines), headers=headers)
    assert answer.status_code == 202
    assert answer.get_json()["accepted"] == 2
    assert answer.get_json()["rejected"][0]["index"] == 1


def test_lines_are_counted_before_any_is_read(
    any_app: Flask, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes of gzip hold half a million of them, each of which would cost a second look."""
    monkeypatch.setattr(json_text, "parse", lambda _line: pytest.fail("it was read"))
    packed = gzip.compress(b'"\\ud83d"\n' * 400_000)
    headers = {**AUTH, "Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
    answer = any_app.test_client().post(URL, data=packed, headers=headers)
    assert answer.status_code == 413
    assert "this one has 400,000" in answer.get_json()["detail"]


@pytest.mark.parametrize("mimetype", ["application/json", "application/x-ndjson"])
def test_a_byte_order_mark_spoils_nothing(any_app: Flask, workspace: Workspace, mimetype: str) -> None:
    activity = event("b-1")
    body = orjson.dumps(activity if mimetype.endswith("ndjson") else {"activities": [activity]})
    headers = {**AUTH, "Content-Type": mimetype}
    answer = any_app.test_client().post(URL, data=b"\xef\xbb\xbf" + body, headers=headers)
    assert (answer.status_code, answer.json) == (202, {"accepted": 1, "duplicates": 0, "rejected": []})


def test_every_member_of_a_gzip_body_counts(any_app: Flask, workspace: Workspace) -> None:
    packed = b"".join(gzip.compress(orjson.dumps(event(f"g-{number}")) + b"\n") for number in range(3))
    headers = {**AUTH, "Content-Type": "application/x-ndjson", "Content-Encoding": "x-gzip"}
    assert any_app.test_client().post(URL, data=packed, headers=headers).get_json()["accepted"] == 3


@pytest.mark.parametrize("spoil", [lambda packed: packed[:-4], lambda packed: packed + b"rest", lambda packed: b"no"])
def test_a_gzip_body_that_is_not_whole_is_not_taken(any_app: Flask, workspace: Workspace, spoil: Any) -> None:
    packed = gzip.compress(orjson.dumps({"activities": [event()]}))
    answer = any_app.test_client().post(URL, data=spoil(packed), headers={**AUTH, "Content-Encoding": "gzip"})
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert db.session.scalar(select(func.count()).select_from(Activity)) == 0


@pytest.mark.parametrize(
    "text", ["2026-11-23t10:00:00z", "2026-11-23T11:00:00+01:00", "2026-11-23T10:00:00.123456789Z"]
)
def test_a_moment_is_any_of_rfc_3339(any_app: Flask, workspace: Workspace, text: str) -> None:
    assert post(any_app, event(occurred_at=text)).get_json()["accepted"] == 1


@pytest.mark.parametrize(("method", "path"), [("PUT", "/api/v1/stores/se"), ("POST", "/api/v1/erasures")])
def test_the_small_calls_say_what_is_not_json(any_app: Flask, workspace: Workspace, method: str, path: str) -> None:
    client = any_app.test_client()
    assert client.open(path, method=method, data=b"{", headers=AUTH).status_code == 400
    assert client.open(path, method=method, json=[], headers=AUTH).status_code == 422
    assert client.open(path, method=method, data=b"{").status_code == 401


def test_half_a_character_costs_nobody_the_rest(any_app: Flask, workspace: Workspace) -> None:
    whole, cut = event("c-1"), event("c-2", properties={"shortId": "cut \ud83d", "note": "\U0001f600 \\ud83d"})
    broken = event("c-3", profile={"email": "ada\ud83d@example.com"})
    body = json.dumps({"activities": [whole, cut, broken]})
    answer = any_app.test_client().post(URL, data=body, headers=AUTH)
    assert answer.status_code == 202
    assert (answer.get_json()["accepted"], answer.get_json()["rejected"][0]["id"]) == (2, "c-3")
    kept = db.session.scalar(select(Activity).where(Activity.external_id == "c-2"))
    assert kept is not None
    shown = orjson.loads(kept.properties or "")
    assert (shown["shortId"], shown["note"]) == ("cut \ufffd", "\U0001f600 \\ud83d")


@pytest.mark.parametrize("name", ["id", "type", "event", "store"])
def test_what_is_a_thousand_lists_deep_costs_nobody_the_rest(any_app: Flask, workspace: Workspace, name: str) -> None:
    deep = json.dumps({"activities": [event("d-1"), event("d-2", **{name: "deep"})]}).replace(
        '"deep"', "[" * 1_000 + "]" * 1_000
    )
    answer = any_app.test_client().post(URL, data=deep, headers=AUTH)
    assert answer.status_code == 202
    assert (answer.get_json()["accepted"], len(answer.get_json()["rejected"])) == (1, 1)
    assert name in answer.get_json()["rejected"][0]["error"]


@pytest.mark.parametrize("number", ["1e999", "9" * 400, "9" * 5000, "-" + "9" * 5000])
def test_a_number_no_machine_holds_costs_nobody_the_rest(any_app: Flask, workspace: Workspace, number: str) -> None:
    broken = event("n-2", profile={"email": "ada@example.com", "fields": {"points": 17}})
    body = json.dumps({"activities": [event("n-1"), broken, event("n-3")]}).replace("17", number)
    answer = any_app.test_client().post(URL, data=body, headers=AUTH)
    assert answer.status_code == 202
    assert answer.get_json()["accepted"] == 2
    (rejected,) = answer.get_json()["rejected"]
    assert rejected == {"index": 1, "id": "n-2", "error": "a number in it is too large"}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[" * 100_000])
def test_what_is_no_json_is_none_for_the_patient_parser_either(any_app: Flask, workspace: Workspace, text: str) -> None:
    body = json.dumps({"activities": [event("n-1", properties={"n": 17})]}).replace("17", text)
    assert any_app.test_client().post(URL, data=body, headers=AUTH).status_code == 400


def reasons(any_app: Flask, identity: str) -> dict[str, str]:
    found = any_app.test_client().get(f"{URL}/{identity}", headers=AUTH).get_json()
    return {row["kind"]: row["reason"] for row in found["deliveries"]}


def test_every_activity_has_a_delivery_with_a_reason(any_app: Flask, workspace: Workspace) -> None:
    notice = {"channel": "email", "state": "subscribed", "collected_by": "notice"}
    post(
        any_app,
        event("on"),
        event("off", event="tier_earned", properties={}, profile={"email": "ada@example.com"}),
        event("nobody", profile={}),
        event("consent", type="consent", consent=notice),
    )
    assert reasons(any_app, "on") == {"event": "backlog", "fields": "backlog"}
    assert reasons(any_app, "off") == {"event": "event_off"}
    assert reasons(any_app, "nobody") == {"event": "no_email"}
    assert reasons(any_app, "consent") == {"consent": "not_explicit", "fields": "backlog"}
    lanes = db.session.scalars(select(Lane)).all()
    for lane in lanes:
        counted = select(func.count()).where(Delivery.connection_id == lane.connection_id)
        kind = {"events": "event", "fields": "fields", "consents": "consent"}.get(lane.kind)
        assert lane.made == db.session.scalar(counted.where(Delivery.kind == kind)) if kind else lane.made == 0


def test_leaving_the_program_clears_what_only_members_have(any_app: Flask, workspace: Workspace) -> None:
    post(any_app, event("joined"))
    left = event("left", event="member_left_program", properties={}, occurred_at="2026-11-23T12:00:00Z")
    post(any_app, {**left, "profile": {"email": "ada@example.com"}})
    fields = orjson.loads(db.session.execute(select(Person.fields)).scalar_one())
    assert fields["program_member"]["v"] is False
    assert fields["points"]["v"] is None


@pytest.mark.parametrize("at_once", [True, False])
def test_of_two_at_the_same_moment_the_one_that_came_last_counts_whole(
    any_app: Flask, workspace: Workspace, at_once: bool
) -> None:
    """Value by value, somebody who left would stay a member without points."""
    fields = {"points": 120, "tier_name": "Gold", "program_member": True}
    member = event("z-joined", profile={"email": "ada@example.com", "fields": fields})
    left = event("a-left", event="member_left_program", properties={}, profile={"email": "ada@example.com"})
    for items in ([member, left],) if at_once else ([member], [left]):
        post(any_app, *items)
    kept = orjson.loads(db.session.execute(select(Person.fields)).scalar_one())
    assert (kept["program_member"]["v"], kept["points"]["v"], kept["tier_name"]["v"]) == (False, None, None)
    back = {"points": 3, "program_member": True}
    post(any_app, event("back", profile={"email": "ada@example.com", "fields": back}))
    kept = orjson.loads(db.session.execute(select(Person.fields)).scalar_one())
    assert (kept["program_member"]["v"], kept["points"]["v"]) == (True, 3)


def test_what_no_account_was_there_for_is_counted_for_machines(any_app: Flask, workspace: Workspace) -> None:
    stores.put(workspace.id, "elsewhere", "elsewhere.example")
    post(any_app, event("m-1"), event("m-2", store="elsewhere"))
    told = any_app.test_client().get("/metrics").text
    assert 'cevoid_deliveries{status="skipped"} 1' in told
    assert 'cevoid_deliveries{status="waiting"} 2' in told


def test_an_erased_person_leaves_ids_and_times_only(any_app: Flask, workspace: Workspace) -> None:
    post(any_app, event())
    answer = any_app.test_client().post("/api/v1/erasures", json={"email": "ada@example.com"}, headers=AUTH)
    assert answer.get_json() == {"people": 1, "activities": 1, "deliveries_stopped": 2}
    activity = db.session.execute(select(Activity)).scalar_one()
    assert (activity.properties, activity.profile, activity.external_id) == (None, None, "a-1")
    assert set(reasons(any_app, "a-1").values()) == {"erased"}
    assert db.session.scalar(select(Person.email)) is None
