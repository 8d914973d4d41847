"""Sending what was decided: withdrawals first, one call for each list, a thousand signups or a hundred withdrawals.

In the commit that takes the budget everybody is looked at once more: who was erased meanwhile, or said something newer,
is left out and decided anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs import creations, settle
from jobs.choose import Item
from jobs.consents import readback, said, signups
from jobs.consents.decide import Sent, Step
from jobs.lookup import Link
from jobs.outcomes import REFUSALS, Outcome, outcome
from jobs.refused import told_apart
from jobs.run import Hold, Run
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import Kind
from webapp.dialects import among
from webapp.klaviyo import endpoints, payloads
from webapp.klaviyo.answers import Answer
from webapp.klaviyo.client import Call
from webapp.klaviyo.parse import FoundProfile
from webapp.klaviyo.payloads import ProfileWrite
from webapp.models import Connection, Person, ProfileLink
from webapp.services.oauth.grants import GrantEnded, GrantUnavailable
from webapp.upserts import upsert

UNKNOWN_LOOK = timedelta(seconds=5)
AT_MOST = {Step.SUBSCRIBE: payloads.SUBSCRIBED_AT_ONCE, Step.UNSUBSCRIBE: payloads.UNSUBSCRIBED_AT_ONCE}


@dataclass(frozen=True, slots=True)
class Write:
    """A consent that is to be written, and where to. `link`, and our `signup` for that list, as they were before.

    `then`: what it comes to when Klaviyo takes this; None where it is to be written to another list after this one.
    """

    item: Item
    profile: FoundProfile | None
    step: Step
    list_id: str | None
    link: Link | None
    signup: Sent | None
    then: Result | None


def send(run: Run, writes: list[Write]) -> None:
    """Write these consents and record what came of them; as many as there is time for, the others stay due.

    Raises Hold.
    """
    groups: dict[tuple[Step, str | None], list[Write]] = defaultdict(list)
    for write in writes:
        groups[write.step, write.list_id].append(write)
    order = sorted(groups, key=lambda key: (key[0] is not Step.UNSUBSCRIBE, key[1] or ""))
    got_on = False
    for what, list_id in order:
        group, size = groups[what, list_id], AT_MOST[what]
        for start in range(0, len(group), size):
            if got_on and not run.may_ask_on():
                return
            got_on |= _send_group(run, what, list_id, group[start : start + size], got_on=got_on)


def _send_group(run: Run, what: Step, list_id: str | None, wanted: Sequence[Write], *, got_on: bool) -> bool:
    """One call, or of one that is refused several; whether anything came of it that the next drain begins behind.

    `got_on`: something has by now.
    """
    writes, mark = _reserve(run, what, list_id, wanted)
    if not writes:
        return False
    answer = _call(run, what, list_id, writes, mark)
    came = outcome(answer)
    if came is Outcome.AGAIN:
        raise run.hold_after([answer])
    if came in REFUSALS and len(writes) > 1:
        return _refused_whole(run, what, list_id, writes, answer, got_on=got_on)
    is_gone = came is Outcome.GONE and list_id is not None
    results = {write.item.id: _outcome(write, answer, is_gone=is_gone) for write in writes}
    ends = {delivery_id: result for delivery_id, result in results.items() if result is not None}

    known_before = {write.item.person_id for write in writes if write.link is not None and write.link.klaviyo_id}

    def work(session: Session) -> None:
        if came is Outcome.DONE and what is Step.UNSUBSCRIBE:
            signups.withdrawn(session, run, {write.item.person_id: write.item.id for write in writes}, list_id)
        settle.settle(session, run.connection, Kind.CONSENT, ends, attempts=1)
        if came is Outcome.DONE and what is Step.SUBSCRIBE:
            # Who was there before may be so still: the next look-up decides by which profile it finds, and its age.
            made = [id_ for id_ in _strangers(writes) if id_ not in known_before]
            creations.mark_created(session, run, made, resolved=made, to_list=False)
        if is_gone:
            missing = update(Connection).where(Connection.id == run.connection.id, Connection.list_id == list_id)
            session.execute(missing.values(list_missing_at=clock.now()))

    run.write(work, failures=0 if answer.ok else run.lane.failures)
    if came is Outcome.UNKNOWN:
        raise run.back_off()
    return True


def _refused_whole(
    run: Run, what: Step, list_id: str | None, writes: Sequence[Write], answer: Answer, *, got_on: bool
) -> bool:
    """One bad record never fails its neighbours: named ones are taken out, else it goes on in halves."""
    named, left = told_apart(answer, writes)
    results = {writes[place].item.id: settle.failed(Reason.REJECTED, detail) for place, detail in named.items()}
    if results:
        run.write(lambda session: settle.settle(session, run.connection, Kind.CONSENT, results, attempts=1))
    got_on |= bool(results)
    for part in left:
        if got_on and not run.may_ask_on():
            break
        got_on |= _send_group(run, what, list_id, part, got_on=got_on)
    return got_on


def _reserve(run: Run, what: Step, list_id: str | None, wanted: Sequence[Write]) -> tuple[list[Write], datetime]:
    """The budget of one call, and a note of what may arrive by it; those for whom it is still right.

    With them the mark of those whom it may create, see `creations.note`.
    """
    endpoint = endpoints.SUBSCRIBE if what is Step.SUBSCRIBE else endpoints.UNSUBSCRIBE

    def work(session: Session) -> tuple[list[Write], datetime]:
        if any(write.profile is None for write in wanted):
            run.check_creates(session)
        if what is Step.SUBSCRIBE:
            run.check_list(session)
        writes, mark = _still_meant(session, run, wanted), clock.now()
        if not writes:
            return [], mark
        run.reserve(session, endpoint)
        if what is Step.SUBSCRIBE:
            mark = creations.note(session, run, _strangers(writes))
            _note_sent(session, run, [(write.item.person_id, clock.now(), list_id) for write in writes])
            signups.note(session, run, [write.item.person_id for write in writes], list_id)
        else:
            readback.note(session, run, [(write.item.person_id, write.item.id) for write in writes], list_id)
            back = [(write.item.person_id, write.item.id, write.signup) for write in writes if write.signup]
            signups.note_withdrawn(session, run, back, list_id)
        return writes, mark

    return run.write(work)


def _strangers(writes: Sequence[Write]) -> list[int]:
    """Whom a signup would create in Klaviyo; it puts them on the list itself, as far as the opt-in lets it."""
    return [write.item.person_id for write in writes if write.profile is None]


def _still_meant(session: Session, run: Run, wanted: Sequence[Write]) -> list[Write]:
    """Without those who were erased or said something else since they were read: those wait for the next step."""
    ids = [write.item.person_id for write in wanted]
    statement = select(Person.id, Person.consents).where(among(session, Person.id, ids), Person.email.is_not(None))
    held = {row.id: row.consents for row in session.execute(statement)}
    return [
        write
        for write in wanted
        if write.item.person_id in held and not said.is_superseded(run, write.item, held[write.item.person_id])
    ]


def _body(run: Run, what: Step, writes: Sequence[Write], list_id: str | None) -> Call:
    profiles = [ProfileWrite(w.profile.id if w.profile else None, w.item.email) for w in writes]
    if what is Step.SUBSCRIBE:
        return payloads.subscribe(profiles, list_id, said.source(run))
    return payloads.unsubscribe(profiles, list_id)


def _call(run: Run, what: Step, list_id: str | None, writes: list[Write], mark: datetime) -> Answer:
    """One reserved call. Its note is taken back where Klaviyo certainly did not take it."""
    deliveries = [write.item.id for write in writes]
    try:
        answer = run.send(_body(run, what, writes, list_id), size=len(writes), deliveries=deliveries)
    except (Hold, GrantEnded, GrantUnavailable):  # it was answered 401, and there was no asking once more
        _take_back(run, what, list_id, writes, mark)
        raise
    if outcome(answer) not in {Outcome.DONE, Outcome.UNKNOWN}:
        _take_back(run, what, list_id, writes, mark)
    return answer


def _take_back(run: Run, what: Step, list_id: str | None, writes: Sequence[Write], mark: datetime) -> None:
    """Klaviyo certainly did not take it: a later look must not believe that it may still arrive."""
    before = {write.item.person_id: write.signup for write in writes}

    def work(session: Session) -> None:
        if what is Step.SUBSCRIBE:
            signups.not_sent(session, run, before, list_id)
            _not_sent(session, run, writes, mark)
        else:
            signups.not_withdrawn(session, run, before, list_id)
            readback.forget(session, run, [write.item.id for write in writes])

    run.write(work)


def _outcome(write: Write, answer: Answer, *, is_gone: bool) -> Result | None:
    if is_gone:
        return settle.failed(Reason.REJECTED, "The chosen list no longer exists in Klaviyo.")
    if outcome(answer) is Outcome.DONE:
        return write.then
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


def _not_sent(session: Session, run: Run, writes: Sequence[Write], mark: datetime) -> None:
    """Klaviyo certainly did not take these subscribes: everything is as before."""
    before = [
        (w.item.person_id, *((w.link.subscribed_at, w.link.subscribed_list_id) if w.link else (None, None)))
        for w in writes
    ]
    _note_sent(session, run, before)
    creations.note_refused(session, run, _strangers(writes), mark)
