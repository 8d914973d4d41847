"""For operators: lanes running and waiting, what waits longest, what was read back; read only and bounded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select

from webapp import clock, queue
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind
from webapp.dialects import db_now
from webapp.extensions import db
from webapp.models import Connection, ConnectionState, Delivery, Grant, Lane, LaneKind, Task
from webapp.models.delivery import PRIORITY_WITHDRAWAL
from webapp.services.deliveries.proofs import KIND as PROOF
from webapp.services.lanes import LANE_OF
from webapp.services.operations import api_clock

KIND_OF = {lane: kind for kind, lane in LANE_OF.items()}
CONNECTIONS = 50
LOOKED = 500
DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class LaneSeen:
    """One lane. `word`: what it does at this moment; `oldest_at`: when the longest waiting one was accepted."""

    lane: Lane
    word: str
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Proofs:
    """What was read back in 24 hours: how many were confirmed, and the deliveries that were not found."""

    confirmed: int
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ConnectionSeen:
    """One live connection with all an operator looks at."""

    connection: Connection
    grant: Grant | None
    lanes: list[LaneSeen]
    revision: api_clock.Revision
    limits: list[api_clock.Limit]
    proofs: Proofs


@dataclass(frozen=True, slots=True)
class Installation:
    """All tenants together: no names, only sums."""

    lanes: int
    running: int
    due: int
    held: int
    stopped: int
    longest_due_at: datetime | None


def connections(workspace_id: int, only: int | None = None) -> list[ConnectionSeen]:
    """The live connections of a workspace, or one of any state."""
    session = db.session()
    statement = select(Connection).where(Connection.workspace_id == workspace_id)
    if only is None:
        statement = statement.where(Connection.state != ConnectionState.DISCONNECTED)
    else:
        statement = statement.where(Connection.id == only)
    return [_seen(connection) for connection in session.scalars(statement.order_by(Connection.id).limit(CONNECTIONS))]


def _seen(connection: Connection) -> ConnectionSeen:
    session = db.session()
    lanes = session.scalars(select(Lane).where(Lane.connection_id == connection.id).order_by(Lane.id))
    return ConnectionSeen(
        connection=connection,
        grant=session.scalar(select(Grant).where(Grant.connection_id == connection.id)),
        lanes=[LaneSeen(lane, _word(lane, connection), _oldest(lane)) for lane in lanes],
        revision=api_clock.revision_of(connection),
        limits=api_clock.limits_of(connection),
        proofs=_proofs(connection.id),
    )


def _word(lane: Lane, connection: Connection) -> str:
    """What a lane does, and for one that stands still who made it."""
    if not lane.stopped or not connection.is_live:
        return word_of(lane)
    if connection.state is ConnectionState.NEEDS_REAUTHORIZATION:
        return "stopped until reconnected"
    return "paused" if connection.is_paused else word_of(lane)


def word_of(lane: Lane) -> str:
    """What a lane does at this moment."""
    now = clock.now()
    if lane.stopped:
        return "stopped"
    if lane.lease_until is not None and lane.lease_until > now:
        return "running"
    if lane.held_until is not None and lane.held_until > now:
        return "held by Klaviyo's limit" if lane.held_reason == "rate_limited" else "waits to try again"
    if lane.next_at is None:
        return "nothing to do"
    return "due" if lane.next_at <= now else "waits for a time"


def _oldest(lane: Lane) -> datetime | None:
    """When a lane's longest waiting delivery was accepted: the first of each priority, by the index of what waits."""
    kind: Kind | None = KIND_OF.get(lane.kind)
    if kind is None or not lane.waiting:
        return None
    found: list[datetime] = []
    priority = PRIORITY_WITHDRAWAL - 1
    while True:
        statement = select(Delivery.priority, Delivery.created_at).where(
            Delivery.connection_id == lane.connection_id,
            Delivery.kind == kind,
            Delivery.status == Status.WAITING,
            Delivery.priority > priority,
        )
        row = db.session.execute(statement.order_by(Delivery.priority, Delivery.id).limit(1)).one_or_none()
        if row is None:
            return min(found, default=None)
        priority = row.priority
        found.append(row.created_at)


def _proofs(connection_id: int) -> Proofs:
    statement = select(Task).where(
        Task.connection_id == connection_id, Task.kind == PROOF, Task.created_at > clock.now() - DAY
    )
    results = [task.result for task in db.session.scalars(statement.order_by(Task.id.desc()).limit(LOOKED))]
    missing = [delivery_id for result in results for delivery_id in result.get("missing", [])]
    return Proofs(sum(result.get("confirmed", 0) for result in results), tuple(missing[:20]))


def installation() -> Installation:
    """Every lane of every tenant, as sums."""
    is_running = Lane.lease_until > db_now()
    is_held = Lane.held_until > db_now()
    is_free = or_(Lane.lease_until.is_(None), Lane.lease_until <= db_now())
    is_due = (Lane.next_at <= db_now()) & Lane.stopped.is_(False) & is_free
    may_go = or_(Lane.held_until.is_(None), Lane.held_until <= db_now())
    row = db.session.execute(
        select(
            func.count(Lane.id),
            func.count(Lane.id).filter(is_running),
            func.count(Lane.id).filter(is_due & may_go),
            func.count(Lane.id).filter(is_due & is_held),
            func.count(Lane.id).filter(Lane.stopped),
            func.min(Lane.next_at).filter(is_due & may_go),
        )
    ).one()
    return Installation(*row)


def queues() -> queue.Seen | None:
    """Workers and queues of all tenants; None: Redis is away."""
    return queue.look()


def lane_name(kind: LaneKind) -> str:
    """A lane's kind for people."""
    return {"events": "Events", "fields": "Profile data", "consents": "Consents", "tasks": "Tasks"}[kind]
