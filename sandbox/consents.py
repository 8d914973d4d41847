"""What a consent does to a person: subscribing with or without double opt-in, unsubscribing from a list or from all."""

from __future__ import annotations

import time

import msgspec

from sandbox.state.account import Account, normalized
from sandbox.state.records import LIFTED_BY_SUBSCRIBING, Profile, Suppression, Waiting

DROPS_A_SECOND_WITHIN = 30 * 60


class Wish(msgspec.Struct):
    """A subscription asked for. `at` (epoch seconds) is given where it was collected earlier (`historical`)."""

    list_id: str | None
    opt_in: str
    source: str | None = None
    at: float | None = None
    historical: bool = False


def _person(account: Account, email: str) -> Profile:
    return account.with_email(email) or account.create_profile(email=email)


def asked_recently(account: Account, email: str) -> bool:
    """Note a subscribe job for a person; whether there was one in the last 30 minutes, so that this one is dropped."""
    now = time.time()
    key = normalized(email)
    if now - account.asked.get(key, 0.0) < DROPS_A_SECOND_WITHIN:
        return True
    account.asked[key] = now
    account.touch("asked", key)
    return False


def forget_asked(account: Account, email: str) -> None:
    """The next subscribe job for a person is not dropped for coming too soon."""
    if account.asked.pop(normalized(email), None) is not None:
        account.touch("asked", normalized(email))


def subscribe(account: Account, email: str, wish: Wish) -> None:
    """Subscribe a person, or wait for a confirmation where the process is double opt-in."""
    if asked_recently(account, email):
        return
    if wish.opt_in == "double_opt_in" and not wish.historical:
        key = normalized(email)
        account.pending[key] = Waiting(wish.list_id, wish.source)
        account.touch("waiting", key)
        return
    _subscribe_now(account, email, wish.list_id, wish.source, wish.at or time.time(), double_optin=False)


def _no_longer_waiting(account: Account, email: str) -> Waiting | None:
    key = normalized(email)
    waiting = account.pending.pop(key, None)
    if waiting is not None:
        account.touch("waiting", key)
    return waiting


def confirm(account: Account, email: str) -> bool:
    """A person follows the link of the confirmation message; whether one was waiting."""
    waiting = _no_longer_waiting(account, email)
    if waiting is None:
        return False
    _subscribe_now(account, email, waiting.list_id, waiting.source, time.time(), double_optin=True)
    return True


def _subscribe_now(
    account: Account, email: str, list_id: str | None, source: str | None, at: float, *, double_optin: bool
) -> None:
    profile = _person(account, email)
    account.set_state(profile, "SUBSCRIBED")
    consent = profile.consent
    consent.at, consent.updated = at, time.time()
    consent.method, consent.source, consent.double_optin = "API", source, double_optin
    consent.suppressions = tuple(each for each in consent.suppressions if each.reason not in LIFTED_BY_SUBSCRIBING)
    if list_id in account.lists:
        consent.list_suppressions = tuple(each for each in consent.list_suppressions if each.list_id != list_id)
        account.join(account.lists[list_id], profile.id)


def unsubscribe(account: Account, email: str, list_id: str | None) -> None:
    """Off one list for its members; from everything for who is not on it, or where no list is named."""
    profile = _person(account, email)
    _no_longer_waiting(account, email)
    now = time.time()
    mailing_list = account.lists.get(list_id) if list_id else None
    if mailing_list is not None and profile.id in mailing_list.members:
        account.leave(mailing_list, profile.id)
        suppression = Suppression("UNSUBSCRIBE", now, mailing_list.id)
        profile.consent.list_suppressions = (*profile.consent.list_suppressions, suppression)
        profile.consent.updated = now
        account.touch("profile", profile.id)
        return
    put(account, profile, "UNSUBSCRIBED", now, "UNSUBSCRIBE")


def put(account: Account, profile: Profile, state: str, at: float, reason: str | None) -> None:
    """Set a person's consent to a state as of a time; with a `reason` they are suppressed for it."""
    account.set_state(profile, state)
    consent = profile.consent
    consent.at = consent.updated = at
    if reason is None:
        consent.suppressions = ()
    elif reason not in {each.reason for each in consent.suppressions}:
        consent.suppressions = (*consent.suppressions, Suppression(reason, at))
