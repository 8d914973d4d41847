"""Recording events and what they say about their profile, the same for single and bulk calls."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from sandbox import people
from sandbox.errors import Refused, invalid
from sandbox.state.account import IDENTIFIERS, Account
from sandbox.state.events import Details
from sandbox.state.records import Profile


class NewEvent(msgspec.Struct, array_like=True, gc=False):
    """One checked event; `properties` is its JSON, `at` epoch seconds."""

    metric: str
    at: int
    properties: bytes
    unique_id: str | None = None
    value: float | None = None
    currency: str | None = None
    backfill: bool = False


class Entry(msgspec.Struct, array_like=True, gc=False):
    """Events of one profile; `attributes` holds everything said about it, identifiers too.

    `email_key` is the normalised address where that is the only identifier: most entries, found with one look.
    """

    profile_id: str | None
    attributes: dict[str, Any]
    meta: dict[str, Any] | None
    events: list[NewEvent]
    email_key: str | None = None


def known(account: Account, entry: Entry) -> Profile | None:
    """The profile of an entry if it exists; the first of several its identifiers name."""
    if entry.profile_id and entry.profile_id in account.profiles:
        return account.profiles[entry.profile_id]
    if entry.email_key is not None:
        profile_id = account.by_email.get(entry.email_key)
        return None if profile_id is None else account.profiles[profile_id]
    found = account.find(entry.attributes)
    return found[0] if found else None


def check_profile_id(account: Account, entry: Entry, pointer: str) -> None:
    """Raise Refused (400) for an id nobody has."""
    if entry.profile_id and known(account, entry) is None:
        raise invalid(f"A profile with id {entry.profile_id} does not exist.", pointer)


def take_effect(account: Account, entry: Entry, reading: str) -> None:
    """Find or create the profile, update it, record the events. `reading`: what an unknown id does."""
    profile = known(account, entry)
    if profile is None:
        if entry.profile_id and reading != "create" and not _has_identifier(entry):
            return
        profile = account.create_profile(entry.profile_id)
    if entry.attributes or entry.meta:
        _update(account, profile, entry)
    received = time.time()
    for event in entry.events:
        # Without an id of its own an event's second is its id.
        unique_id = event.unique_id or str(event.at)
        details = Details(unique_id, received, event.properties, event.value, event.currency, event.backfill)
        account.record_event(profile, event.metric, event.at, details)


def _has_identifier(entry: Entry) -> bool:
    return any(entry.attributes.get(name) for name in IDENTIFIERS)


def _update(account: Account, profile: Profile, entry: Entry) -> None:
    attributes = entry.attributes
    if entry.email_key is not None and entry.email_key == profile.email:
        if len(attributes) > 1:
            written = {name: value for name, value in attributes.items() if name != "email"}
            people.apply(account, profile, written, null_clears=False)
        return
    try:
        people.resolve(account, profile.id, attributes)
    except Refused:
        # Two people share the identifiers sent: the event stays with the first, who keeps his own.
        attributes = {name: value for name, value in attributes.items() if name not in IDENTIFIERS}
    people.apply(account, profile, attributes, entry.meta, null_clears=False)
