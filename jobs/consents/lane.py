"""The consents lane: every person's marketing state is read just before anything is decided.

A subscribe of unknown outcome needs no batch of its own: it is noted on the profile link before the call, so that the
next look knows it may have arrived, and it is settled by reading. Withdrawals go before everything else that is due.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

from jobs import choose, lookup, settle
from jobs.choose import Item
from jobs.consents import leaving, readback, said, send, signups
from jobs.consents.decide import Decision, InKlaviyo, Sent, Situation, Step, Wanted, decide
from jobs.consents.left import Left, left
from jobs.consents.members import members_of
from jobs.consents.send import Write
from jobs.lookup import Link
from jobs.run import Run
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.klaviyo import payloads
from webapp.klaviyo.parse import FoundProfile
from webapp.models.delivery import PRIORITY_LIVE

WRITES = frozenset({Step.SUBSCRIBE, Step.UNSUBSCRIBE})
NEEDS = frozenset({"profiles:read", "profiles:write", "lists:write", "subscriptions:write"})


class Held(NamedTuple):
    """By person id: their profile as just read, what is remembered of it, and our signups in the account.

    `taken_off`: the lists of it that they left by our withdrawals.
    """

    found: dict[int, FoundProfile]
    links: dict[int, Link]
    signups: signups.Known
    taken_off: dict[int, set[str]]


class Look(NamedTuple):
    """A consent, decided. `leaves`: the signup of ours that a withdrawal takes back, one of maybe several."""

    item: Item
    leaves: Sent | None
    decision: Decision


def step(run: Run) -> bool:
    """Look at the next due consents; whether there were any."""
    items = _chosen(run)
    if not items:
        return run.grant.scopes >= NEEDS and readback.check_next(run)
    if not run.grant.scopes >= NEEDS:
        _settle(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items})
        return True
    results, open_items = _without_calls(run, items)
    if results:
        _settle(run, results)
    if not open_items:
        return True
    try:
        found = lookup.look_up(run, {i.person_id: str(i.email) for i in open_items}, subscriptions=True)
    except lookup.MayNotLook:
        _settle(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in open_items})
        return True
    links = lookup.links_of(run, {i.person_id: str(i.email) for i in open_items})
    left_any = [person_id for person_id, profile in found.items() if profile.left_lists]
    theirs = signups.known(run, {i.person_id for i in open_items})
    held = Held(found, links, theirs, signups.taken_off(run, left_any))
    decided = _with_membership(run, [look for item in open_items for look in _looks(run, item, held)], held)
    results, writes = {}, []
    for item in open_items:
        looks = [look for look in decided[item.id] if look.decision.step in WRITES]
        rest = [look.decision for look in decided[item.id] if look.decision.step not in WRITES]
        writes += _writes(looks, rest, held)
        if not looks:
            results[item.id] = _result(item, leaving.told(rest))
    if results:
        _settle(run, results)
    send.send(run, writes)
    return True


def _chosen(run: Run) -> list[Item]:
    """What is due: withdrawals alone as long as there are any, so that nobody's wait for a thousand signups."""
    items = choose.due(run, Kind.CONSENT, payloads.SUBSCRIBED_AT_ONCE)
    withdrawals = [item for item in items if item.priority < PRIORITY_LIVE]
    return withdrawals or items


def _without_calls(run: Run, items: list[Item]) -> tuple[dict[int, Result], list[Item]]:
    """Erased, superseded and expired ones are settled without asking Klaviyo."""
    now = clock.now()
    results: dict[int, Result] = {}
    for item in items:
        if item.email is None or item.consent is None:
            results[item.id] = settle.skipped(Reason.ERASED)
        elif said.is_superseded(run, item, item.consents_text):
            results[item.id] = settle.skipped(Reason.SUPERSEDED)
        elif item.expires_at <= now:
            results[item.id] = _expired(item)
    return results, [item for item in items if item.id not in results]


def _expired(item: Item) -> Result:
    """Seven days are over: nobody came who could be asked, or it waited for something else."""
    is_held = item.reason is Reason.NOT_IN_KLAVIYO
    return settle.skipped(Reason.NOT_IN_KLAVIYO) if is_held else settle.failed(Reason.EXPIRED)


def _looks(run: Run, item: Item, held: Held) -> list[Look]:
    """What to do now: once for each list that is to be left."""
    theirs = held.signups.get(item.person_id, {})
    last = leaving.last_sent(held.links.get(item.person_id), theirs)
    leaves = [None] if said.wanted(item) is Wanted.SUBSCRIBED else leaving.to_leave(last, theirs)
    return [
        Look(item, sent, leaving.DONE if leaving.is_taken(sent, item.id) else decide(_situation(run, item, held, sent)))
        for sent in leaves
    ]


def _situation(run: Run, item: Item, held: Held, leaves: Sent | None = None, on_list: bool | None = None) -> Situation:
    link, profile = held.links.get(item.person_id), held.found.get(item.person_id)
    wanted, list_id = said.wanted(item), run.connection.list_id
    sent = leaving.last_sent(link, held.signups.get(item.person_id, {}))
    gone = Left()
    if profile is not None and wanted is Wanted.SUBSCRIBED:
        taken_off = held.taken_off.get(item.person_id, ())
        gone = left(profile, list_id, taken_off=taken_off, sent=sent, on_list=on_list)
    return Situation(
        wanted=wanted,
        occurred_at=item.occurred_at,
        behavior=run.connection.sync_behavior,
        list_id=list_id,
        sent=sent,
        profile=_in_klaviyo(run, profile, gone.at),
        accepted_at=item.accepted_at,
        now=clock.now(),
        on_list=on_list,
        tried=_is_tried(item, link, leaves),
        withdrawn_at=link.withdrawal_check_at - readback.AFTER if link and link.withdrawal_check_at else None,
        leaving=leaves,
        unproven=gone.unproven,
    )


def _is_tried(item: Item, link: Link | None, leaves: Sent | None) -> bool:
    """Whether this withdrawal was sent for this list before."""
    if leaves is not None and leaves.withdrawn_by == item.id:
        return True
    is_noted = link is not None and link.withdrawn_delivery_id == item.id
    return is_noted and (leaves is None or link is None or link.withdrawn_list_id == leaves.list_id)


def _in_klaviyo(run: Run, profile: FoundProfile | None, left_at: datetime | None) -> InKlaviyo | None:
    """A profile's state, as seen by a signup: whoever left is not subscribed."""
    if profile is None:
        return None
    outs = [moment for moment in (profile.opted_out_at, left_at) if moment is not None]
    is_subscribed = profile.is_subscribed and left_at is None
    is_told = profile.opted_out_at is not None or not profile.has_opted_out
    opted_out_at = max(outs, default=None) if is_told else None
    told = (profile.has_opted_out, profile.consented_at, profile.is_consent_of(said.source(run)))
    return InKlaviyo(profile.id, is_subscribed, opted_out_at, *told)


def _with_membership(run: Run, looks: list[Look], held: Held) -> dict[int, list[Look]]:
    """Ask which of those who leave a list are on it, or may have joined it; decide those again; all by delivery."""
    open_ones: list[Look] = []
    people: dict[str, dict[int, str]] = defaultdict(dict)
    decided: dict[int, list[Look]] = defaultdict(list)
    for look in looks:
        if look.decision.step is Step.CHECK_MEMBERSHIP and look.decision.list_id:
            people[look.decision.list_id][look.item.person_id] = str(look.item.email)
            open_ones.append(look)
        else:
            decided[look.item.id].append(look)
    try:
        on_it = members_of(run, people)
    except lookup.MayNotLook:  # unsubscribing somebody who is not on it would unsubscribe them everywhere
        on_it = None
    for item, leaves, asked in open_ones:
        decision = Decision(Step.SKIP, Reason.SCOPE_MISSING)
        if on_it is not None or said.wanted(item) is Wanted.SUBSCRIBED:  # a signup needs no scope to read lists
            is_on_it = (item.person_id, asked.list_id) in (on_it or ())
            decision = decide(_situation(run, item, held, leaves, is_on_it))
        decided[item.id].append(Look(item, leaves, decision))
    return decided


def _writes(looks: list[Look], rest: list[Decision], held: Held) -> list[Write]:
    """The calls that a consent needs, in the order in which they are made."""
    found: list[Write] = []
    for place, (item, leaves, decision) in enumerate(sorted(looks, key=lambda look: look.decision.list_id or "")):
        person, list_id = item.person_id, decision.list_id
        signup = held.signups.get(person, {}).get(list_id, leaves)
        is_last = place == len(looks) - 1
        then = _result(item, leaving.told_after(rest)) if is_last else None
        profile, link = held.found.get(person), held.links.get(person)
        found.append(Write(item, profile, decision.step, list_id, link, signup, then))
    return found


def _result(item: Item, decision: Decision) -> Result:
    assert decision.reason is not None
    if decision.step is Step.WAIT and decision.until is not None:
        if decision.until >= item.expires_at and decision.reason is Reason.NOT_IN_KLAVIYO:
            return settle.skipped(Reason.NOT_IN_KLAVIYO)
        return settle.waiting(decision.reason, decision.until)
    if decision.step is Step.DELIVERED:
        return Result(Status.DELIVERED, decision.reason)
    return settle.skipped(decision.reason)


def _settle(run: Run, results: dict[int, Result]) -> None:
    run.write(lambda session: settle.settle(session, run.connection, Kind.CONSENT, results))


def next_due_at(run: Run) -> datetime | None:
    """When the lane has something to do next: a consent, or a withdrawal to read back."""
    check_at = readback.next_check_at(run)
    if check_at is not None and not run.grant.scopes >= NEEDS:
        # Nothing is read back until the scopes are there: a reconnect starts the lane, else it looks now and then.
        check_at = max(check_at, clock.now() + readback.AFTER)
    moments = [choose.next_due_at(run, Kind.CONSENT), check_at]
    return min((moment for moment in moments if moment is not None), default=None)
