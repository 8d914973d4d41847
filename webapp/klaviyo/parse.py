"""Typed readings of Klaviyo's answers. An unexpected shape raises UnexpectedAnswer, never a KeyError."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from webapp.klaviyo.masking import scrub

T = TypeVar("T")
LONGEST_NAME = 200
LONGEST_ID, LONGEST_PROFILE_ID, LONGEST_JOB_ID = 40, 64, 200
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
JOB_STATUSES = frozenset({"queued", "processing", "complete", "cancelled"})
# Suppressions that are no word of anybody's: mail did not get there. A subscribe lifts every other kind, and these not.
NO_OPT_OUTS = frozenset({"HARD_BOUNCE", "INVALID_EMAIL"})
POINTED_PROFILE = re.compile(r"/profiles/data/(\d+)(?:/|$)")


class UnexpectedAnswer(Exception):
    """A 2xx answer that does not look as documented."""


@dataclass(frozen=True, slots=True)
class FoundProfile:
    """A profile as looked up. Marketing state only where it was asked for."""

    id: str
    email: str
    is_subscribed: bool = False
    consented_at: datetime | None = None
    consent_source: str | None = None  # what the caller that subscribed them said of itself
    opted_out_at: datetime | None = None
    has_opted_out: bool = False  # also where it is not told when, and beside a consent that is `SUBSCRIBED`
    created_at: datetime | None = None
    left_lists: tuple[tuple[str, datetime], ...] = ()  # lists they unsubscribed from, and when

    def is_consent_of(self, source: str) -> bool | None:
        """Whether the caller of that name subscribed them; None where none is told."""
        return self.consent_source == source if self.consent_source else None

    def left_at(self, list_id: str | None) -> datetime | None:
        """When they unsubscribed from this one list, other mail untouched; None where they did not."""
        return max((at for left, at in self.left_lists if left == list_id), default=None)


@dataclass(frozen=True, slots=True)
class FoundList:
    """A list of the account; `opt_in`: `single_opt_in` or `double_opt_in`."""

    id: str
    name: str
    opt_in: str


def _reading(read: Callable[[Any], T]) -> Callable[[Any], T]:
    """Whatever a reading stumbles over is an UnexpectedAnswer."""

    @wraps(read)
    def reading(body: Any) -> T:
        try:
            return read(body)
        except UNREADABLE as problem:
            raise UnexpectedAnswer(f"the answer does not look as documented ({type(problem).__name__})") from None

    return reading


def _data(body: Any) -> Any:
    if not isinstance(body, dict) or "data" not in body:
        raise UnexpectedAnswer("the answer has no data")
    return body["data"]


def _rows(body: Any) -> list[Any]:
    rows = _data(body)
    if not isinstance(rows, list):
        raise UnexpectedAnswer("the answer has no list of data")
    return rows


def _id(found: object, longest: int = LONGEST_ID) -> str:
    """An id that our columns hold. Raises ValueError for any other."""
    text = str(found)
    if not 0 < len(text) <= longest or not text.isprintable():
        raise ValueError("no id of Klaviyo's")
    return text


@_reading
def account(body: Any) -> tuple[str, str]:
    """(account id, organization name) of GET /api/accounts."""
    data = _data(body)
    if not isinstance(data, list) or not data or not data[0].get("id"):
        raise UnexpectedAnswer("the answer names no account")
    contact = (data[0].get("attributes") or {}).get("contact_information") or {}
    account_id = _id(data[0]["id"])
    return account_id, shown_name(contact.get("organization_name")) or account_id


def shown_name(name: object) -> str:
    """A name that people in Klaviyo chose, fit to be kept and shown: no character that hides or turns the text
    around it, one line, not longer than our columns (PostgreSQL would refuse the row).
    """
    text = "".join(each if each.isprintable() else " " for each in str(name or ""))
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


@_reading
def profiles(body: Any) -> list[FoundProfile]:
    """The profiles of a look-up, addresses lower-cased."""
    return [_profile(entry) for entry in _rows(body)]


@_reading
def profile_id(body: Any) -> str:
    """The id of one profile (PATCH, profile-import)."""
    return _id(_data(body)["id"], LONGEST_PROFILE_ID)


@_reading
def profile_created_at(body: Any) -> datetime | None:
    """Since when one profile is there (profile-import)."""
    return _moment((_data(body).get("attributes") or {}).get("created"))


def _profile(entry: dict[str, Any]) -> FoundProfile:
    """One of several: what cannot be read of its times or its marketing state keeps none of the others."""
    attributes = entry.get("attributes") or {}
    profile_id = _id(entry["id"], LONGEST_PROFILE_ID)
    email = str(attributes.get("email") or "").strip().lower()
    try:
        created_at = _moment(attributes.get("created"))
    except UNREADABLE:
        created_at = None
    try:
        marketing = _marketing(attributes)
    except UNREADABLE:
        marketing = {"has_opted_out": True}  # nobody is subscribed over what may be an opt-out
    return FoundProfile(profile_id, email, created_at=created_at, **marketing)


def _marketing(attributes: dict[str, Any]) -> dict[str, Any]:
    """The marketing state of a FoundProfile."""
    email = ((attributes.get("subscriptions") or {}).get("email") or {}).get("marketing") or {}
    consent, changed = (
        email.get("consent"),
        _moment(email.get("consent_timestamp") or email.get("last_updated")),
    )
    suppressed = [row for row in email.get("suppression") or [] if row.get("reason") not in NO_OPT_OUTS]
    outs = [_moment(row.get("timestamp")) for row in suppressed]
    is_told = None not in outs  # one whose time nobody knows may be the last
    if consent == "UNSUBSCRIBED":
        outs.append(changed)
    left = [(str(row.get("list_id")), _moment(row.get("timestamp"))) for row in email.get("list_suppressions") or []]
    return {
        "is_subscribed": consent == "SUBSCRIBED",
        "consented_at": changed if consent == "SUBSCRIBED" else None,
        "consent_source": email.get("custom_method_detail"),
        "opted_out_at": max((moment for moment in outs if moment), default=None) if is_told else None,
        "has_opted_out": consent == "UNSUBSCRIBED" or bool(suppressed),
        "left_lists": tuple((list_id, at) for list_id, at in left if at is not None),
    }


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ImportJob:
    """How far an import job is. `status`: `queued`, `processing`, `complete`, `cancelled`."""

    id: str
    status: str
    created_at: datetime | None
    failed: int

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be written by it."""
        return self.status in {"complete", "cancelled"}


@_reading
def import_job(body: Any) -> ImportJob:
    """An import job, as accepted or as asked about."""
    data = _data(body)
    attributes = data.get("attributes") or {}
    created, failed = _moment(attributes.get("created_at")), int(attributes.get("failed_count") or 0)
    return ImportJob(_id(data["id"], LONGEST_JOB_ID), str(attributes.get("status") or "queued"), created, failed)


@_reading
def asked_job(body: Any) -> ImportJob:
    """An import job as asked about: how far it is, in a word we know."""
    if _data(body)["attributes"]["status"] not in JOB_STATUSES:
        raise UnexpectedAnswer("the answer does not tell how far the job is")
    return import_job(body)


def pointed_profile(pointer: str) -> int | None:
    """The place in an import job's body that an error's pointer names."""
    found = POINTED_PROFILE.search(pointer)
    return int(found.group(1)) if found else None


@_reading
def import_errors(body: Any) -> tuple[list[tuple[int, str]], str | None]:
    """A page of what failed, as (place in the body, Klaviyo's sentence), and the cursor of the next page."""
    found = []
    for entry in _rows(body):
        attributes = entry.get("attributes") or {}
        place = pointed_profile(str((attributes.get("source") or {}).get("pointer") or ""))
        if place is not None:
            found.append((place, scrub(str(attributes.get("detail") or attributes.get("title") or ""))))
    return found, _cursor(body)


@_reading
def lists(body: Any) -> tuple[list[FoundList], str | None]:
    """A page of lists and the cursor of the next one."""
    found = [
        FoundList(
            id=_id(entry["id"]),
            name=shown_name((entry.get("attributes") or {}).get("name")) or str(entry["id"]),
            opt_in=str((entry.get("attributes") or {}).get("opt_in_process") or "")[:LONGEST_ID],
        )
        for entry in _rows(body)
    ]
    return found, _cursor(body)


def _cursor(body: Any) -> str | None:
    following = (body.get("links") or {}).get("next")
    cursor = parse_qs(urlsplit(following).query).get("page[cursor]") if following else None
    return cursor[0] if cursor else None
