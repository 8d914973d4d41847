"""Many people: one import job, followed to its end. Until then its people wait and are in no other write."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs import batches, lookup, settle
from jobs.fields import converge, halves, singles
from jobs.fields.plan import JOB_LOOK, Group, Step
from jobs.outcomes import Outcome, outcome
from jobs.run import Run
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading
from webapp.dialects import among, db_now
from webapp.klaviyo import endpoints, parse, payloads
from webapp.klaviyo.answers import Answer
from webapp.models import Batch, BatchOutcome, Delivery, Person, ProfileLink

FIRST_LOOK_SECONDS = 1.0
LONGEST_LOOK_SECONDS = 30.0


def send(run: Run, groups: list[Group], half: Batch | None = None) -> None:
    """One import job for these people, looked up in this drain; `half`: the open batch that they are left of."""

    def work(session: Session) -> Batch:
        created = [group for group in groups if group.step is Step.CREATE]
        if created:
            run.check_creates(session)
        run.check_people(session, [group.person_id for group in groups])
        run.reserve(session, endpoints.IMPORT_JOB)
        lookup.note_creating(session, run, {group.person_id: group.link for group in created})
        return halves.about_to_send(session, run, half, groups)

    batch = run.write(work)
    writes = [group.write for group in groups if group.write is not None]
    answer = run.send(payloads.import_job(writes), size=len(writes), batch=batch)
    match outcome(answer):
        case Outcome.DONE:
            run.write(lambda session: _accepted(session, run, batch, groups, answer), failures=0)
            run.lane.failures = 0
        case Outcome.AGAIN:
            left = [groups] if half is not None else []
            run.write(lambda session: _refused(session, run, batch, groups, {}, left))
            raise run.hold_after([answer])
        case Outcome.UNKNOWN:
            run.write(lambda session: _lost(session, run, batch))
            raise run.back_off()
        case Outcome.SCOPE_MISSING:
            results = _all(groups, settle.skipped(Reason.SCOPE_MISSING))
            run.write(lambda session: _refused(session, run, batch, groups, results))
        case _:
            _refused_whole(run, batch, groups, answer)


def _all(groups: Sequence[Group], result: settle.Result) -> dict[int, settle.Result]:
    return {id_: value for group in groups for id_, value in group.results(result).items()}


def _accepted(session: Session, run: Run, batch: Batch, groups: Sequence[Group], answer: Answer) -> None:
    job = parse.import_job(answer.json)
    batches.accept_job(session, run, batch, job.id, FIRST_LOOK_SECONDS)
    _date_creations(session, run, groups, job.created_at)
    statement = update(ProfileLink).where(
        ProfileLink.connection_id == run.held.connection_id,
        among(session, ProfileLink.person_id, [group.person_id for group in groups]),
    )
    session.execute(statement.values(job_batch_id=batch.id))
    waiting = settle.waiting(Reason.KLAVIYO_PROCESSING, clock.now() + JOB_LOOK)
    settle.settle(session, run.connection, Kind.FIELDS, _all(groups, waiting), attempts=1, batch_id=batch.id)


def _date_creations(session: Session, run: Run, groups: Sequence[Group], created_at: datetime | None) -> None:
    """Born at or after the job is ours, by Klaviyo's own clock: nobody's doubt about clocks is needed here."""
    if created_at is None:
        return
    mine = ProfileLink.connection_id == run.held.connection_id
    fresh = [g.person_id for g in groups if g.step is Step.CREATE and (g.link is None or g.link.creating_since is None)]
    born_since = created_at.replace(microsecond=0) + lookup.CLOCKS
    statement = update(ProfileLink).where(mine, among(session, ProfileLink.person_id, fresh))
    session.execute(statement.values(creating_since=born_since))


def _lost(session: Session, run: Run, batch: Batch) -> None:
    """It may be under way: its people are written again, and once more when that is settled."""
    converge.unsettle(session, run, [member[0] for member in batches.members(batch)])
    batches.close(session, run, batch, BatchOutcome.LOST)


def _refused(
    session: Session,
    run: Run,
    batch: Batch,
    groups: Sequence[Group],
    results: dict[int, settle.Result],
    left: Sequence[Sequence[Group]] = (),
) -> None:
    """Klaviyo took nothing of it; `left` goes on, each part a batch."""
    missing = {group.person_id: group.link for group in groups if group.step is Step.CREATE}
    lookup.note_refused(session, run, missing)
    settle.settle(session, run.connection, Kind.FIELDS, results, attempts=1, batch_id=batch.id)
    halves.leave(session, run, batch, left)


def _refused_whole(run: Run, batch: Batch, groups: list[Group], answer: Answer) -> None:
    """Named ones are out, and the others go again; else in halves, and in the end one by one, which tells who it is."""
    places = {}
    for error in answer.errors:
        place = parse.pointed_profile(error.pointer)
        if place is not None and place < len(groups):
            places[place] = error.detail
    results = {
        id_: result
        for place, detail in places.items()
        for id_, result in groups[place].results(settle.failed(Reason.REJECTED, detail)).items()
    }
    half = len(groups) // 2
    left = [groups[:half], groups[half:]]
    if places:
        left = [[group for place, group in enumerate(groups) if place not in places]]
    run.write(lambda session: _refused(session, run, batch, groups, results, left))


def confirm_next(run: Run) -> bool:
    """Ask about one import job that may be complete; whether there was one."""
    with reading() as session:
        due = batches.due_jobs(session, run.held.lane_id, 1)
    if not due:
        return False
    batch = due[0]
    # Whatever comes of asking, the lane's other work comes before the next look.
    run.write(lambda session: _look_later(session, batch))
    answer = run.call(payloads.import_job_status(str(batch.job_id)), size=batch.size)
    if outcome(answer) in {Outcome.GONE, Outcome.SCOPE_MISSING}:
        gone = outcome(answer) is Outcome.GONE
        result = settle.waiting(Reason.RETRYING, clock.now()) if gone else settle.skipped(Reason.SCOPE_MISSING)
        run.write(lambda session: _end(session, run, batch, {}, lost=result))
        return True
    if outcome(answer) is not Outcome.DONE:
        raise run.back_off()
    job = parse.import_job(answer.json)
    if not job.is_over:
        return True
    failed = _errors(run, batch) if job.failed else {}
    _find_ours(run, batch)
    lost = settle.waiting(Reason.RETRYING, clock.now()) if job.status == "cancelled" else None
    run.write(lambda session: _end(session, run, batch, failed, lost=lost))
    return True


def _look_later(session: Session, batch: Batch) -> None:
    age = (clock.now() - batch.started_at).total_seconds()
    pause = min(LONGEST_LOOK_SECONDS, max(FIRST_LOOK_SECONDS, age / 2))
    session.execute(update(Batch).where(Batch.id == batch.id).values(job_due_at=db_now(pause)))


def _errors(run: Run, batch: Batch) -> dict[int, str]:
    """Place in the body -> Klaviyo's sentence, of everybody who was not taken."""
    found: dict[int, str] = {}
    cursor: str | None = None
    while True:
        answer = run.call(payloads.import_job_errors(str(batch.job_id), cursor), size=batch.size)
        if outcome(answer) is not Outcome.DONE:
            raise run.back_off()
        page, cursor = parse.import_errors(answer.json)
        found.update(page)
        if cursor is None:
            return found


def _find_ours(run: Run, batch: Batch) -> None:
    """Whoever was missing before the job is looked up now: `lookup` claims those born since as ours."""
    person_ids = [member[0] for member in batches.members(batch)]
    with reading() as session:
        statement = (
            select(Person.id, Person.email)
            .join(ProfileLink, ProfileLink.person_id == Person.id)
            .where(
                ProfileLink.connection_id == run.held.connection_id,
                ProfileLink.creating_since.is_not(None),
                among(session, Person.id, person_ids),
                Person.email.is_not(None),
            )
        )
        missing = {row.id: str(row.email) for row in session.execute(statement)}
    if not missing:
        return
    try:
        lookup.look_up(run, missing)
    except lookup.MayNotLook:
        return  # whose they are stays open until somebody may look again; what was written is written


def _end(
    session: Session, run: Run, batch: Batch, failed: dict[int, str], *, lost: settle.Result | None = None
) -> None:
    """The job is over: what it wrote is delivered, what it refused failed, what is owed to the list stays due.

    `lost`: nobody knows what it wrote, and what its people become.
    """
    members: list[Any] = batches.members(batch)
    mine = ProfileLink.connection_id == run.held.connection_id
    people = [member[0] for member in members]
    session.execute(
        update(ProfileLink).where(mine, among(session, ProfileLink.person_id, people)).values(job_batch_id=None)
    )
    results: dict[int, settle.Result] = {}
    written: list[list[Any]] = []
    for place, member in enumerate(members):
        if lost is not None:
            result = lost
        elif place in failed:
            result = settle.failed(Reason.REJECTED, failed[place])
        else:
            result = settle.DELIVERED
            written.append(member)
        results |= dict.fromkeys(member[2], result)
    _release(session, run, people)
    owed = _note_written(session, run, written)
    for member in written:
        if member[0] in owed:  # the list step comes next, and settles these
            results |= dict.fromkeys(member[2], settle.waiting(Reason.BACKLOG, clock.now()))
    refused = [member[0] for place, member in enumerate(members) if place in failed and not lost]
    lookup.mark_created(session, run, [], resolved=refused)
    settle.settle(session, run.connection, Kind.FIELDS, results, batch_id=batch.id)
    if lost is not None:
        converge.unsettle(session, run, people)
    ended = update(Batch).where(Batch.id == batch.id)
    session.execute(ended.values(job_due_at=None, members=None, finished_at=clock.now()))


def _release(session: Session, run: Run, people: Sequence[int]) -> None:
    """What came of these people while the job was under way is due now, not at the next look."""
    waiting = (
        among(session, Delivery.person_id, people),
        Delivery.connection_id == run.held.connection_id,
        Delivery.kind == Kind.FIELDS,
        Delivery.status == Status.WAITING,
        Delivery.reason == Reason.KLAVIYO_PROCESSING,
    )
    released = update(Delivery).where(*waiting).values(due_at=db_now())
    session.execute(released.execution_options(synchronize_session=False))


def _note_written(session: Session, run: Run, written: list[list[Any]]) -> set[int]:
    """Remember the versions written, by groups of the same version; the people who are owed to the list."""
    by_version: dict[int, list[int]] = {}
    for person_id, version, _ in written:
        by_version.setdefault(version, []).append(person_id)
    mine = ProfileLink.connection_id == run.held.connection_id
    for version, person_ids in sorted(by_version.items()):
        statement = update(ProfileLink).where(mine, among(session, ProfileLink.person_id, person_ids))
        session.execute(statement.values(fields_version=version))
    return singles.list_due(session, run, [member[0] for member in written])
