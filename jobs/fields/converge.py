"""Fields end at the newest, whatever Klaviyo's asynchronous jobs and lost answers do.

Where newer values were sent while an older write may still be under way in Klaviyo, the person is written once more
when that is over: an event's fields five minutes after its 202, a call of unknown outcome a minute after its last
possible arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import orjson
from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from jobs.fields import singles
from jobs.fields.plan import Group, Step
from jobs.run import Run
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind
from webapp.database import among, db_now, reading
from webapp.klaviyo.payloads import ProfileWrite
from webapp.models import Delivery, Lane, LaneKind, Person, ProfileLink
from webapp.services import people, workspace_settings

EVENTS_SETTLE_IN = timedelta(minutes=5)
# A minute after the last possible arrival: our deadline, the lease of whoever held it, and a clock's doubt.
UNKNOWN_SETTLES_IN = timedelta(seconds=90)
REWRITES = 8


def unsettle(session: Session, run: Run, person_ids: Iterable[int], seconds: float | None = None) -> None:
    """A write to these may still be under way: they are written once more after it."""
    until = db_now(UNKNOWN_SETTLES_IN.total_seconds() if seconds is None else seconds)
    statement = update(ProfileLink).where(
        ProfileLink.connection_id == run.held.connection_id, among(session, ProfileLink.person_id, person_ids)
    )
    session.execute(statement.values(rewrite=True, unsettled_until=until))


def after_write(session: Session, run: Run, groups: Sequence[Group], since: datetime) -> None:
    """New values were written, begun at `since`: whose older ones may still be on their way inside an event?"""
    newest = {group.person_id: group.activity_id for group in groups if group.items}
    carried = _carried(session, run, newest, since)
    older = {person_id for person_id, activity_id in carried if activity_id < newest[person_id]}
    if older:
        unsettle(session, run, older, EVENTS_SETTLE_IN.total_seconds() + 10)


def _carried(session: Session, run: Run, person_ids: Iterable[int], since: datetime) -> list[tuple[int, int]]:
    """(person, activity) of events that may still set fields in Klaviyo: accepted lately, or in flight now."""
    lane = select(Lane.unknown_batch_id).where(
        Lane.connection_id == run.held.connection_id, Lane.kind == LaneKind.EVENTS
    )
    in_flight = session.scalar(lane) is not None
    lately = and_(Delivery.status == Status.DELIVERED, Delivery.settled_at > since - EVENTS_SETTLE_IN)
    statement = select(Delivery.person_id, Delivery.activity_id).where(
        among(session, Delivery.person_id, person_ids),
        Delivery.connection_id == run.held.connection_id,
        Delivery.kind == Kind.EVENT,
        or_(lately, Delivery.status == Status.WAITING) if in_flight else lately,
    )
    return [(person_id, activity_id) for person_id, activity_id in session.execute(statement) if person_id]


def rewrite_next(run: Run) -> bool:
    """Write some people once more whose older writes are over; whether there were any."""
    statement = (
        select(ProfileLink, Person)
        .join(Person, Person.id == ProfileLink.person_id)
        .where(
            ProfileLink.connection_id == run.held.connection_id,
            ProfileLink.rewrite,
            ProfileLink.unsettled_until <= db_now(),
        )
        .order_by(ProfileLink.unsettled_until)
        .limit(REWRITES)
    )
    with reading() as session:
        rows = session.execute(statement).all()
        settings = workspace_settings.load(session, run.held.workspace_id)
    if not rows:
        return False
    groups = []
    for link, person in rows:
        shared = people.shared_changes(orjson.loads(person.fields), 0, settings.fields, settings.fields_on)
        if person.email is not None and link.found and link.klaviyo_id and shared:
            write = ProfileWrite(link.klaviyo_id, person.email, shared)
            groups.append(Group(person.id, (), None, Step.UPDATE, write=write, version=person.fields_version))
    marked = [link.person_id for link, _ in rows]
    if groups and "profiles:write" in run.grant.scopes:
        singles.send(run, groups, also=lambda session: _unmark(session, run, marked))
    else:
        run.write(lambda session: _unmark(session, run, marked))
    return True


def _unmark(session: Session, run: Run, person_ids: list[int]) -> None:
    """In the commit that opens the batch: from there on a call of unknown outcome sets the mark anew."""
    statement = update(ProfileLink).where(
        ProfileLink.connection_id == run.held.connection_id,
        among(session, ProfileLink.person_id, person_ids),
        ProfileLink.unsettled_until <= db_now(),
    )
    session.execute(statement.values(rewrite=False, unsettled_until=None))
