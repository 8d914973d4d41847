"""Subscribe and unsubscribe jobs. Accepted without a job id: nobody learns what became of them but by reading."""

from __future__ import annotations

import time
from typing import Any

from sandbox.api import lists
from sandbox.bodies import SUBSCRIBE, UNSUBSCRIBE, checked
from sandbox.consents import Wish
from sandbox.effects import Subscribe, Unsubscribe
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import Problem, Refused
from sandbox.limits import L
from sandbox.shapes import parse_time
from sandbox.state.records import MailingList

_SCOPES = "lists:write profiles:write subscriptions:write"
_PEOPLE = "/data/attributes/profiles/data"


def _named_list(call: Call, data: dict[str, Any]) -> MailingList | None:
    named = ((data.get("relationships") or {}).get("list") or {}).get("data")
    return lists.find(call, named["id"]) if named else None


def _address(call: Call, person: dict[str, Any]) -> str | None:
    """The address a consent is for: the one sent, or that of the profile id."""
    email = person["attributes"].get("email")
    if email is None and person.get("id") in call.account.profiles:
        email = call.account.profiles[person["id"]].email
    found: str | None = email
    return found


def _marketing(person: dict[str, Any]) -> dict[str, Any] | None:
    channel = person["attributes"]["subscriptions"].get("email") or {}
    found: dict[str, Any] | None = channel.get("marketing")
    return found


def _problems(person: dict[str, Any], pointer: str, *, historical: bool) -> list[Problem]:
    subscriptions = f"{pointer}/attributes/subscriptions"
    found = [
        Problem(f"This account has no sending number for {channel}.", f"{subscriptions}/{channel}")
        for channel in ("sms", "whatsapp")
        if person["attributes"]["subscriptions"].get(channel)
    ]
    marketing = _marketing(person)
    if marketing is None:
        return found
    at = f"{subscriptions}/email/marketing/consented_at"
    consented = marketing.get("consented_at")
    if historical and not consented:
        found.append(Problem("consented_at is required with historical_import.", at))
    elif historical and parse_time(str(consented)).timestamp() >= time.time():
        found.append(Problem("consented_at must be in the past.", at))
    elif consented and not historical:
        found.append(Problem("consented_at is only allowed with historical_import.", at))
    return found


@endpoint("POST /api/profile-subscription-bulk-create-jobs", _SCOPES, L)
async def subscribe(call: Call) -> Reply:
    """Accept up to 1,000 subscriptions; one that is wrong refuses them all."""
    data = checked(call.body, SUBSCRIBE)["data"]
    attributes = data["attributes"]
    historical = bool(attributes.get("historical_import"))
    people = attributes["profiles"]["data"]
    problems = [
        problem
        for place, person in enumerate(people)
        for problem in _problems(person, f"{_PEOPLE}/{place}", historical=historical)
    ]
    if problems:
        raise Refused(400, *problems)
    mailing_list = _named_list(call, data)
    effects = []
    for person in people:
        email, marketing = _address(call, person), _marketing(person)
        if email is None or marketing is None:
            continue
        consented = marketing.get("consented_at")
        wish = Wish(
            mailing_list.id if mailing_list else None,
            mailing_list.opt_in if mailing_list else call.account.record.opt_in,
            attributes.get("custom_source"),
            parse_time(consented).timestamp() if consented else None,
            historical,
        )
        effects.append(Subscribe(call.account.id, email, wish))
    call.world.accept(call.account, call.name, effects)
    return Reply(202)


@endpoint("POST /api/profile-subscription-bulk-delete-jobs", _SCOPES, L)
async def unsubscribe(call: Call) -> Reply:
    """Accept up to 100 unsubscriptions."""
    data = checked(call.body, UNSUBSCRIBE)["data"]
    mailing_list = _named_list(call, data)
    list_id = mailing_list.id if mailing_list else None
    effects = [
        Unsubscribe(call.account.id, email, list_id)
        for person in data["attributes"]["profiles"]["data"]
        if (email := _address(call, person)) is not None and _marketing(person) is not None
    ]
    call.world.accept(call.account, call.name, effects)
    return Reply(202)
