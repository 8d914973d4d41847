"""Profiles: looked up, created, patched, upserted, and refused where Klaviyo refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.bodies import members, profile
from tests.sandbox.klaviyo_clients import Plain, refused
from tests.sandbox_process import SandboxProcess


def _import(klaviyo: Any, **attributes: Any) -> str:
    made: str = klaviyo.Profiles.create_or_update_profile(profile(attributes)).data.id
    return made


def test_look_up_finds_who_is_there(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    ids = sandbox.put_profiles(account, "ada@example.com", "bea@example.com")
    asked = 'any(email,["Ada@Example.com","nobody@example.com","bea@example.com"])'
    found = klaviyo.Profiles.get_profiles(filter=asked, page_size=100)
    assert {each.attributes.email: each.id for each in found.data} == ids
    # Sparse answers the SDK hands over as they came.
    sparse = klaviyo.Profiles.get_profiles(filter=asked, fields_profile=["email"])
    assert [each["attributes"] for each in sparse["data"]] == [{"email": email} for email in ids]


def test_look_up_with_subscriptions(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    sandbox.put_profiles(account, "new@example.com")
    sandbox.set_subscription(account, "in@example.com", "SUBSCRIBED", at="2026-01-02T03:04:05+00:00")
    sandbox.set_subscription(account, "out@example.com", "UNSUBSCRIBED")
    sandbox.set_subscription(account, "spam@example.com", "SUBSCRIBED", reason="SPAM_COMPLAINT")
    answer = klaviyo.Profiles.get_profiles(additional_fields_profile=["subscriptions"], sort="email")
    found = {each.attributes.email: each.attributes.subscriptions.email.marketing for each in answer.data}
    assert {email: each.consent for email, each in found.items()} == {
        "in@example.com": "SUBSCRIBED",
        "new@example.com": "NEVER_SUBSCRIBED",
        "out@example.com": "UNSUBSCRIBED",
        "spam@example.com": "SUBSCRIBED",
    }
    can = {email: each.can_receive_email_marketing for email, each in found.items()}
    assert can == {"in@example.com": True, "new@example.com": True, "out@example.com": False, "spam@example.com": False}
    assert found["in@example.com"].consent_timestamp.isoformat() == "2026-01-02T03:04:05+00:00"
    assert [each.reason for each in found["spam@example.com"].suppression] == ["SPAM_COMPLAINT"]


def test_subscriptions_only_where_asked(klaviyo: Any, plain: Plain) -> None:
    _import(klaviyo, email="ada@example.com")
    assert "subscriptions" not in plain.get("/api/profiles").json()["data"][0]["attributes"]


def test_pages_of_twenty_and_at_most_a_hundred(
    klaviyo: Any, plain: Plain, sandbox: SandboxProcess, account: str
) -> None:
    sandbox.put_profiles(account, *(f"p{number}@example.com" for number in range(30)))
    first = klaviyo.Profiles.get_profiles()
    second = klaviyo.Profiles.get_profiles(page_cursor=first.links.next)
    assert (len(first.data), len(second.data), second.links.next) == (20, 10, None)
    assert len(klaviyo.Profiles.get_profiles(page_size=100).data) == 30
    assert plain.refused("GET", "/api/profiles", query={"page[size]": "101"}).parameter == "page[size]"


@pytest.mark.parametrize(
    "text",
    [
        'any(email,"ada@example.com")',
        'equals(first_name,"Ada")',
        "any(email,[" + ",".join(f'"p{number}@example.com"' for number in range(101)) + "])",
        'any(email,["a@example.com"',
        "greater-than(created,yesterday)",
    ],
)
def test_bad_filter(klaviyo: Any, sandbox: SandboxProcess, account: str, text: str) -> None:
    sandbox.put_profiles(account, "ada@example.com")
    found = refused(klaviyo.Profiles.get_profiles, filter=text)
    assert (found.status, found.parameter) == (400, "filter")


def test_filter_by_id_and_by_time(klaviyo: Any) -> None:
    made = _import(klaviyo, email="ada@example.com")
    _import(klaviyo, email="bea@example.com")
    both = f'any(id,["{made}"]),greater-than(created,2020-01-01T00:00:00Z)'
    assert [each.id for each in klaviyo.Profiles.get_profiles(filter=both).data] == [made]
    assert klaviyo.Profiles.get_profiles(filter="less-than(created,2020-01-01T00:00:00Z)").data == []


def test_bad_additional_field_and_bad_sparse_field(klaviyo: Any, plain: Plain) -> None:
    _import(klaviyo, email="ada@example.com")
    assert plain.refused("GET", "/api/profiles", query={"additional-fields[profile]": "mood"}).status == 400
    assert plain.refused("GET", "/api/profiles", query={"fields[profile]": "email,mood"}).status == 400


def test_create_and_conflict(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    made = klaviyo.Profiles.create_profile(profile({"email": " Ada@Example.com", "first_name": "Ada"})).data
    assert (made.attributes.email, made.attributes.first_name) == ("ada@example.com", "Ada")
    found = refused(klaviyo.Profiles.create_profile, profile({"email": "ADA@example.com"}))
    assert (found.status, found.code) == (409, "duplicate_profile")
    assert found.errors[0]["meta"]["duplicate_profile_id"] == made.id
    assert len(sandbox.profiles(account)) == 1


def test_patch_changes_what_is_named_and_null_clears(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    made = _import(
        klaviyo, email="ada@example.com", first_name="Ada", last_name="L", properties={"points": 1, "tier": "Gold"}
    )
    body = profile({"last_name": None, "properties": {"points": 2, "tier": None, "new": [1, 2]}}, profile_id=made)
    klaviyo.Profiles.update_profile(made, body)
    held = sandbox.profiles(account)["ada@example.com"]
    assert (held["first_name"], held.get("last_name")) == ("Ada", None)
    assert held["properties"] == {"points": 2, "new": [1, 2]}


def test_patch_properties(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    made = _import(klaviyo, email="ada@example.com", properties={"tags": ["a"], "old": 1, "kept": 2})
    meta = {"patch_properties": {"append": {"tags": ["b", "c"]}, "unset": ["old"]}}
    klaviyo.Profiles.update_profile(made, profile({}, profile_id=made, meta=meta))
    assert sandbox.profiles(account)["ada@example.com"]["properties"] == {"tags": ["a", "b", "c"], "kept": 2}
    meta = {"patch_properties": {"unappend": {"tags": "b"}, "unset": "kept"}}
    klaviyo.Profiles.update_profile(made, profile({}, profile_id=made, meta=meta))
    assert sandbox.profiles(account)["ada@example.com"]["properties"] == {"tags": ["a", "c"]}


def test_patch_never_creates(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    body = profile({"email": "ada@example.com"}, profile_id="01NOBODY")
    assert refused(klaviyo.Profiles.update_profile, "01NOBODY", body).status == 404
    assert sandbox.profiles(account) == {}


def test_patch_needs_the_same_id_in_path_and_body(klaviyo: Any, plain: Plain) -> None:
    made = _import(klaviyo, email="ada@example.com")
    other = refused(klaviyo.Profiles.update_profile, made, profile({}, profile_id="01OTHER"))
    assert (other.status, other.pointers) == (400, ["/data/id"])
    assert plain.refused("PATCH", f"/api/profiles/{made}", profile({})).pointers == ["/data/id"]


def test_patch_to_an_address_somebody_else_has(klaviyo: Any) -> None:
    ada, bea = _import(klaviyo, email="ada@example.com"), _import(klaviyo, email="bea@example.com")
    found = refused(klaviyo.Profiles.update_profile, ada, profile({"email": "bea@example.com"}, profile_id=ada))
    assert (found.status, found.errors[0]["meta"]["duplicate_profile_id"]) == (409, bea)


def test_import_creates_then_updates(plain: Plain, sandbox: SandboxProcess, account: str) -> None:
    first = plain.post("/api/profile-import", profile({"email": "Ada@example.com", "properties": {"a": 1, "b": 2}}))
    again = plain.post("/api/profile-import", profile({"email": "ada@example.com", "properties": {"a": None}}))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["data"]["id"] == again.json()["data"]["id"]
    assert sandbox.profiles(account)["ada@example.com"]["properties"] == {"b": 2}


def test_import_by_id(klaviyo: Any, plain: Plain) -> None:
    made = _import(klaviyo, email="ada@example.com")
    answer = plain.post("/api/profile-import", profile({"first_name": "Ada"}, profile_id=made))
    assert (answer.status_code, answer.json()["data"]["attributes"]["email"]) == (200, "ada@example.com")
    assert plain.refused("POST", "/api/profile-import", profile({"title": "x"}, profile_id="01NOBODY")).status == 404


def test_import_with_identifiers_of_two_people(klaviyo: Any) -> None:
    _import(klaviyo, email="ada@example.com")
    other = _import(klaviyo, email="bea@example.com", phone_number="+46701234567")
    both = profile({"email": "ada@example.com", "phone_number": "+46701234567"})
    found = refused(klaviyo.Profiles.create_or_update_profile, both)
    assert (found.status, found.code) == (409, "duplicate_profile")
    assert found.errors[0]["meta"]["duplicate_profile_id"] == other


@pytest.mark.parametrize(
    ("attributes", "pointer"),
    [
        ({"email": "no address"}, "/data/attributes/email"),
        ({"email": "a@b"}, "/data/attributes/email"),
        ({"email": f"{'x' * 90}@example.com"}, "/data/attributes/email"),
        ({"email": 5}, "/data/attributes/email"),
        ({"first_name": "Ada"}, "/data/attributes"),
        ({"email": "a@example.com", "shoe_size": 38}, "/data/attributes/shoe_size"),
        ({"email": "a@example.com", "anonymous_id": "x"}, "/data/attributes/anonymous_id"),
        ({"email": "a@example.com", "phone_number": "0701234567"}, "/data/attributes/phone_number"),
        ({"email": "a@example.com", "properties": []}, "/data/attributes/properties"),
        ({"email": "a@example.com", "location": {"planet": "Mars"}}, "/data/attributes/location/planet"),
        ({"email": "a@example.com", "first_name": {"a": 1}}, "/data/attributes/first_name"),
    ],
)
def test_bad_attribute(plain: Plain, attributes: dict[str, Any], pointer: str) -> None:
    for path in ("/api/profile-import", "/api/profiles"):
        found = plain.refused("POST", path, profile(attributes))
        assert (found.status, found.code, found.pointers) == (400, "invalid", [pointer])


def test_bad_type_and_unknown_top_level_field(plain: Plain) -> None:
    body = {"data": {"type": "person", "attributes": {"email": "a@example.com"}, "mood": "fine"}}
    found = plain.refused("POST", "/api/profile-import", body)
    assert sorted(found.pointers) == ["/data/mood", "/data/type"]


def test_profile_over_100_kb(plain: Plain) -> None:
    texts = {f"p{number}": "x" * 30_000 for number in range(4)}
    found = plain.refused("POST", "/api/profile-import", profile({"email": "a@example.com", "properties": texts}))
    assert (found.status, found.pointers) == (400, ["/data"])


def test_profile_by_id(klaviyo: Any) -> None:
    made = _import(klaviyo, email="ada@example.com")
    assert klaviyo.Profiles.get_profile(made).data.attributes.email == "ada@example.com"
    found = refused(klaviyo.Profiles.get_profile, "01NOBODY")
    assert (found.status, found.detail) == (404, "A profile with id 01NOBODY does not exist.")


def test_accounts_are_apart(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    made = _import(klaviyo, email="ada@example.com")
    other = "AC0300"
    assert account != other
    stranger = Plain(sandbox, sandbox.grant(other)["access_token"])
    assert stranger.get(f"/api/profiles/{made}").status_code == 404
    assert stranger.get("/api/profiles", {"filter": 'equals(email,"ada@example.com")'}).json()["data"] == []


def test_scopes(klaviyo_with: Callable[..., Any], newsletter: str) -> None:
    reader = klaviyo_with("profiles:read")
    assert reader.Profiles.get_profiles().data == []
    assert refused(reader.Profiles.create_or_update_profile, profile({"email": "a@example.com"})).code == (
        "permission_denied"
    )
    assert refused(reader.Profiles.update_profile, "01X", profile({}, profile_id="01X")).status == 403
    writer = klaviyo_with("profiles:write")
    assert refused(writer.Profiles.get_profiles).status == 403
    assert refused(writer.Lists.add_profiles_to_list, newsletter, members("01X")).status == 403
