"""A lane in our hands: claimed by a conditional update, renewed under its fence, given back. The database's clock."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Update, and_, bindparam, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from webapp import clock, queue
from webapp.database import run_writing
from webapp.dialects import db_now, is_sqlite
from webapp.models import BatchOutcome, Connection, Grant, Lane, LaneKind
from webapp.models.tables import BATCHES, LANES

LEASE_SECONDS = 12
OWNER = f"{socket.gethostname()}:{os.getpid()}"


class FenceLost(Exception):
    """Somebody else holds the lane now, or it was stopped: our result is dropped, theirs counts."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A held lane. `news` is what there was to see when it was claimed."""

    lane_id: int
    connection_id: int
    workspace_id: int
    kind: LaneKind
    fence: int
    news: int
    slow: bool


_LANE = LANES.c.id == bindparam("lane")
_MINE = and_(_LANE, LANES.c.fence == bindparam("held_fence"))
_CLAIMED = tuple(LANES.c[name] for name in ("id", "connection_id", "workspace_id", "kind", "fence", "news", "slow"))
_CLAIM = (
    update(LANES)
    .where(
        _LANE,
        LANES.c.stopped.is_(False),
        or_(LANES.c.lease_until.is_(None), LANES.c.lease_until < db_now()),
        or_(LANES.c.held_until.is_(None), LANES.c.held_until <= db_now()),
        LANES.c.next_at <= db_now(),
    )
    .values(
        owner=OWNER, taken_over=LANES.c.owner.is_not(None), fence=LANES.c.fence + 1, lease_until=db_now(LEASE_SECONDS)
    )
    .returning(*_CLAIMED, LANES.c.taken_over, LANES.c.unknown_batch_id, db_now().label("now"))
)
_DOUBT = (
    update(BATCHES)
    .where(BATCHES.c.lane_id == bindparam("lane"), BATCHES.c.outcome == BatchOutcome.UNKNOWN)
    .values(unknown_times=BATCHES.c.unknown_times + 1)
)
_FREE = update(LANES).where(_MINE).values(lease_until=None, owner=None)
_SLEEP = _FREE.where(LANES.c.news == bindparam("seen")).values(woken_at=None, next_at=bindparam("due_at"))
_QUEUE_AGAIN = _FREE.values(woken_at=db_now())
_LEAVE = update(LANES).where(_MINE).values(lease_until=None)
_ROWS = select(Connection, Lane).join(Lane, Lane.connection_id == Connection.id).where(Lane.id == bindparam("lane"))
_ROWS_AND_GRANT = _ROWS.add_columns(Grant).outerjoin(Grant, Grant.connection_id == Connection.id)


def claim(lane_id: int) -> Claim | None:
    """The lane, if it is free, due and not stopped."""

    def work(session: Session) -> Claim | None:
        connection, this = session.connection(), {"lane": lane_id}
        row = connection.execute(_CLAIM, this).one_or_none()
        if row is None:
            return None
        if not is_sqlite(session):
            clock.follow(row.now)
        if row.taken_over and row.unknown_batch_id is not None:
            # Whoever held the lane never told what came of these: a frozen sender may still send them.
            connection.execute(_DOUBT, this)
        values = {column.key: getattr(row, column.key) for column in _CLAIMED}
        return Claim(lane_id=values.pop("id"), **values)

    return run_writing(work)


def guard(session: Session, held: Claim, **values: object) -> None:
    """Renew the lease and set `values`, only while we still hold the lane. Raises FenceLost (which rolls back)."""
    given = {f"to_{name}": value for name, value in values.items()}
    if session.connection().execute(_renewal(tuple(values)), {**_this(held), **given}).rowcount != 1:
        raise FenceLost


@cache
def _renewal(names: tuple[str, ...]) -> Update:
    others: dict[str, Any] = {name: bindparam(f"to_{name}") for name in names}
    return update(LANES).where(_MINE, LANES.c.stopped.is_(False)).values(lease_until=db_now(LEASE_SECONDS), **others)


def _this(held: Claim) -> dict[str, object]:
    return {"lane": held.lane_id, "held_fence": held.fence}


def release(held: Claim, *, again: bool, due_at: datetime | None = None) -> None:
    """Give the lane back: due at once when `again`, at `due_at` when something waits for a time, else asleep.

    It sleeps only where nothing was added since the claim: the wake-up of what was found the lane taken.
    """

    def work(session: Session) -> bool:
        connection, this = session.connection(), _this(held)
        if not again and connection.execute(_SLEEP, {**this, "seen": held.news, "due_at": due_at}).rowcount:
            return False
        # Whoever has more to do is woken at the back of the line.
        return bool(connection.execute(_QUEUE_AGAIN, this).rowcount)

    if run_writing(work):
        queue.wake([(held.lane_id, held.slow)])


def let_go(held: Claim) -> None:
    """Leave a lane in the middle of something, after the database was away: its next holder doubts what was open.

    Nothing else of it is known to be durable. Waited for as long as the lease goes on anyway. Never raises.
    """
    end = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < end:
        try:
            run_writing(lambda session: session.connection().execute(_LEAVE, _this(held)))
            return
        except DBAPIError:
            time.sleep(0.25)


def rows_of(session: Session, held: Claim) -> tuple[Connection, Lane]:
    """The lane's connection and the lane as they stand."""
    found = session.execute(_ROWS, {"lane": held.lane_id}).one()
    return found[0], found[1]


def rows_and_grant_of(session: Session, held: Claim) -> tuple[Connection, Lane, Grant | None]:
    """The same and its connection's grant, None where it has none."""
    found = session.execute(_ROWS_AND_GRANT, {"lane": held.lane_id}).one()
    return found[0], found[1], found[2]
