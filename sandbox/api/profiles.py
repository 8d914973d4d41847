"""Profiles: look up, create, patch, upsert."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from sandbox import filters, people
from sandbox.answers import iso, page, resource, words
from sandbox.bodies import PROFILE_CREATE, PROFILE_PATCH, PROFILE_UPSERT, checked
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import duplicate_profile, invalid, not_found
from sandbox.limits import XS, L, M, Tier
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


def shown(call: Call, profile: Profile, additional: list[str], extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """A profile as a resource."""
    held = profile.attributes
    location = held.get("location") or {}
    attributes: dict[str, Any] = {
        "email": profile.email,
        "phone_number": profile.phone_number,
        "external_id": profile.external_id,
        **{name: held.get(name) for name in _TEXTS},
        "created": iso(profile.created),
        "updated": iso(profile.updated),
        "last_event_date": iso(profile.last_event) if profile.last_event else None,
        "location": {name: location.get(name) for name in _PLACES},
        "properties": profile.properties,
        **(extra or {}),
    }
    if "subscriptions" in additional:
        attributes["subscriptions"] = _subscriptions(profile.consent)
    if "predictive_analytics" in additional:
        attributes["predictive_analytics"] = None
    own = f"{call.base}/api/profiles/{profile.id}"
    relationships = {
        name: {"links": {"self": f"{own}/relationships/{name}", "related": f"{own}/{name}"}}
        for name in ("lists", "segments", "push-tokens", "conversation")
    }
    return resource(call, "profile", profile.id, attributes, relationships)


def _found(call: Call, clauses: list[filters.Clause]) -> list[Profile]:
    account = call.account
    rows: list[Profile] | None = None
    for clause in clauses:
        if clause.field in {"created", "updated"}:
            rows = list(account.profiles.values()) if rows is None else rows
            rows = [row for row in rows if filters.compares(clause, getattr(row, clause.field))]
            continue
        named: dict[str, Profile] = {}
        for value in clause.values:
            text = str(value)
            if clause.field == "id":
                hits = [account.profiles[text]] if text in account.profiles else []
            else:
                hits = account.find({clause.field: text})
            named.update({hit.id: hit for hit in hits})
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
