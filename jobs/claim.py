"""A lane in our hands: claimed by a conditional update, renewed under its fence, given back. The database's clock."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from sqlalchemy import and_, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from webapp import clock, queue
from webapp.database import affected, run_writing
from webapp.dialects import db_now, is_sqlite
from webapp.models import Batch, BatchOutcome, Connection, Lane, LaneKind

LEASE_SECONDS = 12
OWNER = f"{socket.gethostname()}:{os.getpid()}"


class FenceLost(Exception):
    """Somebody else holds the lane now, or it was stopped: our result is dropped, theirs counts."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A held lane. `news` is what there was to see when it was claimed; `took_over`: its last holder never told."""

    lane_id: int
    connection_id: int
    workspace_id: int
    kind: LaneKind
    fence: int
    news: int
    slow: bool
    took_over: bool = False


_CLAIMED = (Lane.id, Lane.connection_id, Lane.workspace_id, Lane.kind, Lane.fence, Lane.news, Lane.slow)


def claim(lane_id: int) -> Claim | None:
    """The lane, if it is free, due and not stopped."""

    def work(session: Session) -> Claim | None:
        before = session.scalar(select(Lane.owner).where(Lane.id == lane_id).with_for_update())
        statement = (
            update(Lane)
            .where(
                Lane.id == lane_id,
                Lane.stopped.is_(False),
                or_(Lane.lease_until.is_(None), Lane.lease_until < db_now()),
                or_(Lane.held_until.is_(None), Lane.held_until <= db_now()),
                Lane.next_at <= db_now(),
            )
            .values(owner=OWNER, fence=Lane.fence + 1, lease_until=db_now(LEASE_SECONDS))
            .returning(*_CLAIMED, Lane.unknown_batch_id, db_now().label("now"))
        )
        row = session.execute(statement).one_or_none()
        if row is None:
            return None
        if not is_sqlite(session):
            clock.follow(row.now)
        if before is not None and row.unknown_batch_id is not None:
            _doubt(session, lane_id)
        values = {column.key: getattr(row, column.key) for column in _CLAIMED}
        return Claim(lane_id=values.pop("id"), **values, took_over=before is not None)

    return run_writing(work)


def _doubt(session: Session, lane_id: int) -> None:
    """Whoever held the lane never told what came of these: a frozen sender may still send them."""
    statement = update(Batch).where(Batch.lane_id == lane_id, Batch.outcome == BatchOutcome.UNKNOWN)
    session.execute(statement.values(unknown_times=Batch.unknown_times + 1))


def guard(session: Session, held: Claim, **values: object) -> None:
    """Renew the lease and set `values`, only while we still hold the lane. Raises FenceLost (which rolls back)."""
    statement = update(Lane).where(Lane.id == held.lane_id, Lane.fence == held.fence, Lane.stopped.is_(False))
    if affected(session, statement.values(lease_until=db_now(LEASE_SECONDS), **values)) != 1:
        raise FenceLost


def release(held: Claim, *, again: bool, due_at: object = None) -> None:
    """Give the lane back: due at once when `again`, at `due_at` when something waits for a time, else asleep.

    It sleeps only where nothing was added since the claim: the wake-up of what was found the lane taken.
    """
    mine = and_(Lane.id == held.lane_id, Lane.fence == held.fence)
    free = {"lease_until": None, "owner": None}

    def work(session: Session) -> bool:
        asleep = update(Lane).where(mine, Lane.news == held.news).values(**free, woken_at=None, next_at=due_at)
        if not again and affected(session, asleep):
            return False
        # Whoever has more to do is woken at the back of the line.
        return bool(affected(session, update(Lane).where(mine).values(**free, woken_at=db_now())))

    if run_writing(work):
        queue.wake([(held.lane_id, held.slow)])


def let_go(held: Claim) -> None:
    """Leave a lane in the middle of something, after the database was away: its next holder doubts what was open.

    Nothing else of it is known to be durable. Waited for as long as the lease goes on anyway. Never raises.
    """
    mine = and_(Lane.id == held.lane_id, Lane.fence == held.fence)
    end = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < end:
        try:
            run_writing(lambda session: session.execute(update(Lane).where(mine).values(lease_until=None)))
            return
        except DBAPIError:
            time.sleep(0.25)


def rows_of(session: Session, held: Claim) -> tuple[Connection, Lane]:
    """The lane's connection and the lane as they stand."""
    statement = select(Connection, Lane).join(Lane, Lane.connection_id == Connection.id)
    found = session.execute(statement.where(Lane.id == held.lane_id)).one()
    return found[0], found[1]
