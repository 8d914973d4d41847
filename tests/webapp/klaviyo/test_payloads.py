"""Every body we build is one that Klaviyo's own SDK knows: nothing in it is lost on the way through its models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from itertools import pairwise
from typing import Any

import orjson
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_client.models.event_create_query_v2 import EventCreateQueryV2
from openapi_client.models.events_bulk_create_job import EventsBulkCreateJob
from openapi_client.models.list_members_add_query import ListMembersAddQuery
from openapi_client.models.profile_import_job_create_query import ProfileImportJobCreateQuery
from openapi_client.models.profile_partial_update_query import ProfilePartialUpdateQuery
from openapi_client.models.profile_upsert_query import ProfileUpsertQuery
from openapi_client.models.subscription_create_job_create_query import SubscriptionCreateJobCreateQuery
from openapi_client.models.subscription_delete_job_create_query import SubscriptionDeleteJobCreateQuery

from webapp.klaviyo import endpoints, payloads
from webapp.klaviyo.client import Call
from webapp.klaviyo.payloads import EventWrite, ProfileWrite

MODELS: dict[str, Any] = {
    endpoints.EVENT.name: EventCreateQueryV2,
    endpoints.EVENTS.name: EventsBulkCreateJob,
    endpoints.PROFILE_PATCH.name: ProfilePartialUpdateQuery,
    endpoints.PROFILE_IMPORT.name: ProfileUpsertQuery,
    endpoints.IMPORT_JOB.name: ProfileImportJobCreateQuery,
    endpoints.LIST_ADD.name: ListMembersAddQuery,
    endpoints.SUBSCRIBE.name: SubscriptionCreateJobCreateQuery,
    endpoints.UNSUBSCRIBE.name: SubscriptionDeleteJobCreateQuery,
}
BASE = "https://a.klaviyo.com"
SOURCE = payloads.consent_source(1)
AT = datetime(2026, 11, 23, 10, 0, 0, 250_000, tzinfo=UTC)

texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | texts | st.lists(texts, max_size=2)
names = st.none() | st.sampled_from(["Ada", "Åsa", ""])
ids = st.none() | st.just("01JABCDEFGHJKMNPQRSTVWXYZ0")
profiles = st.builds(
    ProfileWrite,
    id=ids,
    email=st.just("ada@example.com"),
    properties=st.dictionaries(texts.map(lambda text: f"Cevoid: {text}"), values, max_size=4),
    first_name=names,
    last_name=names,
)
events = st.builds(
    EventWrite,
    metric=st.just("Cevoid: Post Created"),
    unique_id=st.uuids().map(str),
    time=st.integers(950_000_000, 1_900_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    properties=st.dictionaries(texts, values, max_size=4).map(lambda found: orjson.dumps(found).decode()),
    profile=profiles,
    backfill=st.booleans(),
)


def lost(body: Any, model: Any, path: str = "") -> list[str]:
    """Where `model`, the body as it comes out of the SDK, has not what `body` has."""
    if isinstance(body, dict):
        if not isinstance(model, dict):
            return [path]
        return [
            p
            for key in body
            for p in (lost(body[key], model[key], f"{path}/{key}") if key in model else [f"{path}/{key}"])
        ]
    if isinstance(body, list):
        if not isinstance(model, list) or len(model) != len(body):
            return [path]
        return [found for index, each in enumerate(body) for found in lost(each, model[index], f"{path}/{index}")]
    if isinstance(model, Enum):
        model = model.value
    if isinstance(model, datetime):
        body = datetime.fromisoformat(body)
    return [] if body == model else [path]


def survives(call: Call) -> dict[str, Any]:
    """The body of a call, which the SDK takes without losing anything of it."""
    body: dict[str, Any] = orjson.loads(call.body or b"")
    assert lost(body, MODELS[call.endpoint.name].from_dict(body).to_dict()) == []
    return body


def test_what_the_sdk_does_not_know_is_seen() -> None:
    body = orjson.loads(payloads.event(write()).body or b"")
    body["data"]["attributes"]["profile"]["data"]["attributes"]["meta"] = {"patch_properties": {"unset": ["x"]}}
    assert lost(body, MODELS[endpoints.EVENT.name].from_dict(body).to_dict()) == [
        "/data/attributes/profile/data/attributes/meta"
    ]


def write(profile: ProfileWrite | None = None, **values: Any) -> EventWrite:
    """An event of somebody."""
    defaults = {"metric": "Cevoid: Post Created", "unique_id": "u-1", "time": AT, "properties": '{"postId":"1"}'}
    return EventWrite(**{**defaults, **values}, profile=profile or ProfileWrite(None, "ada@example.com"))


@settings(max_examples=60)
@given(events)
def test_an_event_survives(event: EventWrite) -> None:
    body = survives(payloads.event(event))
    attributes = body["data"]["attributes"]
    assert attributes["properties"] == orjson.loads(event.properties)
    assert attributes["unique_id"] == event.unique_id
    assert datetime.fromisoformat(attributes["time"]) == event.time
    assert attributes.get("backfill", False) is event.backfill
    check_profile(attributes["profile"]["data"], event.profile)


@settings(max_examples=40)
@given(st.lists(events, min_size=1, max_size=4))
def test_bulk_events_survive_in_their_order(found: list[EventWrite]) -> None:
    body = survives(payloads.events([payloads.event_entry(write) for write in found]))
    entries = body["data"]["attributes"]["events-bulk-create"]["data"]
    assert [len(entry["attributes"]["events"]["data"]) for entry in entries] == [1] * len(found)
    sent = [entry["attributes"]["events"]["data"][0]["attributes"] for entry in entries]
    assert [attributes["unique_id"] for attributes in sent] == [event.unique_id for event in found]
    assert [attributes.get("backfill", False) for attributes in sent] == [event.backfill for event in found]
    for entry, event in zip(entries, found, strict=True):
        check_profile(entry["attributes"]["profile"]["data"], event.profile)


@settings(max_examples=40)
@given(st.lists(profiles, min_size=1, max_size=4))
def test_an_import_job_survives_in_its_order(found: list[ProfileWrite]) -> None:
    body = survives(payloads.import_job(found))
    sent = body["data"]["attributes"]["profiles"]["data"]
    assert len(sent) == len(found)
    for data, profile in zip(sent, found, strict=True):
        check_profile(data, profile)
    assert "relationships" not in body["data"], "a list here would add people who were there before"


def check_profile(data: dict[str, Any], profile: ProfileWrite) -> None:
    """Events and import jobs: nulls are unset beside the attributes, everything else is set."""
    attributes = data["attributes"]
    cleared = {key for key, value in profile.properties.items() if value is None}
    assert attributes.get("properties", {}) == {k: v for k, v in profile.properties.items() if k not in cleared}
    unset = data.get("meta", {}).get("patch_properties", {}).get("unset", [])
    assert sorted(unset) == sorted(cleared)
    assert ("meta" in data) is bool(cleared)
    check_identity(data, profile)


def check_identity(data: dict[str, Any], profile: ProfileWrite) -> None:
    """By id where there is one, and then without the address, which would move it; names only where they are known."""
    assert data.get("id") == profile.id
    assert data["attributes"].get("email") == (None if profile.id else profile.email)
    for name in ("first_name", "last_name"):
        assert data["attributes"].get(name) == (getattr(profile, name) or None)


@settings(max_examples=40)
@given(profiles.filter(lambda profile: profile.id))
def test_a_patch_survives_with_its_nulls(profile: ProfileWrite) -> None:
    call = payloads.patch_profile(profile)
    assert (call.endpoint.method, call.path) == ("PATCH", f"/api/profiles/{profile.id}")
    data = survives(call)["data"]
    assert data["attributes"].get("properties", {}) == profile.properties
    assert "meta" not in data
    check_identity(data, profile)


@settings(max_examples=40)
@given(profiles.filter(lambda profile: not profile.id))
def test_a_profile_import_survives_with_its_nulls(profile: ProfileWrite) -> None:
    data = survives(payloads.import_profile(profile))["data"]
    assert data["attributes"].get("properties", {}) == profile.properties
    check_identity(data, profile)


@pytest.mark.parametrize("list_id", [None, "LIST01"])
@pytest.mark.parametrize(
    ("make", "consent", "takes_ids"),
    [(partial(payloads.subscribe, source=SOURCE), "SUBSCRIBED", True), (payloads.unsubscribe, "UNSUBSCRIBED", False)],
)
def test_subscriptions_survive(
    make: Callable[[list[ProfileWrite], str | None], Call], consent: str, list_id: str | None, takes_ids: bool
) -> None:
    people = [ProfileWrite("01A", "a@example.com"), ProfileWrite(None, "b@example.com")]
    data = survives(make(people, list_id))["data"]
    sent = data["attributes"]["profiles"]["data"]
    assert [each["attributes"]["email"] for each in sent] == ["a@example.com", "b@example.com"]
    assert [each.get("id") for each in sent] == (["01A", None] if takes_ids else [None, None])
    assert {each["attributes"]["subscriptions"]["email"]["marketing"]["consent"] for each in sent} == {consent}
    assert all(set(each["attributes"]["subscriptions"]) == {"email"} for each in sent), "no other channel is touched"
    assert data.get("relationships") == ({"list": {"data": {"type": "list", "id": list_id}}} if list_id else None)
    named = {"custom_source": SOURCE} if consent == "SUBSCRIBED" else {}
    assert data["attributes"] == {"profiles": {"data": sent}} | named, (
        "double opt-in is respected: no historical_import"
    )


def test_list_members_survive() -> None:
    call = payloads.add_to_list("LIST01", ["01A", "01B"])
    assert call.path == "/api/lists/LIST01/relationships/profiles"
    assert [each["id"] for each in survives(call)["data"]] == ["01A", "01B"]


def test_every_call_with_a_body_has_its_model() -> None:
    assert set(MODELS) == {endpoint.name for endpoint in endpoints.ALL if endpoint.method != "GET"}


def address(number: int, letter: str, length: int) -> str:
    return f"{number}{letter * length}@example.test"


addresses = st.builds(
    lambda rows: [address(number, *row) for number, row in enumerate(rows)],
    st.integers(0, 260).flatmap(
        lambda count: st.lists(
            st.tuples(st.sampled_from('a/+é"\\%'), st.sampled_from([1, 20, 60])), min_size=count, max_size=count
        )
    ),
)


def url_of(emails: list[str]) -> str:
    call = payloads.lookup(emails, subscriptions=True)
    return str(requests.Request("GET", f"{BASE}{call.path}", params=dict(call.query or {})).prepare().url)


@settings(max_examples=40)
@given(addresses)
def test_look_ups_are_cut_into_groups_of_a_hundred_and_six_kilobytes(emails: list[str]) -> None:
    groups = payloads.lookup_groups(emails)
    assert [email for group in groups for email in group] == emails
    assert all(1 <= len(group) <= payloads.LOOKUP_ADDRESSES == 100 for group in groups)
    around = len(url_of([]))
    assert all(len(url_of(group)) <= payloads.LOOKUP_URL_BYTES + around for group in groups)
    for group, following in pairwise(groups):
        more = len(url_of([*group, following[0]])) - around
        assert len(group) == 100 or more > payloads.LOOKUP_URL_BYTES - 10, "as few calls as possible"


def test_a_look_up_asks_for_as_much_as_it_groups() -> None:
    query = dict(payloads.lookup(['a"b@example.com', "c,d@example.com"]).query or {})
    assert query["filter"] == r'any(email,["a\"b@example.com","c,d@example.com"])'
    assert query["page[size]"] == "100"
    assert "additional-fields[profile]" not in query
    assert (
        dict(payloads.lookup(["a@b.test"], subscriptions=True).query or {})["additional-fields[profile]"]
        == "subscriptions"
    )
    members = payloads.list_members("LIST01", ["a@b.test"])
    assert (members.path, dict(members.query or {})["filter"]) == (
        "/api/lists/LIST01/profiles",
        'any(email,["a@b.test"])',
    )


def test_jobs_and_pages_are_asked_for_by_their_ids() -> None:
    assert payloads.import_job_status("a/b+c=").path == "/api/profile-bulk-import-jobs/a%2Fb%2Bc%3D"
    errors = payloads.import_job_errors("job", "next")
    assert (errors.path, dict(errors.query or {})["page[cursor]"]) == (
        "/api/profile-bulk-import-jobs/job/import-errors",
        "next",
    )
    assert "page[cursor]" not in dict(payloads.lists().query or {})
    assert dict(payloads.lists("c").query or {})["page[cursor]"] == "c"
    assert payloads.accounts().path == "/api/accounts"


def test_the_caps_are_klaviyos() -> None:
    assert (payloads.BULK_EVENTS, payloads.IMPORT_PROFILES, payloads.LIST_IDS) == (1_000, 10_000, 1_000)
    assert payloads.BODY_BYTES <= 5_000_000
