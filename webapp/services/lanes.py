"""The lanes of a connection: made with it, told of new work, stopped and started, and their counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, or_, select, update
from sqlalchemy.orm import Session

from webapp import clock, queue
from webapp.catalogue.words import Kind
from webapp.database import after_commit, reading, run_writing
from webapp.dialects import db_now, one_of
from webapp.models import Lane, LaneKind
from webapp.models.tables import CONNECTION_STATS, LANES
from webapp.queue import WakeUp
from webapp.upserts import upsert_adding

LANE_OF = {Kind.EVENT: LaneKind.EVENTS, Kind.FIELDS: LaneKind.FIELDS, Kind.CONSENT: LaneKind.CONSENTS}
DELIVERY_LANES = tuple(LANE_OF.values())
NO_CONNECTION = 0
LONGEST_IN_LINE_SECONDS = (
    30  # then a wake-up is lost, whatever two machines' clocks say; the sweeper mostly knows sooner
)
_HOURLY = ("connection_id", "kind", "hour", "workspace_id")
_COUNTED = ("delivered", "skipped", "failed")


def _sooner() -> ColumnElement[Any]:
    next_at = LANES.c.next_at
    return case((or_(next_at.is_(None), next_at > db_now()), db_now()), else_=next_at)


# Made once: one of them ends every transaction that accepts or settles something.
_THIS = and_(LANES.c.connection_id == bindparam("connection"), LANES.c.kind == bindparam("lane_kind"))
_OWE = (
    update(LANES)
    .where(_THIS)
    .values(made=LANES.c.made + bindparam("more"), news=LANES.c.news + 1, next_at=_sooner())
    .returning(LANES.c.id)
)
# Asked in a WHERE: of what an UPDATE returns SQLite 3.40 may say that it is not NULL where it is.
_MARK = (
    update(LANES)
    .where(
        one_of(LANES.c.id),
        LANES.c.stopped.is_(False),
        or_(LANES.c.held_until.is_(None), LANES.c.held_until <= db_now()),
        # Whoever holds a lane wakes it for what came meanwhile, and one that was woken stands in line.
        or_(LANES.c.lease_until.is_(None), LANES.c.lease_until < db_now()),
        or_(LANES.c.woken_at.is_(None), LANES.c.woken_at < db_now(-LONGEST_IN_LINE_SECONDS)),
    )
    .values(woken_at=db_now())
    .returning(LANES.c.id, LANES.c.slow, LANES.c.fence)
)
_UNMARK = update(LANES).where(one_of(LANES.c.id)).values(woken_at=None)
_NUDGE = update(LANES).where(_THIS).values(news=LANES.c.news + 1, next_at=_sooner(), held_until=None)
_COUNT = update(LANES).where(_THIS).values({name: LANES.c[name] + bindparam(f"more_{name}") for name in _COUNTED})


@dataclass(slots=True)
class Counts:
    """Changes of final statuses; a resend takes its old one back with -1."""

    delivered: int = 0
    skipped: int = 0
    failed: int = 0


def create_for(session: Session, workspace_id: int, connection_id: int) -> None:
    """The four lanes of a new connection."""
    for kind in LaneKind:
        session.add(Lane(workspace_id=workspace_id, connection_id=connection_id, kind=kind))
    session.flush()


def lock(session: Session, connection_id: int) -> None:
    """Lock a connection's lanes, in key order: before the connection's own row, as whoever delivers does."""
    statement = select(Lane.id).where(Lane.connection_id == connection_id).order_by(Lane.kind)
    session.execute(statement.with_for_update()).all()


def owe(session: Session, made: Mapping[tuple[int, Kind], int]) -> None:
    """Count new deliveries by (connection, kind) and let their lanes be woken after the commit.

    The last statements of a transaction, in key order: each takes its lane's row lock until the commit.
    """
    owing: list[int] = []
    for connection_id, kind in sorted(made):
        this = {"connection": connection_id, "lane_kind": LANE_OF[kind]}
        owing += session.execute(_OWE, {**this, "more": made[connection_id, kind]}).scalars()
    if owing and not queue.is_away():
        woken = [WakeUp(*row) for row in session.execute(_MARK, {"ids": owing})]
        if woken:
            after_commit(session, partial(wake_marked, woken))


def wake_marked(woken: Sequence[WakeUp]) -> None:
    """Wake lanes that are marked as woken: before the wake-ups, or they could be lost.

    Where Redis is away the mark is taken back, so that the first sweep after its return wakes them.
    """
    if not queue.wake(woken):
        ids = {"ids": [each.lane_id for each in woken]}
        run_writing(lambda session: session.execute(_UNMARK, ids))


def wake_lane(connection_id: int, kind: LaneKind) -> None:
    """Wake one lane now, best effort."""
    with reading() as session:
        row = session.execute(
            select(Lane.id, Lane.slow, Lane.fence).where(Lane.connection_id == connection_id, Lane.kind == kind)
        ).one_or_none()
    if row is not None:
        queue.wake([WakeUp(*row)])


def nudge(session: Session, connection_id: int, kind: LaneKind) -> None:
    """There may be something to do in this lane now."""
    session.execute(_NUDGE, {"connection": connection_id, "lane_kind": kind})


def stop(session: Session, connection_id: int, kinds: Iterable[LaneKind] = DELIVERY_LANES) -> None:
    """Nothing more is sent from these lanes: whoever drains one now finds its fence gone, and wake-ups are void.

    The owner stays written there: the next claim knows by it that what was open may still be on its way.
    """
    statement = update(Lane).where(Lane.connection_id == connection_id, Lane.kind.in_(list(kinds)))
    session.execute(statement.values(stopped=True, fence=Lane.fence + 1, lease_until=None, woken_at=None))


def start(session: Session, connection_id: int) -> None:
    """All lanes go on."""
    statement = update(Lane).where(Lane.connection_id == connection_id)
    now = db_now()
    values = {"news": Lane.news + 1, "next_at": now, "started_at": now, "held_until": None, "failures": 0}
    session.execute(statement.values(stopped=False, slow=False, **values))


def count(session: Session, workspace_id: int, connection_id: int, kind: Kind, counts: Counts) -> None:
    """Add to the lane's totals and to this hour's counters. In the transaction that changes the rows."""
    values = {"delivered": counts.delivered, "skipped": counts.skipped, "failed": counts.failed}
    if not any(values.values()):
        return
    if connection_id != NO_CONNECTION:
        more = {f"more_{name}": value for name, value in values.items()}
        session.connection().execute(_COUNT, {"connection": connection_id, "lane_kind": LANE_OF[kind], **more})
    row = {
        "connection_id": connection_id,
        "kind": kind,
        "hour": clock.now().replace(minute=0, second=0, microsecond=0),
        "workspace_id": workspace_id,
        **values,
    }
    statement = upsert_adding(session, CONNECTION_STATS, key=_HOURLY, add=_COUNTED)
    session.connection().execute(statement, row)
