"""Lists: ten a page, found by name, created, and who is on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.bodies import members
from tests.sandbox.klaviyo_clients import Plain, refused
from tests.sandbox_process import SandboxProcess


def _create(klaviyo: Any, name: str, **attributes: str) -> str:
    body = {"data": {"type": "list", "attributes": {"name": name, **attributes}}}
    made: str = klaviyo.Lists.create_list(body).data.id
    return made


def test_pages_of_ten_by_cursor(klaviyo: Any) -> None:
    expected = ["Newsletter", *(f"List {number:02d}" for number in range(25))]
    for name in expected[1:]:
        _create(klaviyo, name)
    pages, cursor = [], None
    while True:
        answer = klaviyo.Lists.get_lists(page_cursor=cursor)
        pages.append([each.attributes.name for each in answer.data])
        cursor = answer.links.next
        if cursor is None:
            break
    assert [len(names) for names in pages] == [10, 10, 6]
    assert [name for names in pages for name in names] == expected


def test_next_link_can_be_followed_as_it_is(klaviyo: Any, plain: Plain, sandbox: SandboxProcess) -> None:
    for number in range(11):
        _create(klaviyo, f"List {number}")
    first = plain.get("/api/lists", {"fields[list]": "name", "sort": "name"}).json()
    second = plain.get(first["links"]["next"].removeprefix(sandbox.url)).json()
    assert [set(each["attributes"]) for each in second["data"]] == [{"name"}] * 2
    assert second["links"]["next"] is None
    third = plain.get(second["links"]["prev"].removeprefix(sandbox.url)).json()
    assert [each["id"] for each in third["data"]] == [each["id"] for each in first["data"]]


def test_page_size_over_ten(klaviyo: Any, plain: Plain) -> None:
    found = plain.refused("GET", "/api/lists", query={"page[size]": "11"})
    assert (found.status, found.parameter) == (400, "page[size]")
    assert len(klaviyo.Lists.get_lists(page_size=1).data) == 1


def test_bad_cursor(klaviyo: Any) -> None:
    found = refused(klaviyo.Lists.get_lists, page_cursor="nonsense")
    assert (found.status, found.parameter) == (400, "page[cursor]")


@pytest.mark.parametrize(
    "text", ['equals(name,"VIP")', "equals(name,['VIP'])", 'any(name,["VIP","x"])', "any(name,['VIP'])"]
)
def test_found_by_name(klaviyo: Any, text: str) -> None:
    made = _create(klaviyo, "VIP")
    assert [each.id for each in klaviyo.Lists.get_lists(filter=text).data] == [made]


@pytest.mark.parametrize("text", ['contains(name,"VIP")', "equals(name", 'equals(shoe,"x")', "any(name,[])", "VIP"])
def test_bad_filter(klaviyo: Any, text: str) -> None:
    found = refused(klaviyo.Lists.get_lists, filter=text)
    assert (found.status, found.parameter) == (400, "filter")


def test_created_list_has_the_opt_in_asked_for(klaviyo: Any) -> None:
    asked = _create(klaviyo, "Double", opt_in_process="double_opt_in")
    plain = _create(klaviyo, "Plain")
    assert klaviyo.Lists.get_list(asked).data.attributes.opt_in_process == "double_opt_in"
    assert klaviyo.Lists.get_list(plain).data.attributes.opt_in_process == "single_opt_in"


@pytest.mark.parametrize(
    ("attributes", "pointer"),
    [
        ({}, "/data/attributes/name"),
        ({"name": 5}, "/data/attributes/name"),
        ({"name": "x", "color": "red"}, "/data/attributes/color"),
        ({"name": "x", "opt_in_process": "triple"}, "/data/attributes/opt_in_process"),
    ],
)
def test_bad_list(plain: Plain, attributes: dict[str, Any], pointer: str) -> None:
    found = plain.refused("POST", "/api/lists", {"data": {"type": "list", "attributes": attributes}})
    assert (found.status, found.code, found.pointers) == (400, "invalid", [pointer])


def test_unknown_list(klaviyo: Any) -> None:
    found = refused(klaviyo.Lists.get_list, "NOPE01")
    assert (found.status, found.code) == (404, "not_found")
    assert found.detail == "A list with id NOPE01 does not exist."
    assert refused(klaviyo.Lists.get_profiles_for_list, "NOPE01").status == 404
    assert refused(klaviyo.Lists.add_profiles_to_list, "NOPE01", members("01X")).status == 404


def test_members_are_added_by_id_and_counted(
    klaviyo: Any, sandbox: SandboxProcess, account: str, newsletter: str
) -> None:
    ids = sandbox.put_profiles(account, "ada@example.com", "bea@example.com")
    body = members(*ids.values())
    klaviyo.Lists.add_profiles_to_list(newsletter, body)
    klaviyo.Lists.add_profiles_to_list(newsletter, body)
    counted = klaviyo.Lists.get_list(newsletter, additional_fields_list=["profile_count"])
    assert counted.data.attributes.profile_count == 2
    assert [each.id for each in klaviyo.Lists.get_profile_ids_for_list(newsletter).data] == list(ids.values())
    # Being on a list is no consent.
    assert sandbox.subscriptions(account)["ada@example.com"]["state"] == "NEVER_SUBSCRIBED"


def test_members_are_found_by_address(klaviyo: Any, sandbox: SandboxProcess, account: str, newsletter: str) -> None:
    ids = sandbox.put_profiles(account, "ada@example.com", "bea@example.com", "cleo@example.com")
    klaviyo.Lists.add_profiles_to_list(newsletter, members(ids["ada@example.com"], ids["bea@example.com"]))
    asked = 'any(email,["ADA@example.com","cleo@example.com","nobody@example.com"])'
    found = klaviyo.Lists.get_profiles_for_list(newsletter, filter=asked, page_size=100).data
    assert [each.id for each in found] == [ids["ada@example.com"]]
    assert found[0].attributes.joined_group_at is not None


def test_members_are_paged(klaviyo: Any, sandbox: SandboxProcess, account: str, newsletter: str) -> None:
    ids = sandbox.put_profiles(account, *(f"p{number}@example.com" for number in range(25)))
    klaviyo.Lists.add_profiles_to_list(newsletter, members(*ids.values()))
    first = klaviyo.Lists.get_profiles_for_list(newsletter)
    second = klaviyo.Lists.get_profiles_for_list(newsletter, page_cursor=first.links.next)
    assert (len(first.data), len(second.data), second.links.next) == (20, 5, None)


def test_members_are_removed(klaviyo: Any, sandbox: SandboxProcess, account: str, newsletter: str) -> None:
    ids = sandbox.put_profiles(account, "ada@example.com", "bea@example.com")
    klaviyo.Lists.add_profiles_to_list(newsletter, members(*ids.values()))
    klaviyo.Lists.remove_profiles_from_list(newsletter, members(ids["ada@example.com"], "01NOTON"))
    assert sandbox.lists(account)["Newsletter"]["members"] == ["bea@example.com"]


def test_unknown_profile_adds_nobody(klaviyo: Any, sandbox: SandboxProcess, account: str, newsletter: str) -> None:
    ids = sandbox.put_profiles(account, "ada@example.com")
    found = refused(klaviyo.Lists.add_profiles_to_list, newsletter, members(ids["ada@example.com"], "01NOBODY"))
    assert (found.status, found.pointers) == (404, ["/data/1/id"])
    assert sandbox.lists(account)["Newsletter"]["members"] == []


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"type": "profile"}],
        [{"type": "person", "id": "01X"}],
        [{"type": "profile", "id": "01X", "email": "ada@example.com"}],
        [{"type": "profile", "id": "01X"}] * 1001,
    ],
)
def test_bad_members(plain: Plain, newsletter: str, data: list[Any]) -> None:
    assert plain.refused("POST", f"/api/lists/{newsletter}/relationships/profiles", {"data": data}).status == 400


def test_scopes(klaviyo_with: Callable[..., Any], newsletter: str) -> None:
    reader = klaviyo_with("lists:read")
    assert len(reader.Lists.get_lists().data) == 1
    assert refused(reader.Lists.get_profiles_for_list, newsletter).status == 403
    assert refused(reader.Lists.create_list, {"data": {"type": "list", "attributes": {"name": "x"}}}).status == 403
    writer = klaviyo_with("lists:write")
    found = refused(writer.Lists.add_profiles_to_list, newsletter, members("01X"))
    assert (found.status, found.detail.endswith("profiles:write.")) == (403, True)
