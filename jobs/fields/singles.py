"""Few people: a PATCH each by id, a profile-import each for those who are to be created; up to eight at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import batches, creations, lookup, settle
from jobs.fields import converge, list_step
from jobs.fields.plan import Group, Step
from jobs.outcomes import Outcome, as_read, outcome
from jobs.run import AT_ONCE, Run
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.dialects import among
from webapp.klaviyo import endpoints, parse, payloads
from webapp.klaviyo.answers import Answer
from webapp.klaviyo.client import Call
from webapp.klaviyo.endpoints import Endpoint
from webapp.models import Batch, BatchOutcome, ProfileLink
from webapp.upserts import upsert_resetting

CONFLICTS = 3  # two profiles that each name the other end here
OPEN = frozenset({Outcome.DONE, Outcome.UNKNOWN})  # after these somebody may have been created
Written = tuple[Group, Answer]


Also = Callable[[Session, Sequence[Group]], None]


def send(run: Run, groups: Sequence[Group], also: Also | None = None) -> None:
    """Write these people, as many as the time slice and the budget allow; the rest stays due.

    `also` belongs to the commit that opens a batch, with the people in it.
    """
    for endpoint, step in ((endpoints.PROFILE_PATCH, Step.UPDATE), (endpoints.PROFILE_IMPORT, Step.CREATE)):
        left = [group for group in groups if group.step is step]
        while left:
            sent = _some(run, endpoint, left[:AT_ONCE], also)
            left = left[sent:]
            if left and not run.time_left():
                return


def _some(run: Run, endpoint: Endpoint, wanted: Sequence[Group], also: Also | None) -> int:
    """As many calls at once as there is budget for; how many."""

    def work(session: Session) -> tuple[Batch, list[Group], datetime]:
        run.check_people(session, [group.person_id for group in wanted])
        if endpoint is endpoints.PROFILE_IMPORT:
            run.check_creates(session)
        taken = run.reserve(session, endpoint, len(wanted))
        groups = list(islice(wanted, taken))
        mark = creations.note(session, run, [group.person_id for group in groups if group.step is Step.CREATE])
        if also is not None:
            also(session, groups)
        members = [group.member for group in groups]
        return batches.open_batch(session, run, endpoint, members, size=len(groups)), groups, mark

    batch, groups, mark = run.write(work)
    answers = run.send_all(
        [_call(endpoint, group) for group in groups],
        [1] * len(groups),
        batch,
        [[item.id for item in group.items] for group in groups],
    )
    pairs = [(group, _as_read(group, answer)) for group, answer in zip(groups, answers, strict=True)]
    done = [pair for pair in pairs if outcome(pair[1]) is Outcome.DONE]
    values = {"failures": 0} if done else {}
    listed = run.write(lambda session: _record(session, run, batch, pairs, done, mark), **values)
    if listed:
        list_step.add(run, listed)
    again = [answer for _, answer in pairs if outcome(answer) in {Outcome.AGAIN, Outcome.UNKNOWN}]
    if again:
        raise run.hold_after(again)
    run.lane.failures = 0
    return len(groups)


def _call(endpoint: Endpoint, group: Group) -> Call:
    assert group.write is not None
    is_patch = endpoint is endpoints.PROFILE_PATCH
    return payloads.patch_profile(group.write) if is_patch else payloads.import_profile(group.write)


def _as_read(group: Group, answer: Answer) -> Answer:
    """Of whoever was created the answer must say who they are in Klaviyo; of the others we know."""
    return answer if group.step is Step.UPDATE else as_read(answer, parse.profile_id, parse.profile_created_at)


def _record(
    session: Session, run: Run, batch: Batch, pairs: list[Written], done: list[Written], mark: datetime
) -> list[Group]:
    """Everything that came of the calls; the people created, or owed to the list, are given back for the list step."""
    listed = _written(session, run, done, mark)
    results: dict[int, Result] = {}
    again: list[int] = []
    for group, answer in pairs:
        if group.person_id in listed:  # the list step comes next, and settles these: the call that wrote them stays
            result = settle.waiting(Reason.BACKLOG, clock.now())
        else:
            result = _result(session, run, group, answer)
            if result.status is Status.WAITING and not group.items:
                again.append(group.person_id)
        results |= group.results(result)
    settle.settle(session, run.connection, Kind.FIELDS, results, attempts=1, batch_id=batch.id)
    unknown = [group.person_id for group, answer in pairs if outcome(answer) is Outcome.UNKNOWN]
    if unknown:
        converge.unsettle(session, run, unknown)
    certain = [g.person_id for g, answer in pairs if g.step is Step.CREATE and outcome(answer) not in OPEN]
    creations.note_refused(session, run, certain, mark)
    # Whoever is written once more has no delivery that waits for it: the mark is put back.
    not_allowed = [g.person_id for g, answer in pairs if not g.items and outcome(answer) is Outcome.SCOPE_MISSING]
    for untaken, pause in ((again, timedelta()), (not_allowed, converge.SCOPE_LOOK)):
        if untaken:
            converge.unsettle(session, run, untaken, pause)
    converge.after_write(session, run, [group for group, _ in done], batch.started_at)
    batches.close(session, run, batch, BatchOutcome.ACCEPTED if done else BatchOutcome.REJECTED)
    return [group for group, _ in done if group.person_id in listed]


def _written(session: Session, run: Run, done: list[Written], mark: datetime) -> set[int]:
    """Remember what was written; the people who are owed to the list."""
    now = clock.now()
    rows = [
        {
            "connection_id": run.held.connection_id,
            "person_id": group.person_id,
            "found": True,
            "klaviyo_id": _id_of(group, answer),
            "looked_up_at": now,
            "fields_version": group.version,
        }
        for group, answer in sorted(done, key=lambda pair: pair[0].person_id)
    ]
    if rows:
        _remember(session, rows)
    made = {group.person_id: answer for group, answer in done if group.step is Step.CREATE}
    since = creations.of_others(session, run, made, mark) if made else {}
    ours = [person_id for person_id, answer in made.items() if _is_ours(answer, since.get(person_id))]
    found = {person_id: at for person_id, at in since.items() if made[person_id].status != 201}
    signed_up = creations.by_signup(session, run, found) if found else set()
    creations.mark_created(session, run, [p for p in ours if p in signed_up], resolved=[], to_list=False)
    creations.mark_created(session, run, [p for p in ours if p not in signed_up], resolved=list(made))
    return list_due(session, run, [group.person_id for group, _ in done])


def _remember(session: Session, rows: list[dict[str, object]]) -> None:
    """Who they are in Klaviyo, and the version written there; if they are another than before, no more than that."""
    changed = ["found", "klaviyo_id", "looked_up_at", "fields_version"]
    reset = {name: value for name, value in lookup.OF_THE_PROFILE.items() if name not in changed}
    key = ["connection_id", "person_id"]
    statement = upsert_resetting(
        session, ProfileLink.__table__, key=key, update=changed, reset=reset, unless_same="klaviyo_id"
    )
    session.execute(statement, rows)


def _id_of(group: Group, answer: Answer) -> str:
    known = group.write.id if group.write is not None else None
    return known or parse.profile_id(answer.json)


def _is_ours(answer: Answer, since: datetime | None) -> bool:
    """201, or there already by another call of ours, made at `since`, whose answer never came."""
    return answer.status == 201 or creations.born_by(parse.profile_created_at(answer.json), since)


def list_due(session: Session, run: Run, person_ids: list[int]) -> set[int]:
    """Which of these people we created and still owe to the chosen list."""
    statement = select(ProfileLink.person_id).where(
        ProfileLink.connection_id == run.held.connection_id,
        among(session, ProfileLink.person_id, person_ids),
        ProfileLink.list_due,
    )
    return set(session.scalars(statement))


def _result(session: Session, run: Run, group: Group, answer: Answer) -> Result:
    """What an answer means for the person's deliveries, or for the mark of whoever is written once more."""
    match outcome(answer):
        case Outcome.DONE:
            return settle.DELIVERED
        case Outcome.AGAIN | Outcome.UNKNOWN:
            reason = Reason.RATE_LIMITED if answer.status == 429 else Reason.RETRYING
            return settle.waiting(reason, clock.now(), answer.sentence)
        case Outcome.SCOPE_MISSING:
            return settle.skipped(Reason.SCOPE_MISSING)
        case Outcome.GONE:
            lookup.forget(session, run, [group.person_id])
            attempts = max((item.attempts for item in group.items), default=0)
            if lookup.was_asked_again(run, group.link, attempts) or _is_another(group):
                return settle.skipped(Reason.NOT_IN_KLAVIYO)
            return settle.waiting(Reason.RETRYING, clock.now(), answer.sentence)
        case Outcome.CONFLICT:
            return _conflict(session, run, group, answer)
        case Outcome.TOO_LARGE:
            return settle.failed(Reason.PAYLOAD_TOO_LARGE, answer.sentence)
    return settle.failed(Reason.REJECTED, answer.sentence)


def _is_another(group: Group) -> bool:
    """Written once more, and nothing was written there yet: found or named in place of one that was gone.

    If that one is gone as well, or names yet another, nobody goes on for ever: it goes with what comes of them next.
    """
    return not group.items and group.link is not None and group.link.fields_version == 0


def _conflict(session: Session, run: Run, group: Group, answer: Answer) -> Result:
    """Somebody else has this address: Klaviyo names them, and the next look writes there."""
    named = (error.meta.get("duplicate_profile_id") for error in answer.errors)
    duplicate = next((str(found) for found in named if found), "")
    written_there = group.link is not None and group.link.found and group.link.klaviyo_id == duplicate
    too_often = _is_another(group) or any(item.attempts >= CONFLICTS for item in group.items)
    if not duplicate or written_there or too_often:
        return settle.failed(Reason.REJECTED, answer.sentence)
    row = {
        "connection_id": run.held.connection_id,
        "person_id": group.person_id,
        "found": True,
        "klaviyo_id": duplicate,
        "looked_up_at": clock.now(),
        "fields_version": 0,  # whatever it has, everything is written there
    }
    _remember(session, [row])
    return settle.waiting(Reason.RETRYING, clock.now(), answer.sentence)
