"""One look-up serves every write: many people nobody knows are left to the fields lane while it is about to ask.

Import jobs have to look up everybody in the drain that sends them, whatever is remembered; events go by what is
remembered. So where both lanes owe something to the same people, the events come right behind the fields. Whenever
that lane is held up, failing, stopped or further on than the events are, they ask for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import exists, select

from jobs import lookup
from jobs.choose import Item
from jobs.lookup import Link
from jobs.run import Run
from webapp import clock
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind
from webapp.database import reading
from webapp.dialects import db_now
from webapp.klaviyo import payloads
from webapp.models import Batch, BatchOutcome, Delivery, Lane, LaneKind

IMPORTS_NEED = frozenset({"profiles:read", "profiles:write", "lists:read", "lists:write"})
# As long as that lane is held by a limit for no longer, the same limit holds the events' own look-ups.
LONGEST_HOLD = timedelta(minutes=1)


def is_coming(run: Run, items: Sequence[Item], known: Mapping[int, Link]) -> bool:
    """Whether the fields lane is about to look up so many of these events' people that it is worth the wait."""
    people, moment = {item.person_id for item in items}, clock.now()
    unknown = [person_id for person_id in people if not lookup.is_believed(known.get(person_id), moment)]
    are_many = len(unknown) > payloads.LOOKUP_ADDRESSES
    # Of a long line the last ones nobody knows are in the very look-ups that are being made now.
    if not (are_many or (unknown and len(items) == payloads.BULK_EVENTS)) or not run.grant.scopes >= IMPORTS_NEED:
        return False
    with reading() as session:
        mine = (Lane.connection_id == run.held.connection_id, Lane.kind == LaneKind.FIELDS)
        opened = exists().where(Batch.lane_id == Lane.id, Batch.outcome == BatchOutcome.UNKNOWN)
        lane, now, has_open = session.execute(select(Lane, db_now(), opened).where(*mine)).one()
        is_held = lane.lease_until is not None and lane.lease_until > now
        if not _gets_on(lane, now, has_open=has_open and not is_held) or not (are_many or is_held):
            return False
        head = (
            select(Delivery.id)
            .where(
                Delivery.connection_id == run.held.connection_id,
                Delivery.kind == Kind.FIELDS,
                Delivery.status == Status.WAITING,
                Delivery.priority == items[0].priority,
                Delivery.due_at <= now,
            )
            .order_by(Delivery.id)
            .limit(1)
        )
        first = session.scalar(head)
    return first is not None and first <= items[-1].id


def _gets_on(lane: Lane, now: datetime, *, has_open: bool) -> bool:
    """`has_open`: in nobody's hands; in somebody's an open batch is a call under way, and none that went wrong."""
    if lane.stopped or lane.failures or has_open:
        return False
    return lane.held_until is None or lane.held_until < now + LONGEST_HOLD
