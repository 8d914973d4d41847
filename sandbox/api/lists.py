"""Lists: read, search by name, create."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from sandbox import filters
from sandbox.answers import iso, links_to, page, resource, words
from sandbox.bodies import LIST_CREATE, checked
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import invalid, not_found
from sandbox.limits import M_DAILY, XS, L, Tier
from sandbox.state.records import MailingList

_FILTERS = {
    "name": ("any", "equals"),
    "id": ("any", "equals"),
    "created": ("greater-than",),
    "updated": ("greater-than",),
}
_SORTS = ("created", "id", "name", "updated")


def find(call: Call, list_id: str) -> MailingList:
    """A list of the account. Raises Refused (404)."""
    if list_id not in call.account.lists:
        raise not_found("list", list_id)
    return call.account.lists[list_id]


def shown(call: Call, mailing_list: MailingList, *, count: bool = False) -> dict[str, Any]:
    """A list as a resource."""
    attributes: dict[str, Any] = {
        "name": mailing_list.name,
        "created": iso(mailing_list.created),
        "updated": iso(mailing_list.updated),
        "opt_in_process": mailing_list.opt_in,
    }
    if count:
        attributes["profile_count"] = len(mailing_list.members)
    relationships = links_to(f"{call.base}/api/lists/{mailing_list.id}", ("profiles", "tags", "flow-triggers"))
    return resource(call, "list", mailing_list.id, attributes, relationships)


def _matches(mailing_list: MailingList, clauses: list[filters.Clause]) -> bool:
    for clause in clauses:
        held = getattr(mailing_list, clause.field)
        if clause.operator in {"any", "equals"}:
            if held not in clause.values:
                return False
        elif not filters.comparison(clause)(held):
            return False
    return True


@endpoint("GET /api/lists", "lists:read", L)
async def get_lists(call: Call) -> Reply:
    """A page of at most ten lists."""
    clauses = filters.parse(call.request.query.get("filter"), _FILTERS)
    found = [each for each in call.account.lists.values() if _matches(each, clauses)]
    sort = call.request.query.get("sort", "")
    field = sort.removeprefix("-")
    if sort:
        if field not in _SORTS:
            raise invalid(f"Cannot sort by {sort!r}.", parameter="sort")
        found.sort(key=lambda each: getattr(each, field), reverse=sort.startswith("-"))
    return Reply(200, page(call, found, lambda each: shown(call, each), standard=10, most=10))


@endpoint("POST /api/lists", "lists:write", M_DAILY)
async def create_list(call: Call) -> Reply:
    """A new list; names need not be unique."""
    attributes = checked(call.body, LIST_CREATE)["data"]["attributes"]
    made = call.account.create_list(attributes["name"], attributes.get("opt_in_process"))
    return Reply(201, {"data": shown(call, made)})


def _count_is_slower(request: web.Request) -> Tier | None:
    return XS if request.query.get("additional-fields[list]") else None


@endpoint("GET /api/lists/{id}", "lists:read", L, _count_is_slower)
async def get_list(call: Call) -> Reply:
    """One list, with its size where asked."""
    counted = bool(words(call, "additional-fields[list]", ("profile_count",)))
    return Reply(200, {"data": shown(call, find(call, call.part("id")), count=counted)})
