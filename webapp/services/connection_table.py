"""The rows of the live table: settings, status from facts, and counters kept as things happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from webapp import clock
from webapp.catalogue.words import SyncBehavior
from webapp.extensions import db
from webapp.klaviyo import scopes
from webapp.models import Connection, ConnectionStat, ConnectionState, Grant, Lane, Store

HOURS = 24
BAR_WIDTH, BAR_STEP, CHART_HEIGHT = 4, 4.5, 26


@dataclass(frozen=True, slots=True)
class Health:
    """A status word with its tone (good, warn, bad, quiet), its shape and the line that says why."""

    word: str
    tone: str
    shape: str
    why: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour of the chart, in SVG units; `failed` is the part on top."""

    x: float
    height: int
    failed: int


@dataclass(frozen=True, slots=True)
class Row:
    """One connection as the table shows it."""

    connection: Connection
    store: Store | None
    health: Health
    lacking: dict[str, tuple[str, ...]]
    bars: tuple[Bar, ...]
    delivered: int
    skipped: int
    failed: int
    waiting: int


def rows(workspace_id: int) -> list[Row]:
    """Live connections first, then the disconnected ones, in four statements however many there are."""
    statement = (
        select(Connection, Store, Grant)
        .outerjoin(Store, Store.id == Connection.store_id)
        .outerjoin(Grant, Grant.connection_id == Connection.id)
        .where(Connection.workspace_id == workspace_id)
        .order_by((Connection.state == ConnectionState.DISCONNECTED), Connection.id)
        .limit(200)
    )
    found = db.session.execute(statement).all()
    ids = [connection.id for connection, _, _ in found]
    lanes: dict[int, list[Lane]] = {}
    for lane in db.session.scalars(select(Lane).where(Lane.connection_id.in_(ids))):
        lanes.setdefault(lane.connection_id, []).append(lane)
    stats = _stats(workspace_id)
    return [
        _row(connection, store, grant, lanes.get(connection.id, []), stats.get(connection.id, {}))
        for connection, store, grant in found
    ]


def _stats(workspace_id: int) -> dict[int, dict[int, list[int]]]:
    """Connection id -> hours ago -> [delivered, skipped, failed]."""
    this_hour = clock.now().replace(minute=0, second=0, microsecond=0)
    since = this_hour - timedelta(hours=HOURS - 1)
    statement = select(ConnectionStat).where(ConnectionStat.workspace_id == workspace_id, ConnectionStat.hour >= since)
    found: dict[int, dict[int, list[int]]] = {}
    for stat in db.session.scalars(statement):
        ago = int((this_hour - stat.hour).total_seconds() // 3600)
        sums = found.setdefault(stat.connection_id, {}).setdefault(ago, [0, 0, 0])
        sums[0] += stat.delivered
        sums[1] += stat.skipped
        sums[2] += stat.failed
    return found


def _row(
    connection: Connection,
    store: Store | None,
    grant: Grant | None,
    lanes: list[Lane],
    stats: dict[int, list[int]],
) -> Row:
    lacking = scopes.missing(grant.scope_set) if grant else {}
    sums = [sum(max(0, hour[index]) for hour in stats.values()) for index in range(3)]
    return Row(
        connection=connection,
        store=store,
        health=_health(connection, lanes, lacking),
        lacking=lacking,
        bars=_bars(stats),
        delivered=sums[0],
        skipped=sums[1],
        failed=sums[2],
        waiting=sum(lane.waiting for lane in lanes),
    )


def _health(connection: Connection, lanes: list[Lane], lacking: dict[str, tuple[str, ...]]) -> Health:
    now = clock.now()
    if connection.state is ConnectionState.DISCONNECTED:
        return Health("Disconnected", "quiet", "ring", "its history stays")
    if connection.state is ConnectionState.NEEDS_REAUTHORIZATION:
        return Health("Reconnect needed", "bad", "triangle", connection.state_cause or "Klaviyo refuses our access")
    if connection.is_paused:
        return Health("Paused", "quiet", "bars", "by a person" if connection.paused_by else "by the program")
    held = [lane for lane in lanes if lane.held_until and lane.held_until > now and lane.waiting]
    if any(lane.failures for lane in held):
        return Health("Retrying", "warn", "turn", "Klaviyo did not take it; tried again by itself")
    if held:
        return Health("Slowed by Klaviyo", "warn", "square", "its limit is used up for the moment")
    if lacking:
        titles = [feature.title.lower() for feature in scopes.FEATURES if feature.key in lacking]
        return Health("Delivering in part", "warn", "half", f"off: {', '.join(titles)}")
    return Health("Delivering", "good", "disc", "")


def _bars(stats: dict[int, list[int]]) -> tuple[Bar, ...]:
    peak = max((hour[0] + hour[2] for hour in stats.values()), default=0)
    bars = []
    for ago, (delivered, _skipped, failed) in stats.items():
        total = max(0, delivered) + max(0, failed)
        height = max(1, round(CHART_HEIGHT * total / peak)) if peak and total else 0
        top = max(2, round(height * failed / total)) if total and failed > 0 else 0
        bars.append(Bar((HOURS - 1 - ago) * BAR_STEP, height, min(top, height)))
    return tuple(sorted(bars, key=lambda bar: bar.x))


def only(workspace_id: int, connection_id: int) -> Row | None:
    """One connection's row."""
    return next((row for row in rows(workspace_id) if row.connection.id == connection_id), None)


BEHAVIORS = {
    SyncBehavior.UPDATE_EXISTING: "Only update existing",
    SyncBehavior.CREATE_PROFILE: "Create profile",
}
