"""What an account holds, as plain records that are kept in the state file as they are. Times are epoch seconds."""

from __future__ import annotations

import base64
import os
import random
import string
from typing import Any

import msgspec

_SHORT = string.ascii_letters + string.digits
LIFTED_BY_SUBSCRIBING = ("UNSUBSCRIBE", "SPAM_COMPLAINT", "USER_SUPPRESSED")


def long_id() -> str:
    """An id of 26 characters that looks like a profile's."""
    return "01" + base64.b32encode(os.urandom(15)).decode()


def short_id() -> str:
    """An id of six characters, as lists and metrics have."""
    return "".join(random.choices(_SHORT, k=6))


class Suppression(msgspec.Struct):
    """Why no e-mail goes to a person, and since when; for one list where `list_id` is given."""

    reason: str
    at: float
    list_id: str = ""


class Consent(msgspec.Struct):
    """E-mail marketing consent."""

    state: str = "NEVER_SUBSCRIBED"
    at: float | None = None
    updated: float | None = None
    method: str | None = None
    source: str | None = None
    double_optin: bool | None = None
    suppressions: tuple[Suppression, ...] = ()
    list_suppressions: tuple[Suppression, ...] = ()


class Profile(msgspec.Struct, kw_only=True):
    """One person. `attributes` are the documented ones beside the identifiers, location among them.

    Events know a person by `number`, which counts the profiles of the account from 0.
    """

    id: str
    number: int
    created: float
    updated: float
    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None
    anonymous_id: str | None = None
    attributes: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    consent: Consent = msgspec.field(default_factory=Consent)


class MailingList(msgspec.Struct):
    """A list; `members` gives when each profile joined."""

    id: str
    name: str
    opt_in: str
    created: float
    updated: float
    members: dict[str, float] = {}


class Metric(msgspec.Struct):
    """A metric comes into being with its first event; events know it by `number`, counted from 0."""

    id: str
    name: str
    created: float
    updated: float
    number: int


class ImportJob(msgspec.Struct):
    """A bulk import, its errors with it."""

    id: str
    created: float
    total: int
    lists: list[str] = []
    status: str = "queued"
    started: float | None = None
    completed: float | None = None
    completed_count: int = 0
    failed_count: int = 0
    errors: list[dict[str, Any]] = []


class Grant(msgspec.Struct):
    """What one authorization of the app in one account gave. Access tokens live until they expire."""

    id: str
    account: str
    scopes: list[str]
    refresh: str
    access: dict[str, float] = {}
    spent: list[str] = []


class Waiting(msgspec.Struct):
    """A double opt-in that has been asked for: to which list, and what the consent said its source is."""

    list_id: str | None
    source: str | None


class AccountRecord(msgspec.Struct):
    """The account itself. `opt_in` is the process of consents that name no list; `deleted` are ids by number."""

    id: str
    name: str
    opt_in: str
    deleted: dict[int, str] = {}
