"""Fields end at the newest, whatever Klaviyo's asynchronous jobs and lost answers do.

Where newer values were sent while an older write may still be under way in Klaviyo, the person is written once more
when that is over: an event's fields five minutes after its 202, a call of unknown outcome a minute after its last
possible arrival, an import job that nobody can follow a quarter of an hour after it was given up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from jobs import batches, creations
from jobs.fields.plan import Group
from jobs.run import Run
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind
from webapp.database import reading
from webapp.dialects import among, among_many, db_now, unindexed
from webapp.models import Batch, BatchOutcome, Delivery, Lane, LaneKind, ProfileLink

EVENTS_SETTLE_IN = timedelta(minutes=5)
# A minute after the last possible arrival: our deadline, the lease of whoever held it, and a clock's doubt.
CALL_SETTLES_IN = timedelta(seconds=90)
# What has arrived of a job is only queued: it takes effect as late as it may still create somebody.
JOB_SETTLES_IN = creations.CREATION_SETTLES_IN
# So often whoever may not be written once more for a missing scope is looked at again.
SCOPE_LOOK = timedelta(minutes=10)


def unsettle(session: Session, run: Run, person_ids: Iterable[int], settles_in: timedelta = CALL_SETTLES_IN) -> None:
    """A write to these may still be under way: they are written once more after it."""
    until = db_now(settles_in.total_seconds())
    later = case((ProfileLink.unsettled_until > until, ProfileLink.unsettled_until), else_=until)
    statement = update(ProfileLink).where(
        ProfileLink.connection_id == run.held.connection_id, among(session, ProfileLink.person_id, person_ids)
    )
    session.execute(statement.values(rewrite=True, unsettled_until=later))


def after_write(session: Session, run: Run, groups: Sequence[Group], since: datetime) -> None:
    """New values were written, begun at `since`: whose older ones may still be on their way inside an event?"""
    after_events(session, run, _older(session, run, groups, since))


def with_older_events(run: Run, groups: Sequence[Group], since: datetime) -> set[int]:
    """The same question about thousands, asked with nobody waiting for a transaction; `after_events` marks them."""
    with reading() as session:
        return _older(session, run, groups, since)


def after_events(session: Session, run: Run, person_ids: set[int]) -> None:
    """Older values of these may still be on their way inside an event."""
    if person_ids:
        unsettle(session, run, person_ids, EVENTS_SETTLE_IN + timedelta(seconds=10))


def _older(session: Session, run: Run, groups: Sequence[Group], since: datetime) -> set[int]:
    written = {group.person_id: group.version for group in groups if group.items}
    return {person_id for person_id, version in _carried(session, run, written, since) if version < written[person_id]}


def _carried(session: Session, run: Run, person_ids: Collection[int], since: datetime) -> list[tuple[int, int]]:
    """(person, version of their fields) of events that may still set these: accepted lately, or in flight now."""
    lately = (
        select(Delivery.person_id, Delivery.batch_id)
        .where(
            among_many(session, Delivery.person_id, person_ids),
            unindexed(Delivery.connection_id) == run.held.connection_id,
            Delivery.kind == Kind.EVENT,
            Delivery.status == Status.DELIVERED,
            Delivery.settled_at > since - EVENTS_SETTLE_IN,
        )
        .distinct()
    )
    in_flight = (
        select(Batch.id)
        .join(Lane, Lane.id == Batch.lane_id)
        .where(
            Lane.connection_id == run.held.connection_id,
            Lane.kind == LaneKind.EVENTS,
            Batch.outcome == BatchOutcome.UNKNOWN,
        )
    )
    still_open = set(session.scalars(in_flight))  # first: one that ends between two questions is in both answers
    pairs = [(person_id, batch_id) for person_id, batch_id in session.execute(lately) if person_id]
    known = batches.carried(session, {*still_open, *(batch_id for _, batch_id in pairs if batch_id)})
    # What a batch of before there were versions carried may be anything.
    told = [(person_id, known.get(batch_id or 0, {}).get(person_id, 0)) for person_id, batch_id in pairs]
    flying = [known.get(batch_id, {}).items() for batch_id in still_open]
    return told + [(person_id, version) for each in flying for person_id, version in each if person_id in person_ids]
