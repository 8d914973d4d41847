"""What became of accepted import jobs: each is asked about until it is over; its errors go to whom they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs import batches, creations, lookup, settle
from jobs.fields import converge, halves, singles
from jobs.fields.imports import FIRST_LOOK_SECONDS
from jobs.outcomes import Outcome, as_read, is_final, outcome
from jobs.run import Hold, Run
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading
from webapp.dialects import among, among_many, db_now, unindexed, unindexed_word
from webapp.klaviyo import parse, payloads
from webapp.klaviyo.answers import Answer
from webapp.klaviyo.parse import ImportJob
from webapp.models import Batch, Delivery, Person, ProfileLink

LONGEST_LOOK_SECONDS = 30.0
# So often in its life a job may be answered for with what nobody can read, be it by something before Klaviyo: some
# ten minutes. Then it counts as one that Klaviyo does not know any more.
UNREADABLE_LOOKS = 20


def confirm_next(run: Run) -> bool:
    """Ask about one import job that may be complete; whether there was one."""
    with reading() as session:
        due = batches.due_jobs(session, run.held.lane_id, 1)
    if not due:
        return False
    batch = due[0]
    # Whatever comes of asking, the lane's other work comes before the next look.
    run.write(lambda session: _look_later(session, batch))
    answer = as_read(run.call(payloads.import_job_status(str(batch.job_id)), size=batch.size), parse.asked_job)
    if outcome(answer) is Outcome.SCOPE_MISSING and not _looked_enough(run, batch):
        return True  # what it writes is written all the same; somebody may give the scope back
    if is_final(answer) or _stays_unreadable(run, batch, answer):  # nobody knows what it wrote
        end = End(_again(), is_over=False)
    elif outcome(answer) is not Outcome.DONE:
        raise run.back_off()
    else:
        job = parse.asked_job(answer.json)
        if not job.is_over:
            return True
        end = _end_of(run, batch, job)
        end = replace(end, gone=_look_again(run, batch, end.failed))
    run.write(lambda session: _end(session, run, batch, end))
    return True


def _stays_unreadable(run: Run, batch: Batch, answer: Answer) -> bool:
    """Whether this is a 2xx without what is needed of it, and one too many for this job."""
    if not answer.ok or outcome(answer) is Outcome.DONE:
        return False
    return _looked_enough(run, batch)


def _looked_enough(run: Run, batch: Batch) -> bool:
    """Once more nobody knows how the job stands: whether that was once too often."""
    return run.write(lambda session: batches.unknown_again(session, batch)) >= UNREADABLE_LOOKS


@dataclass(frozen=True, slots=True)
class End:
    """What a job came to: the failures by place in its body, and what all its other people become.

    `is_over`: nothing more will be written by it. `mark`: of those whom it may have created, see `creations.of_job`.
    `gone`: people who failed since their profile is not there any more; they are looked at once more.
    """

    others: settle.Result
    failed: dict[int, str] = field(default_factory=dict)
    gone: frozenset[int] = frozenset()
    is_over: bool = True
    mark: datetime | None = None


def _again() -> settle.Result:
    return settle.waiting(Reason.RETRYING, clock.now())


def _end_of(run: Run, batch: Batch, job: ImportJob) -> End:
    """What a job that is over came to. Where Klaviyo does not name everybody who failed, the others go again."""
    if job.status == "cancelled":
        return End(_again(), is_over=False)
    failed = _errors(run, batch) if job.failed else {}
    others = settle.DELIVERED if len(failed) >= job.failed else _again()
    return End(others, failed, mark=creations.of_job(job.created_at, batch.started_at))


def _look_later(session: Session, batch: Batch) -> None:
    age = (clock.now() - batch.started_at).total_seconds()
    pause = min(LONGEST_LOOK_SECONDS, max(FIRST_LOOK_SECONDS, age / 2))
    session.execute(update(Batch).where(Batch.id == batch.id).values(job_due_at=db_now(pause)))


def _errors(run: Run, batch: Batch) -> dict[int, str]:
    """Place in the body -> Klaviyo's sentence, of those who were not taken, as far as it can be read."""
    if batch.finished_at is not None:  # read by the drain that saw its end first
        return {place: member[4] for place, member in enumerate(batches.members(batch)) if len(member) > 4}
    found: dict[int, str] = {}
    try:
        _read_errors(run, batch, found)
    except Hold as hold:
        # The next drain begins with the first page again: where no budget, or no drain, is ever enough, those not named
        # go again.
        if not (hold.limited and found and _looked_enough(run, batch)):
            raise
    return found


def _read_errors(run: Run, batch: Batch, found: dict[int, str]) -> None:
    """Page by page, into `found`. Raises Hold."""
    cursor: str | None = None
    while True:
        asked = run.call(payloads.import_job_errors(str(batch.job_id), cursor), size=batch.size)
        answer = as_read(asked, parse.import_errors)
        if is_final(answer) or _stays_unreadable(run, batch, answer):
            return
        if outcome(answer) is not Outcome.DONE:
            raise run.back_off()
        page, cursor = parse.import_errors(answer.json)
        found.update((place, sentence) for place, sentence in page if place < batch.size)
        if cursor is None:
            return
        if not run.may_ask_on():
            raise Hold(limited=True)


def _look_again(run: Run, batch: Batch, failed: Mapping[int, str]) -> frozenset[int]:
    """Whoever was missing before the job is looked up now: `creations` claims those born since as ours.

    So is whoever was there and failed, at these places: the people whose profile is gone, or another, are given back.
    Where the budget or the time does not last for all of them, the next drain goes on with the others. Raises Hold.
    """
    members = batches.members(batch)
    refused = {members[place][0] for place in failed}
    with reading() as session:
        columns = Person.id, Person.email, ProfileLink.klaviyo_id, ProfileLink.creating_since, ProfileLink.looked_up_at
        statement = (
            select(*columns)
            .join(ProfileLink, ProfileLink.person_id == Person.id)
            .where(
                ProfileLink.connection_id == run.held.connection_id,
                among_many(session, ProfileLink.person_id, [member[0] for member in members]),
                Person.email.is_not(None),
            )
        )
        # Asked in SQL, PostgreSQL compares everybody with each of those who failed.
        people = [r for r in session.execute(statement) if r.creating_since is not None or r.id in refused]
    if not people:
        return frozenset()
    if batch.finished_at is None:
        there = {row.id: row.klaviyo_id for row in people if row.creating_since is None}
        for place, sentence in failed.items():
            members[place] = [*members[place][:3], there.get(members[place][0]), sentence]
        run.write(lambda session: batches.note_over(session, batch, members))
    unseen = {row.id: str(row.email) for row in people if not _is_seen(batch, row.looked_up_at)}
    # Who may not be looked up: whose they are stays open until somebody may again; what was written is written.
    with suppress(lookup.MayNotLook):
        for number, bite in enumerate(lookup.bites(unseen)):
            if number and not run.may_ask_on():
                raise Hold(limited=True)
            lookup.look_up(run, bite)
    before = {member[0]: member[3] for member in members if len(member) > 4 and member[3]}
    now = lookup.known_links(run, before)
    seen = {
        link.person_id: link.klaviyo_id if link.found else None
        for link in now.values()
        if _is_seen(batch, link.looked_up_at)
    }
    return frozenset(person_id for person_id, klaviyo_id in seen.items() if klaviyo_id != before[person_id])


def _is_seen(batch: Batch, looked_up_at: datetime | None) -> bool:
    """Whether somebody was looked up since the job is known to be over."""
    return looked_up_at is not None and batch.finished_at is not None and looked_up_at >= batch.finished_at


def _end(session: Session, run: Run, batch: Batch, end: End) -> None:
    """The job ended: what it wrote is delivered, what it refused failed, what is owed to the list stays due."""
    members: list[Any] = batches.members(batch)
    mine = ProfileLink.connection_id == run.held.connection_id
    people = [member[0] for member in members]
    session.execute(
        update(ProfileLink).where(mine, among(session, ProfileLink.person_id, people)).values(job_batch_id=None)
    )
    refused = [member for place, member in enumerate(members) if place in end.failed]
    others = [member for place, member in enumerate(members) if place not in end.failed]
    # One result for all who go on alike, with one time: each result is a statement of its own.
    again, listed = _again(), settle.waiting(Reason.BACKLOG, clock.now())
    results: dict[int, settle.Result] = {}
    for place, member in enumerate(members):
        results |= dict.fromkeys(member[2], _result(end, place, member[0], again))
    _release(session, run, people)
    if end.others.status is Status.DELIVERED:
        moved = _moved(session, run, others)
        owed = _note_written(session, run, [member for member in others if member[0] not in moved])
        for member in others:
            if member[0] in moved:
                results |= dict.fromkeys(member[2], again)
            elif member[0] in owed:  # the list step comes next, and settles these
                results |= dict.fromkeys(member[2], listed)
    if end.mark is not None:
        creations.note_refused(session, run, [member[0] for member in refused], end.mark)
    settle.settle(session, run.connection, Kind.FIELDS, results, batch_id=batch.id)
    if not end.is_over:
        converge.unsettle(session, run, people, converge.JOB_SETTLES_IN)
    ended = update(Batch).where(Batch.id == batch.id)
    session.execute(ended.values(job_due_at=None, members=None, finished_at=clock.now()))
    if end.others.status is Status.WAITING:
        halves.go_again(session, run, others, halved=True)


def _result(end: End, place: int, person_id: int, again: settle.Result) -> settle.Result:
    if place not in end.failed:
        return end.others
    return again if person_id in end.gone else settle.failed(Reason.REJECTED, end.failed[place])


def _release(session: Session, run: Run, people: Sequence[int]) -> None:
    """What came of these people while the job was under way is due now, not at the next look."""
    waiting = (
        among_many(session, Delivery.person_id, people),
        unindexed(Delivery.connection_id) == run.held.connection_id,
        Delivery.kind == Kind.FIELDS,
        unindexed_word(Delivery.status) == Status.WAITING.value,
        unindexed_word(Delivery.reason) == Reason.KLAVIYO_PROCESSING.value,
    )
    released = update(Delivery).where(*waiting).values(due_at=db_now())
    session.execute(released.execution_options(synchronize_session=False))


def _moved(session: Session, run: Run, written: list[list[Any]]) -> set[int]:
    """Of these people, written by the id of a profile, those whose address another one has by now.

    That one has nothing of what the job wrote, so they are written once more.
    """
    ids = {member[0]: member[3] for member in written if len(member) > 3 and member[3]}
    statement = select(ProfileLink.person_id, ProfileLink.klaviyo_id).where(
        ProfileLink.connection_id == run.held.connection_id, among_many(session, ProfileLink.person_id, list(ids))
    )
    rows = session.execute(statement).all() if ids else []
    return {person_id for person_id, klaviyo_id in rows if klaviyo_id not in {None, ids[person_id]}}


def _note_written(session: Session, run: Run, written: list[list[Any]]) -> set[int]:
    """Remember the versions written, by groups of the same version; the people who are owed to the list."""
    by_version: dict[int, list[int]] = {}
    for person_id, version, *_ in written:
        by_version.setdefault(version, []).append(person_id)
    mine = ProfileLink.connection_id == run.held.connection_id
    for version, person_ids in sorted(by_version.items()):
        statement = update(ProfileLink).where(mine, among(session, ProfileLink.person_id, person_ids))
        session.execute(statement.values(fields_version=version))
    return singles.list_due(session, run, [member[0] for member in written])
