"""The rows of the live table: settings, status from facts, and counters kept as things happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement, and_, func, select

from webapp import clock
from webapp.catalogue.words import SyncBehavior
from webapp.database import among
from webapp.extensions import db
from webapp.forms.connection_filters import Filters
from webapp.klaviyo import scopes
from webapp.models import Connection, ConnectionStat, ConnectionState, Grant, Lane, LaneKind, Store, Task
from webapp.services import charts, connection_search, connection_settings, settling, tasks
from webapp.services.charts import Chart
from webapp.services.connection_search import PAGE

BEHAVIORS = {
    SyncBehavior.UPDATE_EXISTING: "Only update existing",
    SyncBehavior.CREATE_PROFILE: "Create profile",
}
SUMMED_FOR = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Health:
    """A status word with its tone (good, warn, bad, quiet), its shape and the line that says why."""

    word: str
    tone: str
    shape: str
    why: str


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """What the table needs to know of a lane."""

    kind: LaneKind
    waiting: int
    held_until: datetime | None
    held_reason: str | None
    failures: int


@dataclass(frozen=True, slots=True)
class Row:
    """One connection as the table shows it. `empty_in`: when nothing waits any more, in words; or ""."""

    connection: Connection
    store: str | None
    health: Health
    lacking: dict[str, tuple[str, ...]]
    chart: Chart
    waiting: int
    empty_in: str
    undo_until: datetime | None
    settling: Task | None

    @property
    def features(self) -> str:
        """How much works, in words."""
        count = len(scopes.FEATURES)
        return "all features on" if not self.lacking else f"{count - len(self.lacking)} of {count} features on"


@dataclass(frozen=True, slots=True)
class Table:
    """A page of rows, how many fit in all, and what is said of the whole workspace."""

    rows: list[Row]
    total: int
    live: int
    delivering: int
    need_you: int
    disconnected: int
    delivered: int

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-self.total // PAGE))


def table(workspace_id: int, filters: Filters) -> Table:
    """The page that fits `filters`, in a handful of statements however many connections there are."""
    columns: tuple[Any, ...] = (Connection, Store.name, Grant.scopes, func.count().over())
    found = db.session.execute(connection_search.fitting(workspace_id, filters, *columns)).all()
    shown = _rows([tuple(row)[:3] for row in found])
    live, delivering, need_you, disconnected = connection_search.counts(workspace_id)
    everything = filters.is_plain and live <= PAGE
    delivered = sum(row.chart.delivered for row in shown) if everything else _delivered(workspace_id)
    total = found[0][3] if found else 0
    return Table(shown, total, live, delivering, need_you, disconnected, delivered)


def only(workspace_id: int, connection_id: int) -> Row | None:
    """One connection's row."""
    mine = and_(Connection.workspace_id == workspace_id, Connection.id == connection_id)
    return next(iter(_chosen(mine)), None)


def of(connection_ids: list[int]) -> dict[int, Row]:
    """The rows of some connections, of whatever workspace, by id."""
    return {row.connection.id: row for row in _chosen(among(db.session(), Connection.id, connection_ids))}


def _chosen(which: ColumnElement[bool]) -> list[Row]:
    statement = (
        select(Connection, Store.name, Grant.scopes)
        .outerjoin(Store, Store.id == Connection.store_id)
        .outerjoin(Grant, Grant.connection_id == Connection.id)
        .where(which)
    )
    return _rows([tuple(row) for row in db.session.execute(statement)])


def _rows(found: list[tuple[Any, ...]]) -> list[Row]:
    ids = [connection.id for connection, _, _ in found]
    if not ids:
        return []
    lanes, drawn, unsettled = _lanes(ids), charts.of(ids), _unsettled(ids)
    now = clock.now()
    rows = []
    for connection, store, granted in found:
        mine, chart = lanes.get(connection.id, []), drawn[connection.id]
        lacking = scopes.missing(frozenset(granted.split())) if granted is not None else {}
        health, waiting = _health(connection, mine, lacking), sum(lane.waiting for lane in mine)
        undo_until = connection_settings.undo_until(connection)
        rows.append(
            Row(
                connection=connection,
                store=store,
                health=health,
                lacking=lacking,
                chart=chart,
                waiting=waiting,
                empty_in=_empty_in(connection, waiting, chart.hourly),
                undo_until=undo_until if undo_until is not None and undo_until > now else None,
                settling=unsettled.get(connection.id),
            )
        )
    return rows


def _lanes(ids: list[int]) -> dict[int, list[LaneFacts]]:
    statement = select(
        Lane.connection_id,
        Lane.kind,
        Lane.made - Lane.delivered - Lane.skipped - Lane.failed,
        Lane.held_until,
        Lane.held_reason,
        Lane.failures,
    ).where(among(db.session(), Lane.connection_id, ids), Lane.kind != LaneKind.TASKS)
    lanes: dict[int, list[LaneFacts]] = {}
    for row in db.session.execute(statement):
        lanes.setdefault(row[0], []).append(LaneFacts(*row[1:]))
    return lanes


def _unsettled(ids: list[int]) -> dict[int, Task]:
    """The unfinished settling of what waited, by connection."""
    statement = select(Task).where(
        among(db.session(), Task.connection_id, ids),
        Task.state.in_(tasks.UNFINISHED),
        Task.kind == settling.KIND,
    )
    return {task.connection_id: task for task in db.session.scalars(statement)}


def _empty_in(connection: Connection, waiting: int, hourly: float) -> str:
    if not waiting or hourly < 1 or connection.state is not ConnectionState.ACTIVE or connection.is_paused:
        return ""
    minutes = waiting / hourly * 60
    if minutes < 1:
        return "empty in less than a minute"
    if minutes < 90:
        return f"empty in about {round(minutes)} min"
    return (
        f"empty in about {round(minutes / 60)} h" if minutes < 48 * 60 else f"empty in about {round(minutes / 1440)} d"
    )


def _delivered(workspace_id: int) -> int:
    """What a large workspace delivered in 24 hours; asked once a minute, as every counter is read for it."""
    now = clock.now()
    memory: dict[int, tuple[datetime, int]] = current_app.extensions.setdefault("cevoid.delivered", {})
    at, known = memory.get(workspace_id, (now - SUMMED_FOR, 0))
    if now - at < SUMMED_FOR:
        return known
    since = now.replace(minute=0, second=0, microsecond=0) - (charts.HOURS - 1) * charts.HOUR
    statement = select(func.coalesce(func.sum(ConnectionStat.delivered), 0)).where(
        ConnectionStat.workspace_id == workspace_id, ConnectionStat.hour >= since, ConnectionStat.connection_id > 0
    )
    known = int(db.session.scalar(statement) or 0)
    memory[workspace_id] = (now, known)
    return known


def _health(connection: Connection, lanes: list[LaneFacts], lacking: dict[str, tuple[str, ...]]) -> Health:
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
