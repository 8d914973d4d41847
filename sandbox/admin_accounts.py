"""/_sandbox/accounts: what an account holds, and what its owner or the people in it do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web

from sandbox import consents
from sandbox.answers import event_id, iso
from sandbox.errors import invalid
from sandbox.oauth import SCOPES, OAuth
from sandbox.shapes import is_email, parse_time
from sandbox.state.account import Account
from sandbox.state.world import World

_EVENTS_A_PART = 1000
_STATES = ("SUBSCRIBED", "UNSUBSCRIBED", "NEVER_SUBSCRIBED")
_REASONS = ("HARD_BOUNCE", "INVALID_EMAIL", "SPAM_COMPLAINT", "UNSUBSCRIBE", "USER_SUPPRESSED")


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object of a call; nothing sent is an empty one. Raises Refused (400)."""
    text = await request.read()
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid("The body is not JSON.") from error
    if not isinstance(found, dict):
        raise invalid("The body is not a JSON object.")
    return found


def _lines(rows: Iterable[dict[str, Any]]) -> web.Response:
    return web.Response(
        body=b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows),
        content_type="application/x-ndjson",
        charset="utf-8",
    )


def _texts(body: dict[str, Any], name: str) -> list[str]:
    found = body.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise invalid(f"{name} must be a list of strings.", f"/{name}")
    return found


def _is_email(value: object) -> bool:
    return isinstance(value, str) and is_email(value)


def _moment(text: Any) -> float:
    """Epoch seconds of an ISO 8601 time; now without one. Raises Refused (400)."""
    try:
        return parse_time(text).timestamp() if text else time.time()
    except (TypeError, ValueError) as error:
        raise invalid("at must be an ISO 8601 date and time.", "/at") from error


def _event_lines(account: Account, numbers: range) -> bytes:
    metrics = [metric.name for metric in account.metrics.values()]
    lines = []
    for number in numbers:
        details = account.events.details(number)
        profile_id = account.profile_ids[account.events.people[number]]
        profile = account.profiles.get(profile_id)
        row = {
            "id": event_id(account, number),
            "unique_id": details.unique_id,
            "metric": metrics[account.events.metrics[number]],
            "profile_id": profile_id,
            "email": profile.email if profile else None,
            "time": iso(account.events.times[number]),
            "properties": orjson.Fragment(details.properties),
            "value": details.value,
            "backfill": details.backfill,
            "received_at": iso(details.received),
        }
        lines.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return b"".join(lines)


class AccountCalls:
    """The calls about one account (or, for `overview`, all)."""

    def __init__(self, world: World, oauth: OAuth) -> None:
        self._world = world
        self._oauth = oauth

    def _of(self, request: web.Request) -> Account:
        return self._world.account(request.match_info["id"])

    async def overview(self, _: web.Request) -> dict[str, Any]:
        """Every account with its installed scopes and counts."""
        rows = [
            {
                "id": account.id,
                "name": account.record.name,
                "opt_in": account.record.opt_in,
                "scopes": self._world.grants.scopes_of(account.id),
                "profiles": len(account.profiles),
                "events": len(account.events),
                "subscribed": account.subscribed,
                "list_members": sum(len(each.members) for each in account.lists.values()),
            }
            for account in self._world.accounts.values()
        ]
        return {"accounts": rows}

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Every event, in the order they were recorded; sent in parts, as there may be a million."""
        account = self._of(request)
        response = web.StreamResponse()
        response.content_type, response.charset = "application/x-ndjson", "utf-8"
        await response.prepare(request)
        count = len(account.events)
        for first in range(0, count, _EVENTS_A_PART):
            await response.write(_event_lines(account, range(first, min(first + _EVENTS_A_PART, count))))
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    async def profiles(self, request: web.Request) -> web.Response:
        """Every profile."""
        return _lines(
            {
                "id": each.id,
                "email": each.email,
                "phone_number": each.phone_number,
                "external_id": each.external_id,
                **each.attributes,
                "properties": each.properties,
                "consent": each.consent.state,
                "created": iso(each.created),
                "updated": iso(each.updated),
            }
            for each in self._of(request).profiles.values()
        )

    async def subscriptions(self, request: web.Request) -> web.Response:
        """Everybody's e-mail consent, then who has been asked to confirm and has not."""
        account = self._of(request)
        rows: list[dict[str, Any]] = [
            {
                "email": each.email,
                "state": each.consent.state,
                "at": iso(each.consent.at),
                "updated_at": iso(each.consent.updated),
                "source": each.consent.source,
                "method": each.consent.method,
                "double_optin": each.consent.double_optin,
                "suppressions": [suppression.reason for suppression in each.consent.suppressions],
                "lists": [held.id for held in account.lists.values() if each.id in held.members],
                "pending": each.email in account.pending,
            }
            for each in account.profiles.values()
        ]
        rows += [
            {
                "email": email,
                "state": "NEVER_SUBSCRIBED",
                "at": None,
                "source": waiting.source,
                "pending": True,
            }
            for email, waiting in account.pending.items()
            if account.with_email(email) is None
        ]
        return _lines(rows)

    async def lists(self, request: web.Request) -> web.Response:
        """Every list with its members' addresses."""
        account = self._of(request)
        return _lines(
            {
                "id": each.id,
                "name": each.name,
                "opt_in_process": each.opt_in,
                "members": [account.profiles[member].email for member in each.members],
            }
            for each in account.lists.values()
        )

    async def put_profiles(self, request: web.Request) -> dict[str, Any]:
        """Put profiles there: {"emails": [...]}, optionally {"properties": {...}} for all of them."""
        account = self._of(request)
        body = await body_of(request)
        emails = _texts(body, "emails")
        wrong = [email for email in emails if not is_email(email)]
        if wrong:
            raise invalid(f"{wrong[0]!r} is not an address.", "/emails")
        properties = body.get("properties") or {}
        if not isinstance(properties, dict):
            raise invalid("properties must be an object.", "/properties")
        ids = {}
        for email in emails:
            profile = account.with_email(email) or account.create_profile(email=email)
            profile.properties.update(properties)
            account.touch("profile", profile.id)
            ids[email] = profile.id
        return {"profiles": ids}

    async def put_subscription(self, request: web.Request) -> dict[str, Any]:
        """Set a consent: {"email", "state", "at", "reason"}; a reason suppresses.

        The next subscribe job is not dropped for coming too soon.
        """
        account = self._of(request)
        body = await body_of(request)
        email, state, reason = body.get("email", ""), body.get("state"), body.get("reason")
        if not _is_email(email) or state not in _STATES or reason not in (None, *_REASONS):
            raise invalid(f"Needs email, state (one of {', '.join(_STATES)}) and perhaps reason.")
        if state == "UNSUBSCRIBED" and reason is None:
            reason = "UNSUBSCRIBE"
        at = _moment(body.get("at"))
        profile = account.with_email(email) or account.create_profile(email=email)
        consents.put(account, profile, state, at, reason)
        consents.forget_asked(account, email)
        return {"email": profile.email, "state": state}

    async def confirm(self, request: web.Request) -> dict[str, Any]:
        """People follow the link of their confirmation message: {"emails": [...]}, or everybody asked."""
        account = self._of(request)
        emails = _texts(await body_of(request), "emails") or list(account.pending)
        return {"confirmed": [email for email in emails if consents.confirm(account, email)]}

    async def delete(self, request: web.Request) -> dict[str, Any]:
        """Delete people and lists: {"emails": [...], "lists": [ids]}; those not there are passed over."""
        account = self._of(request)
        body = await body_of(request)
        found = [profile for email in _texts(body, "emails") if (profile := account.with_email(email))]
        for profile in found:
            account.delete_profile(profile)
        return {"profiles": len(found), "lists": sum(map(account.delete_list, _texts(body, "lists")))}

    async def uninstall(self, request: web.Request) -> dict[str, Any]:
        """The merchant removes the app: every grant of the account ends."""
        return {"ended": self._world.grants.end_account(self._of(request).id)}

    async def expire(self, request: web.Request) -> dict[str, Any]:
        """Every access token of the account runs out now; refresh tokens stay good."""
        self._world.grants.expire_access(self._of(request).id)
        return {}

    async def grant(self, request: web.Request) -> dict[str, Any]:
        """A grant without a browser: {"scopes": [...]} (all without it); the answer of the token endpoint."""
        account = self._of(request)
        scopes = _texts(await body_of(request), "scopes") or list(SCOPES)
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown:
            raise invalid(f"Unknown scope: {' '.join(unknown)}.", "/scopes")
        replaces = self._world.options.reauthorize == "replaces"
        grant, access = self._world.grants.create(account.id, sorted(set(scopes)), replaces=replaces)
        return self._oauth.token_json(grant, access)
