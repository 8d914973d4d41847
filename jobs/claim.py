"""A lane in our hands: claimed by a conditional update, renewed under its fence, given back. The database's clock."""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Update, and_, bindparam, func, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobs import line
from webapp import clock, queue
from webapp.catalogue.words import Kind
from webapp.database import run_alone, run_writing
from webapp.dialects import db_now, durable_with_the_next, is_sqlite
from webapp.models import BatchOutcome, Connection, Grant, Lane, LaneKind
from webapp.models.tables import BATCHES, LANES, WORKSPACES
from webapp.queue import WakeUp

LEASE_SECONDS = 12
LAST_FENCE = 2**31 - 1
OWNER = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


class FenceLost(Exception):
    """Somebody else holds the lane now, or it was stopped: our result is dropped, theirs counts."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A held lane. `news` is what there was to see when it was claimed.

    `taken_over`: from somebody who never told what came of what they had begun.
    """

    lane_id: int
    connection_id: int
    workspace_id: int
    kind: LaneKind
    owner: str
    fence: int
    news: int
    slow: bool
    taken_over: bool = False


_LANE = LANES.c.id == bindparam("lane")
# The owner too: a database that dies may forget a claim that nothing durable came after, and give its fence again.
_MINE = and_(_LANE, LANES.c.fence == bindparam("held_fence"), LANES.c.owner == bindparam("holder"))
_CLAIMED = ("id", "connection_id", "workspace_id", "kind", "owner", "fence", "news", "slow", "taken_over")
_CLAIM = (
    update(LANES)
    .where(
        _LANE,
        LANES.c.stopped.is_(False),
        or_(LANES.c.lease_until.is_(None), LANES.c.lease_until < db_now()),
        or_(LANES.c.held_until.is_(None), LANES.c.held_until <= db_now()),
        LANES.c.next_at <= db_now(),
        LANES.c.fence <= bindparam("asked_at"),
        durable_with_the_next(),
    )
    .values(
        owner=bindparam("holder"),
        taken_over=LANES.c.owner.is_not(None),
        fence=LANES.c.fence + 1,
        lease_until=db_now(LEASE_SECONDS),
    )
    .returning(*(LANES.c[name] for name in _CLAIMED), db_now().label("now"))
)
_IS_OPEN = and_(BATCHES.c.lane_id == bindparam("lane"), BATCHES.c.outcome == BatchOutcome.UNKNOWN)
_DOUBT = update(BATCHES).where(_IS_OPEN).values(unknown_times=BATCHES.c.unknown_times + 1)
_FREE = update(LANES).where(_MINE).values(lease_until=None, owner=None)
_SLEEP = _FREE.where(LANES.c.news == bindparam("seen")).values(woken_at=None, next_at=bindparam("due_at"))
_SLEEP_IN_LINE = _SLEEP.values(next_at=line.NEXT_DUE.scalar_subquery())
_QUEUE_AGAIN = _FREE.values(woken_at=db_now())
_LEAVE = update(LANES).where(_MINE).values(lease_until=None)
_ROWS = select(Connection, Lane).join(Lane, Lane.connection_id == Connection.id).where(Lane.id == bindparam("lane"))
_OPEN = select(BATCHES.c.id).where(_IS_OPEN)
_HOW_MANY_OPEN = select(func.count()).select_from(BATCHES).where(_IS_OPEN).scalar_subquery()
_VERSION = select(WORKSPACES.c.version).where(WORKSPACES.c.id == Lane.workspace_id).scalar_subquery()
_START = _ROWS.add_columns(Grant, _VERSION, _HOW_MANY_OPEN).outerjoin(Grant, Grant.connection_id == Connection.id)


def claim(lane_id: int, fence: int | None = None) -> Claim | None:
    """The lane, if it is free, due and not stopped, and nobody has claimed it since it had that fence."""
    where = {"lane": lane_id, "holder": OWNER, "asked_at": LAST_FENCE if fence is None else fence}

    def work(connection: SqlConnection) -> Claim | None:
        row = connection.execute(_CLAIM, where).one_or_none()
        if row is None:
            return None
        if not is_sqlite(connection):
            clock.follow(row.now)
        values = {name: getattr(row, name) for name in _CLAIMED}
        return Claim(lane_id=values.pop("id"), **values)

    return run_alone(work)


def doubt(held: Claim) -> None:
    """Whoever held the lane before never told what came of its open batches: a frozen sender may still send them.

    Where this does not come to pass, the lane's next holder has taken it over as well. Raises FenceLost.
    """

    def work(session: Session) -> None:
        guard(session, held)
        session.connection().execute(_DOUBT, {"lane": held.lane_id})

    run_writing(work)


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
    return {"lane": held.lane_id, "held_fence": held.fence, "holder": held.owner}


def release(held: Claim, *, again: bool, due_at: datetime | None = None, kind: Kind | None = None) -> None:
    """Give the lane back: due at once when `again`, at `due_at` when something waits for a time, else asleep.

    With `kind` its line says when: as soon as the first that waits there comes due. It sleeps only where nothing was
    added since the claim: the wake-up of what was found the lane taken.
    """
    if not again:
        when = {"due_at": due_at} if kind is None else {"connection": held.connection_id, "delivery_kind": kind}
        asleep = _SLEEP if kind is None else _SLEEP_IN_LINE
        if _is_met(asleep, {**_this(held), "seen": held.news, **when}):
            return
    # Whoever has more to do is woken at the back of the line.
    if _is_met(_QUEUE_AGAIN, _this(held)):
        queue.wake([WakeUp(held.lane_id, held.slow, held.fence)])


def _is_met(statement: Update, where: dict[str, object]) -> bool:
    return bool(run_alone(lambda connection: connection.execute(statement, where).rowcount))


def let_go(held: Claim) -> None:
    """Leave a lane in the middle of something, after the database was away: its next holder doubts what was open.

    Nothing else of it is known to be durable. Waited for as long as the lease goes on anyway. Never raises.
    """
    end = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < end:
        try:
            _is_met(_LEAVE, _this(held))
            return
        except DBAPIError:
            time.sleep(0.25)


def rows_of(session: Session, held: Claim) -> tuple[Connection, Lane]:
    """The lane's connection and the lane as they stand."""
    found = session.execute(_ROWS, {"lane": held.lane_id}).one()
    return found[0], found[1]


class Start(NamedTuple):
    """What a drain begins with. `grant` None: the connection has none.

    `settings_version`: of the workspace's settings; `open_batches`: ids, see `Batch`.
    """

    connection: Connection
    lane: Lane
    grant: Grant | None
    settings_version: int
    open_batches: set[int]


def start_of(session: Session, held: Claim) -> Start:
    """The same with the connection's grant, the version of the settings and the lane's open batches."""
    connection, lane, grant, version, how_many = session.execute(_START, {"lane": held.lane_id}).one()
    ids = session.scalars(_OPEN, {"lane": held.lane_id}) if how_many else ()
    return Start(connection, lane, grant, version, set(ids))
