"""Who is on a list. Adding and removing sets no consent."""

from __future__ import annotations

from typing import Any

from sandbox import filters
from sandbox.answers import iso, page, words
from sandbox.api.lists import find
from sandbox.api.profiles import ADDITIONAL, predictions_are_slower, shown
from sandbox.bodies import LIST_MEMBERS, checked
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import Problem, Refused, invalid
from sandbox.limits import L, M
from sandbox.state.account import normalized
from sandbox.state.records import MailingList

_FILTERS = {
    "email": ("any", "equals"),
    "phone_number": ("any", "equals"),
    "joined_group_at": filters.COMPARED,
}


def _holds(call: Call, clause: filters.Clause, profile_id: str, joined: float) -> bool:
    if clause.field == "joined_group_at":
        return filters.comparison(clause)(joined)
    held = getattr(call.account.profiles[profile_id], clause.field)
    if clause.field == "email":
        return held in {normalized(str(value)) for value in clause.values}
    return held in clause.values


def _members(call: Call, mailing_list: MailingList) -> list[str]:
    clauses = filters.parse(call.request.query.get("filter"), _FILTERS)
    members = mailing_list.members
    found = [
        profile_id
        for profile_id, joined in members.items()
        if all(_holds(call, clause, profile_id, joined) for clause in clauses)
    ]
    sort = call.request.query.get("sort", "joined_group_at")
    if sort not in {"joined_group_at", "-joined_group_at"}:
        raise invalid(f"Cannot sort by {sort!r}.", parameter="sort")
    return found[::-1] if sort.startswith("-") else found


@endpoint("GET /api/lists/{id}/relationships/profiles", "lists:read profiles:read", L)
async def get_member_ids(call: Call) -> Reply:
    """A page of the ids."""
    found = _members(call, find(call, call.part("id")))
    return Reply(200, page(call, found, lambda each: {"type": "profile", "id": each}, standard=20, most=100))


@endpoint("GET /api/lists/{id}/profiles", "lists:read profiles:read", L, predictions_are_slower)
async def get_members(call: Call) -> Reply:
    """A page of the profiles, with when each joined."""
    mailing_list = find(call, call.part("id"))
    additional = words(call, "additional-fields[profile]", ADDITIONAL)

    def shown_member(profile_id: str) -> dict[str, Any]:
        profile = call.account.profiles[profile_id]
        joined = {"joined_group_at": iso(mailing_list.members[profile_id])}
        return shown(call, profile, additional, joined)

    return Reply(200, page(call, _members(call, mailing_list), shown_member, standard=20, most=100))


def _named_ids(call: Call) -> list[str]:
    return [item["id"] for item in checked(call.body, LIST_MEMBERS)["data"]]


@endpoint("POST /api/lists/{id}/relationships/profiles", "lists:write profiles:write", M)
async def add_members(call: Call) -> Reply:
    """Add up to 1,000 profiles by id. An unknown one refuses the call, and nobody is added."""
    mailing_list = find(call, call.part("id"))
    ids = _named_ids(call)
    unknown = [
        Problem(
            f"A profile with id {profile_id} does not exist.",
            f"/data/{place}/id",
            code="not_found",
            title="Not found.",
        )
        for place, profile_id in enumerate(ids)
        if profile_id not in call.account.profiles
    ]
    if unknown:
        raise Refused(404, *unknown)
    for profile_id in ids:
        call.account.join(mailing_list, profile_id)
    return Reply(204)


@endpoint("DELETE /api/lists/{id}/relationships/profiles", "lists:write profiles:write", M)
async def remove_members(call: Call) -> Reply:
    """Remove up to 1,000 profiles by id; who is not on it makes no difference."""
    mailing_list = find(call, call.part("id"))
    for profile_id in _named_ids(call):
        call.account.leave(mailing_list, profile_id)
    return Reply(204)
