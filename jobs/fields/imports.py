"""Many people: one import job. Until its end, see `jobs.fields.confirm`, they wait and are in no other write."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from jobs import batches, creations, settle
from jobs.fields import converge, halves
from jobs.fields.plan import JOB_LOOK, Group, Step
from jobs.outcomes import Outcome, as_read, outcome
from jobs.refused import told_apart
from jobs.run import Run
from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import Kind
from webapp.dialects import among
from webapp.klaviyo import endpoints, parse, payloads
from webapp.klaviyo.answers import Answer
from webapp.models import Batch, BatchOutcome, ProfileLink

FIRST_LOOK_SECONDS = 1.0


def send(run: Run, groups: list[Group], half: Batch | None = None) -> None:
    """One import job for these people, looked up in this drain; `half`: the open batch that they are left of."""

    def work(session: Session) -> Batch:
        created = [group for group in groups if group.step is Step.CREATE]
        if created:
            run.check_creates(session)
        run.check_people(session, [group.person_id for group in groups])
        run.reserve(session, endpoints.IMPORT_JOB)
        batch = halves.about_to_send(session, run, half, groups)
        creations.note(session, run, [group.person_id for group in created], batch.started_at)
        return batch

    batch = run.write(work)
    writes = [group.write for group in groups if group.write is not None]
    answer = as_read(run.send(payloads.import_job(writes), size=len(writes), batch=batch), parse.import_job)
    match outcome(answer):
        case Outcome.DONE:
            older = converge.with_older_events(run, groups, batch.started_at)
            run.write(lambda session: _accepted(session, run, batch, groups, answer, older), failures=0)
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


def _accepted(
    session: Session, run: Run, batch: Batch, groups: Sequence[Group], answer: Answer, older: set[int]
) -> None:
    job = parse.import_job(answer.json)
    batches.accept_job(session, run, batch, job.id, FIRST_LOOK_SECONDS)
    _date_creations(session, run, batch, groups, job.created_at)
    converge.after_events(session, run, older)
    statement = update(ProfileLink).where(
        ProfileLink.connection_id == run.held.connection_id,
        among(session, ProfileLink.person_id, [group.person_id for group in groups]),
    )
    session.execute(statement.values(job_batch_id=batch.id))
    waiting = settle.waiting(Reason.KLAVIYO_PROCESSING, clock.now() + JOB_LOOK)
    settle.settle(session, run.connection, Kind.FIELDS, _all(groups, waiting), attempts=1, batch_id=batch.id)


def _date_creations(
    session: Session, run: Run, batch: Batch, groups: Sequence[Group], created_at: datetime | None
) -> None:
    """The marks of this job alone are moved to when Klaviyo says that it was created."""
    if created_at is None:
        return
    mine = (ProfileLink.connection_id == run.held.connection_id, ProfileLink.creating_since == batch.started_at)
    created = [group.person_id for group in groups if group.step is Step.CREATE]
    statement = update(ProfileLink).where(*mine, among(session, ProfileLink.person_id, created))
    session.execute(statement.values(creating_since=creations.of_job(created_at, batch.started_at)))


def _lost(session: Session, run: Run, batch: Batch) -> None:
    """It may be under way: its people are written again, and once more when that is settled.

    Unknown twice in a row: in halves.
    """
    members, times = batches.members(batch), batch.unknown_times + 1
    converge.unsettle(session, run, [member[0] for member in members], converge.JOB_SETTLES_IN)
    batches.close(session, run, batch, BatchOutcome.LOST)
    halves.go_again(session, run, members, halved=times >= 2, unknown_times=times)


def _refused(
    session: Session,
    run: Run,
    batch: Batch,
    groups: Sequence[Group],
    results: dict[int, settle.Result],
    left: Sequence[Sequence[Group]] = (),
) -> None:
    """Klaviyo took nothing of it; `left` goes on, each part a batch."""
    created = [group.person_id for group in groups if group.step is Step.CREATE]
    creations.note_refused(session, run, created, batch.started_at)
    settle.settle(session, run.connection, Kind.FIELDS, results, attempts=1, batch_id=batch.id)
    halves.leave(session, run, batch, left)


def _refused_whole(run: Run, batch: Batch, groups: list[Group], answer: Answer) -> None:
    """Named ones are out, and the others go again; else in halves, and in the end one by one, which tells who it is."""
    named, left = told_apart(answer, groups)
    results = {
        id_: result
        for place, detail in named.items()
        for id_, result in groups[place].results(settle.failed(Reason.REJECTED, detail)).items()
    }
    run.write(lambda session: _refused(session, run, batch, groups, results, left))
