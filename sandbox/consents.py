"""What a consent does to a person: subscribing with or without double opt-in, unsubscribing from a list or from all."""

from __future__ import annotations

import time

from sandbox.state.account import Account, normalized
from sandbox.state.records import LIFTED_BY_SUBSCRIBING, MailingList, Profile, Suppression

DROPS_A_SECOND_WITHIN = 30 * 60


def _person(account: Account, email: str) -> Profile:
    return account.with_email(email) or account.create_profile(email=email)


def asked_recently(account: Account, email: str) -> bool:
    """Note a subscribe job for a person; whether there was one in the last 30 minutes, so that this one is dropped."""
    now = time.time()
    key = normalized(email)
    before = account.record.asked.get(key, 0.0)
    if now - before < DROPS_A_SECOND_WITHIN:
        return True
    account.record.asked[key] = now
    account.touch("account")
    return False


def subscribe(
    account: Account,
    email: str,
    mailing_list: MailingList | None,
    *,
    source: str | None = None,
    at: float | None = None,
    historical: bool = False,
) -> None:
    """Subscribe a person, or wait for a confirmation where the list (without one: the account) is double opt-in."""
    if asked_recently(account, email):
        return
    opt_in = mailing_list.opt_in if mailing_list else account.record.opt_in
    list_id = mailing_list.id if mailing_list else None
    if opt_in == "double_opt_in" and not historical:
        account.record.pending[normalized(email)] = {"list": list_id, "source": source, "asked": time.time()}
        account.touch("account")
        return
    _subscribe_now(account, email, list_id, source, at or time.time(), double_optin=False)


def confirm(account: Account, email: str) -> bool:
    """A person follows the link of the confirmation message; whether one was waiting."""
    waiting = account.record.pending.pop(normalized(email), None)
    if waiting is None:
        return False
    account.touch("account")
    _subscribe_now(account, email, waiting["list"], waiting["source"], time.time(), double_optin=True)
    return True


def _subscribe_now(
    account: Account, email: str, list_id: str | None, source: str | None, at: float, *, double_optin: bool
) -> None:
    profile = _person(account, email)
    consent = profile.consent
    consent.state = "SUBSCRIBED"
    consent.at, consent.updated = at, time.time()
    consent.method, consent.source, consent.double_optin = "API", source, double_optin
    consent.suppressions = [each for each in consent.suppressions if each.reason not in LIFTED_BY_SUBSCRIBING]
    account.touch("profile", profile.id)
    if list_id in account.lists:
        consent.list_suppressions = [each for each in consent.list_suppressions if each.list_id != list_id]
        account.join(account.lists[list_id], profile.id)


def unsubscribe(account: Account, email: str, mailing_list: MailingList | None) -> None:
    """Off one list for its members; from everything for who is not on it, or where no list is named."""
    profile = _person(account, email)
    account.record.pending.pop(normalized(email), None)
    account.touch("account")
    now = time.time()
    if mailing_list is not None and profile.id in mailing_list.members:
        account.leave(mailing_list, profile.id)
        profile.consent.list_suppressions.append(Suppression("UNSUBSCRIBE", now, mailing_list.id))
        profile.consent.updated = now
        account.touch("profile", profile.id)
        return
    put(account, profile, "UNSUBSCRIBED", now, "UNSUBSCRIBE")


def put(account: Account, profile: Profile, state: str, at: float, reason: str | None) -> None:
    """Set a person's consent to a state as of a time; with a `reason` they are suppressed for it."""
    consent = profile.consent
    consent.state = state
    consent.at = consent.updated = at
    if reason is None:
        consent.suppressions = []
    elif reason not in {each.reason for each in consent.suppressions}:
        consent.suppressions.append(Suppression(reason, at))
    account.touch("profile", profile.id)
