"""Profiles: look up, create, patch, upsert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from sandbox import filters, people
from sandbox.answers import iso, links_to, page, resource, sparse, words
from sandbox.bodies import PROFILE_CREATE, PROFILE_PATCH, PROFILE_UPSERT, checked
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import duplicate_profile, invalid, not_found
from sandbox.limits import XS, L, M, Tier
from sandbox.state.account import IDENTIFIERS, Account
from sandbox.state.records import Consent, Profile

ADDITIONAL = ("subscriptions", "predictive_analytics")
_TEXTS = ("first_name", "last_name", "organization", "locale", "title", "image")
_PLACES = (
    "address1",
    "address2",
    "city",
    "country",
    "latitude",
    "longitude",
    "region",
    "zip",
    "timezone",
    "ip",
)
_LISTED = ("any", "equals")
_FILTERS = {
    **dict.fromkeys(("id", "email", "phone_number", "external_id"), _LISTED),
    "_kx": ("equals",),
    **dict.fromkeys(("created", "updated"), ("greater-than", "less-than")),
}


def _text(name: str) -> Callable[[Account, Profile], Any]:
    return lambda _, profile: profile.attributes.get(name)


def predictions_are_slower(request: web.Request) -> Tier | None:
    """Asking for predictions is limited more."""
    return M if "predictive_analytics" in request.query.get("additional-fields[profile]", "") else None


def _subscriptions(consent: Consent) -> dict[str, Any]:
    return {
        "email": {
            "marketing": {
                "can_receive_email_marketing": not consent.suppressions and consent.state != "UNSUBSCRIBED",
                "consent": consent.state,
                "consent_timestamp": iso(consent.at),
                "last_updated": iso(consent.updated),
                "method": consent.method,
                "method_detail": "",
                "custom_method_detail": consent.source,
                "double_optin": consent.double_optin,
                "suppression": [{"reason": each.reason, "timestamp": iso(each.at)} for each in consent.suppressions],
                "list_suppressions": [
                    {"list_id": each.list_id, "reason": each.reason, "timestamp": iso(each.at)}
                    for each in consent.list_suppressions
                ],
            }
        },
        "sms": None,
        "mobile_push": None,
        "whatsapp": None,
    }


def _location(profile: Profile) -> dict[str, Any]:
    held = profile.attributes.get("location") or {}
    return {name: held.get(name) for name in _PLACES}


_ATTRIBUTES: dict[str, Callable[[Account, Profile], Any]] = {
    "email": lambda _, profile: profile.email,
    "phone_number": lambda _, profile: profile.phone_number,
    "external_id": lambda _, profile: profile.external_id,
    **{name: _text(name) for name in _TEXTS},
    "created": lambda _, profile: iso(profile.created),
    "updated": lambda _, profile: iso(profile.updated),
    "last_event_date": lambda account, profile: iso(account.last_event(profile)),
    "location": lambda _, profile: _location(profile),
    "properties": lambda _, profile: profile.properties,
}


def shown(call: Call, profile: Profile, additional: list[str], extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """A profile as a resource."""
    fields = sparse(call, "profile")
    if fields is None:
        attributes = {name: get(call.account, profile) for name, get in _ATTRIBUTES.items()}
    else:
        attributes = {name: _ATTRIBUTES[name](call.account, profile) for name in fields.heads & _ATTRIBUTES.keys()}
    if extra:
        attributes.update(extra)
    if "subscriptions" in additional:
        attributes["subscriptions"] = _subscriptions(profile.consent)
    if "predictive_analytics" in additional:
        attributes["predictive_analytics"] = None
    related = None
    if fields is None:
        related = links_to(
            f"{call.base}/api/profiles/{profile.id}", ("lists", "segments", "push-tokens", "conversation")
        )
    return resource(call, "profile", profile.id, attributes, related)


def _named(account: Account, field: str, value: str) -> Profile | None:
    if field == "id":
        return account.profiles.get(value)
    return account.with_identifier(field, value) if field in IDENTIFIERS else None


def _found(call: Call, clauses: list[filters.Clause]) -> list[Profile]:
    account = call.account
    rows: list[Profile] | None = None
    for clause in clauses:
        if clause.field in {"created", "updated"}:
            holds = filters.comparison(clause)
            rows = list(account.profiles.values()) if rows is None else rows
            rows = [row for row in rows if holds(getattr(row, clause.field))]
            continue
        hits = (_named(account, clause.field, str(value)) for value in clause.values)
        named = {hit.id: hit for hit in hits if hit is not None}
        rows = list(named.values()) if rows is None else [row for row in rows if row.id in named]
    return list(account.profiles.values()) if rows is None else rows


@endpoint("GET /api/profiles", "profiles:read", L, predictions_are_slower)
async def get_profiles(call: Call) -> Reply:
    """A page of profiles."""
    additional = words(call, "additional-fields[profile]", ADDITIONAL)
    rows = _found(call, filters.parse(call.request.query.get("filter"), _FILTERS))
    sort = call.request.query.get("sort", "")
    field = sort.removeprefix("-")
    if sort:
        if field not in {"created", "email", "id", "updated"}:
            raise invalid(f"Cannot sort by {sort!r}.", parameter="sort")
        rows.sort(key=lambda row: getattr(row, field) or "", reverse=sort.startswith("-"))
    return Reply(200, page(call, rows, lambda row: shown(call, row, additional), standard=20, most=100))


def _find(call: Call) -> Profile:
    profile = call.account.profiles.get(call.part("id"))
    if profile is None:
        raise not_found("profile", call.part("id"))
    return profile


def _answer(call: Call, status: int, profile: Profile) -> Reply:
    additional = words(call, "additional-fields[profile]", ADDITIONAL)
    return Reply(status, {"data": shown(call, profile, additional)})


def _include_is_slower(request: web.Request) -> Tier | None:
    asked = request.query.get("include", "")
    return XS if "lists" in asked or "segments" in asked else predictions_are_slower(request)


@endpoint("GET /api/profiles/{id}", "profiles:read", L, _include_is_slower)
async def get_profile(call: Call) -> Reply:
    """One profile."""
    return _answer(call, 200, _find(call))


@endpoint("POST /api/profiles", "profiles:write", L)
async def create_profile(call: Call) -> Reply:
    """A new profile; 409 with the other's id where an identifier is taken."""
    attributes = checked(call.body, PROFILE_CREATE)["data"]["attributes"]
    taken = call.account.find(attributes)
    if taken:
        raise duplicate_profile(taken[0].id)
    profile = call.account.create_profile()
    people.apply(call.account, profile, attributes, null_clears=True)
    return _answer(call, 201, profile)


@endpoint("PATCH /api/profiles/{id}", "profiles:write", L)
async def update_profile(call: Call) -> Reply:
    """Change a profile that exists: null clears, absent leaves."""
    data = checked(call.body, PROFILE_PATCH)["data"]
    if data["id"] != call.part("id"):
        raise invalid("The id in the body is not the id in the path.", "/data/id")
    profile = _find(call)
    people.resolve(call.account, profile.id, data["attributes"])
    people.apply(call.account, profile, data["attributes"], data.get("meta"), null_clears=True)
    return _answer(call, 200, profile)


@endpoint("POST /api/profile-import", "profiles:write", L)
async def import_profile(call: Call) -> Reply:
    """Create or update at once: 201 for a new profile, 200 for one that was there. Null clears."""
    data = checked(call.body, PROFILE_UPSERT)["data"]
    account, attributes = call.account, data["attributes"]
    profile = people.resolve(account, data.get("id"), attributes)
    if profile is None and data.get("id") and not account.find(attributes):
        raise not_found("profile", data["id"])
    status = 200 if profile else 201
    profile = profile or account.create_profile()
    people.apply(account, profile, attributes, data.get("meta"), null_clears=True)
    return _answer(call, status, profile)
