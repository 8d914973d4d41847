"""One look-up serves every write: many people nobody knows are left to the fields lane while it is about to ask.

Import jobs have to look up everybody in the drain that sends them, whatever is remembered; events go by what is
remembered. So where both lanes owe something to the same people, the events come right behind the fields. Whenever
that lane is held up, failing, stopped or further on than the events are, they ask for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from jobs import lookup
from jobs.choose import FOR_IMPORTS
from jobs.events.event import Event
from jobs.lookup import Link
from jobs.run import Run
from webapp import clock
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind
from webapp.database import reading
from webapp.dialects import among_many, db_now, unindexed, unindexed_word
from webapp.klaviyo import payloads
from webapp.models import Batch, BatchOutcome, Delivery, Lane, LaneKind

IMPORTS_NEED = frozenset({"profiles:read", "profiles:write", "lists:read", "lists:write"})
# As long as that lane is held by a limit for no longer, the same limit holds the events' own look-ups.
LONGEST_HOLD = timedelta(minutes=1)


def is_coming(run: Run, items: Sequence[Event], known: Mapping[int, Link]) -> bool:
    """Whether the fields lane is about to look up so many of these events' people that it is worth the wait.

    Of a long line also the last few that nobody knows, where they are in the very look-ups that are being made now.
    """
    people, moment = {item.person_id for item in items}, clock.now()
    unknown = [person_id for person_id in people if not lookup.is_believed(known.get(person_id), moment)]
    are_many = len(unknown) > payloads.LOOKUP_ADDRESSES
    if not (are_many or (unknown and len(items) == payloads.BULK_EVENTS)) or not run.grant.scopes >= IMPORTS_NEED:
        return False
    with reading() as session:
        mine = (Lane.connection_id == run.held.connection_id, Lane.kind == LaneKind.FIELDS)
        opened = exists().where(Batch.lane_id == Lane.id, Batch.outcome == BatchOutcome.UNKNOWN)
        lane, now, has_open = session.execute(select(Lane, db_now(), opened).where(*mine)).one()
        is_held = lane.lease_until is not None and lane.lease_until > now
        if not _gets_on(lane, now, has_open=has_open and not is_held) or not (are_many or is_held):
            return False
        return _Line(session, run.held.connection_id, items[0].priority, now).comes_to(unknown, items[-1].id)


class _Line(NamedTuple):
    """What the fields lane has before it."""

    session: Session
    connection_id: int
    priority: int
    now: datetime

    def comes_to(self, people: Sequence[int], last_id: int) -> bool:
        """Whether it is not past their last event, and is about to look up many of them; of few all, and right now."""
        first = self.session.scalar(self.ids().limit(1))
        if first is None or first > last_id:
            return False
        if len(people) > payloads.LOOKUP_ADDRESSES:
            return len(self.owed(people)) > payloads.LOOKUP_ADDRESSES
        beyond = self.session.scalar(self.ids().offset(FOR_IMPORTS).limit(1))
        return len(self.owed(people, before=beyond)) == len(people)

    def ids(self) -> Select[int]:
        """Its deliveries, in order."""
        due = (Delivery.status == Status.WAITING, Delivery.priority == self.priority, Delivery.due_at <= self.now)
        mine = (Delivery.connection_id == self.connection_id, Delivery.kind == Kind.FIELDS)
        return select(Delivery.id).where(*mine, *due).order_by(Delivery.id)

    def owed(self, people: Sequence[int], *, before: int | None = None) -> Sequence[int | None]:
        """Which of these people stand in it, found by themselves. `before`: that delivery."""
        due = (unindexed_word(Delivery.status) == Status.WAITING.value, Delivery.due_at <= self.now)
        mine = (unindexed(Delivery.connection_id) == self.connection_id, Delivery.kind == Kind.FIELDS)
        reached = () if before is None else (Delivery.id < before,)
        where = (among_many(self.session, Delivery.person_id, people), *mine, *due, *reached)
        return self.session.scalars(select(Delivery.person_id).where(*where).distinct()).all()


def _gets_on(lane: Lane, now: datetime, *, has_open: bool) -> bool:
    """`has_open`: in nobody's hands; in somebody's an open batch is a call under way, and none that went wrong."""
    if lane.stopped or lane.failures or has_open:
        return False
    return lane.held_until is None or lane.held_until < now + LONGEST_HOLD
