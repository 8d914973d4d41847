"""The consents lane: every person's marketing state is read just before anything is decided.

A subscribe of unknown outcome needs no batch of its own: it is noted on the profile link before the call, so that the
next look knows it may have arrived, and it is settled by reading.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from sqlalchemy.orm import Session

from jobs import choose, lookup, settle
from jobs.choose import Item
from jobs.consents import readback
from jobs.consents.decide import Decision, InKlaviyo, Sent, Situation, Step, Wanted, decide
from jobs.consents.members import members_of
from jobs.lookup import Link
from jobs.outcomes import Outcome, outcome
from jobs.run import Run
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import upsert
from webapp.klaviyo import payloads
from webapp.klaviyo.answers import Answer
from webapp.klaviyo.parse import FoundProfile
from webapp.klaviyo.payloads import ProfileWrite
from webapp.models import ProfileLink

CHOSEN = 100
NEEDS = frozenset({"profiles:read", "profiles:write", "lists:write", "subscriptions:write"})
UNKNOWN_LOOK = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Write:
    """A consent that is to be written, and where to. `link` as it was before."""

    item: Item
    profile: FoundProfile | None
    step: Step
    list_id: str | None
    link: Link | None


def step(run: Run) -> bool:
    """Look at the next due consents; whether there were any."""
    items = choose.due(run, Kind.CONSENT, CHOSEN)
    if not items:
        return run.grant.scopes >= NEEDS and readback.check_next(run)
    if not run.grant.scopes >= NEEDS:
        _settle(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items})
        return True
    results, open_items = _without_calls(items)
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
    decided = [(item, _decision(run, item, found, links)) for item in open_items]
    decided = _with_membership(run, decided, found, links)
    results, writes = {}, []
    for item, decision in decided:
        if decision.step in {Step.SUBSCRIBE, Step.UNSUBSCRIBE}:
            person = item.person_id
            writes.append(Write(item, found.get(person), decision.step, decision.list_id, links.get(person)))
        else:
            results[item.id] = _result(item, decision)
    if results:
        _settle(run, results)
    _send(run, writes)
    return True


def _wanted(item: Item) -> Wanted:
    return Wanted(orjson.loads(item.consent or "{}")["state"])


def _newest(item: Item) -> tuple[datetime, int]:
    held = orjson.loads(item.consents_text).get("email")
    if held is None:
        return item.occurred_at, item.activity_id
    return datetime.fromisoformat(held["occurred_at"]), int(held["activity_id"])


def _without_calls(items: list[Item]) -> tuple[dict[int, Result], list[Item]]:
    """Erased, superseded and expired ones are settled without asking Klaviyo."""
    now = clock.now()
    results: dict[int, Result] = {}
    for item in items:
        if item.email is None or item.consent is None:
            results[item.id] = settle.skipped(Reason.ERASED)
        elif (item.occurred_at, item.activity_id) < _newest(item):
            results[item.id] = settle.skipped(Reason.SUPERSEDED)
        elif item.expires_at <= now:
            results[item.id] = settle.skipped(Reason.NOT_IN_KLAVIYO)
    return results, [item for item in items if item.id not in results]


def _situation(
    run: Run,
    item: Item,
    found: dict[int, FoundProfile],
    links: dict[int, Link],
    on_list: bool | None = None,
) -> Situation:
    link, profile = links.get(item.person_id), found.get(item.person_id)
    sent = Sent(link.subscribed_at, link.subscribed_list_id) if link and link.subscribed_at else None
    there = None
    if profile is not None:
        there = InKlaviyo(profile.id, profile.is_subscribed, profile.opted_out_at, profile.consented_at)
    return Situation(
        wanted=_wanted(item),
        occurred_at=item.occurred_at,
        activity_id=item.activity_id,
        newest=_newest(item),
        behavior=run.connection.sync_behavior,
        list_id=run.connection.list_id,
        sent=sent,
        profile=there,
        accepted_at=item.accepted_at,
        now=clock.now(),
        on_list=on_list,
    )


def _decision(run: Run, item: Item, found: dict[int, FoundProfile], links: dict[int, Link]) -> Decision:
    return decide(_situation(run, item, found, links))


def _with_membership(
    run: Run,
    decided: list[tuple[Item, Decision]],
    found: dict[int, FoundProfile],
    links: dict[int, Link],
) -> list[tuple[Item, Decision]]:
    """Ask which of those who leave a list are on it, then decide those again."""
    by_list: dict[str, list[Item]] = defaultdict(list)
    for item, decision in decided:
        if decision.step is Step.CHECK_MEMBERSHIP and decision.list_id:
            by_list[decision.list_id].append(item)
    members: set[int] = set()
    for list_id, items in by_list.items():
        on_it = members_of(run, list_id, {item.person_id: str(item.email) for item in items})
        members |= {item.id for item in items if item.person_id in on_it}
    again = {item.id for items in by_list.values() for item in items}
    return [
        (
            item,
            decide(_situation(run, item, found, links, item.id in members)) if item.id in again else decision,
        )
        for item, decision in decided
    ]


def _result(item: Item, decision: Decision) -> Result:
    assert decision.reason is not None
    if decision.step is Step.WAIT and decision.until is not None:
        if decision.until >= item.expires_at:
            return settle.skipped(Reason.NOT_IN_KLAVIYO)
        return settle.waiting(decision.reason, decision.until)
    if decision.step is Step.DELIVERED:
        return Result(Status.DELIVERED, decision.reason)
    return settle.skipped(decision.reason)


def _send(run: Run, writes: list[Write]) -> None:
    """Withdrawals first; one call for each list; one person only once in a call."""
    groups: dict[tuple[Step, str | None], list[Write]] = defaultdict(list)
    for write in writes:
        groups[write.step, write.list_id].append(write)
    order = sorted(groups, key=lambda key: (key[0] is not Step.UNSUBSCRIBE, key[1] or ""))
    for key in order:
        _send_group(run, key[0], key[1], groups[key])


def _send_group(run: Run, what: Step, list_id: str | None, writes: list[Write]) -> None:
    answer = _call(run, what, list_id, writes)
    came = outcome(answer)
    if came in {Outcome.REFUSED, Outcome.CONFLICT, Outcome.TOO_LARGE} and len(writes) > 1:
        # One call an item after a refusal of the whole, so that one bad record never fails its neighbours.
        for write in writes:
            _send_group(run, what, list_id, [write])
        return
    if came is Outcome.AGAIN:
        raise run.hold_after([answer])
    result = _outcome(answer)
    if answer.status == 404 and list_id is not None:
        result = settle.failed(Reason.REJECTED, "The chosen list no longer exists in Klaviyo.")
    results = {write.item.id: result for write in writes}
    withdrawn = [(w.item.person_id, w.item.id) for w in writes] if what is Step.UNSUBSCRIBE and answer.ok else []

    def work(session: Session) -> None:
        settle.settle(session, run.connection, Kind.CONSENT, results, attempts=1)
        readback.note(session, run, withdrawn, list_id)

    run.write(work, failures=0 if answer.ok else run.lane.failures)
    if came is Outcome.UNKNOWN:
        raise run.back_off()


def _call(run: Run, what: Step, list_id: str | None, writes: list[Write]) -> Answer:
    """One call. A subscribe is noted with its budget, before it; taken back where Klaviyo certainly did not take it."""
    profiles = [ProfileWrite(w.profile.id if w.profile else None, w.item.email) for w in writes]
    is_subscribe = what is Step.SUBSCRIBE
    call = (payloads.subscribe if is_subscribe else payloads.unsubscribe)(profiles, list_id)

    def work(session: Session) -> None:
        run.reserve(session, call.endpoint)
        if is_subscribe:
            _note_sent(session, run, [(w.item.person_id, clock.now(), list_id) for w in writes])

    run.write(work)
    answer = run.send(call, size=len(writes), deliveries=[write.item.id for write in writes])
    if is_subscribe and outcome(answer) not in {Outcome.DONE, Outcome.UNKNOWN}:
        before = [
            (w.item.person_id, *((w.link.subscribed_at, w.link.subscribed_list_id) if w.link else (None, None)))
            for w in writes
        ]
        run.write(lambda session: _note_sent(session, run, before))
    return answer


def _outcome(answer: Answer) -> Result:
    if outcome(answer) is Outcome.DONE:
        return settle.DELIVERED
    if outcome(answer) is Outcome.UNKNOWN:
        # Settled by reading: the next look finds whether it arrived.
        return settle.waiting(Reason.RETRYING, clock.now() + UNKNOWN_LOOK, answer.sentence)
    if outcome(answer) is Outcome.SCOPE_MISSING:
        return settle.skipped(Reason.SCOPE_MISSING)
    return settle.failed(Reason.REJECTED, answer.sentence)


def _note_sent(session: Session, run: Run, sent: list[tuple[int, datetime | None, str | None]]) -> None:
    """(person id, when, list) of subscribes that may have arrived, so that a withdrawal knows which list to leave."""
    rows = [
        {
            "connection_id": run.held.connection_id,
            "person_id": person_id,
            "subscribed_at": at,
            "subscribed_list_id": list_id,
        }
        for person_id, at, list_id in sorted(sent, key=lambda row: row[0])
    ]
    changed = ["subscribed_at", "subscribed_list_id"]
    key = ["connection_id", "person_id"]
    session.execute(upsert(session, ProfileLink.__table__, key=key, update=changed), rows)


def _settle(run: Run, results: dict[int, Result], attempts: int = 0) -> None:
    run.write(lambda session: settle.settle(session, run.connection, Kind.CONSENT, results, attempts=attempts))


def next_due_at(run: Run) -> datetime | None:
    """When the lane has something to do next: a consent, or a withdrawal to read back."""
    moments = [choose.next_due_at(run, Kind.CONSENT), readback.next_check_at(run)]
    return min((moment for moment in moments if moment is not None), default=None)
