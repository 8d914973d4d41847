"""The rows of the live table: settings, status from facts, and counters kept as things happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import Select, func, select

from webapp import clock
from webapp.catalogue.words import SyncBehavior
from webapp.extensions import db
from webapp.forms.connection_filters import Filters
from webapp.klaviyo import scopes
from webapp.models import Connection, ConnectionStat, ConnectionState, LaneKind
from webapp.services.connections import charts, health
from webapp.services.connections import facts as connection_facts
from webapp.services.connections import search as connection_search
from webapp.services.connections.charts import Chart
from webapp.services.connections.facts import Facts, LaneFacts, Settling
from webapp.services.connections.health import Health
from webapp.services.connections.search import PAGE, Counts
from webapp.services.connections.table_version import Look

BEHAVIORS = {
    SyncBehavior.UPDATE_EXISTING: "Only update existing",
    SyncBehavior.CREATE_PROFILE: "Create profile",
}
SUMMED_FOR = timedelta(minutes=1)
REMEMBERED = 100  # pages
SLOWEST_HOURLY = 750 * 60  # what Klaviyo takes of the calls it limits most
_MEMORY = "cevoid.rows"


@dataclass(frozen=True, slots=True)
class Row:
    """One connection as the table shows it: plain values, so that two equal rows look the same.

    `empty_in`: when nothing waits any more, in words; or "", as while Klaviyo does not take what waits.
    """

    connection: Facts
    health: Health
    chart: Chart
    waiting: int
    empty_in: str
    undo_until: datetime | None
    settling: Settling | None

    @property
    def store(self) -> str | None:
        """The store's name."""
        return self.connection.store

    @property
    def lacking(self) -> dict[str, tuple[str, ...]]:
        """Feature key -> the scopes it lacks."""
        return self.connection.lacking

    @property
    def features(self) -> str:
        """How much works, in words; nothing where nothing does, or where the status says it."""
        count, lacking = len(scopes.FEATURES), len(self.lacking)
        if self.connection.state is not ConnectionState.ACTIVE or self.health.shape == "half":
            return ""
        return f"{count - lacking} of {count} features on" if lacking else "all features on"


@dataclass(frozen=True, slots=True)
class Table:
    """A page of rows, how many fit in all, and what is said of the whole workspace.

    `delivered`: by the live connections in 24 hours, whichever are shown.
    """

    rows: list[Row]
    total: int
    counts: Counts
    delivered: int

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-self.total // PAGE))


def table(workspace_id: int, filters: Filters, look: Look) -> Table:
    """The page that was looked at, in a handful of statements however many connections there are."""
    shown = _rows(look)
    counts = connection_search.counts(workspace_id)
    everything = filters.is_plain and counts.live <= PAGE
    delivered = sum(row.chart.delivered for row in shown) if everything else _delivered(workspace_id, counts)
    return Table(shown, connection_search.total(workspace_id, filters, counts), counts, delivered)


def _rows(look: Look) -> list[Row]:
    """The page's rows: as they were read last, while the version says that they look the same."""
    memory: dict[Look, list[Row]] = current_app.extensions.setdefault(_MEMORY, {})
    known = memory.get(look)
    if known is None:
        found = of(look.ids, alerts=look.alerts, unsettled=look.unsettled)
        if len(memory) >= REMEMBERED:
            memory.clear()
        known = memory[look] = [found[each] for each in look.ids if each in found]
    return known


def forget() -> None:
    """Read every row anew from now on."""
    current_app.extensions.pop(_MEMORY, None)


def only(workspace_id: int, connection_id: int) -> Row | None:
    """One connection's row."""
    row = of([connection_id]).get(connection_id)
    return row if row is not None and row.connection.workspace_id == workspace_id else None


def of(ids: Sequence[int], *, alerts: bool = True, unsettled: bool = True) -> dict[int, Row]:
    """The rows of some connections, of whatever workspace, by id. Alerts and unsettled rests are asked for as said."""
    if not ids:
        return {}
    lanes, drawn, now = connection_facts.lanes(ids), charts.of(ids), clock.now()
    rests = connection_facts.unsettled(ids) if unsettled else {}
    alarmed = connection_facts.alarms(ids) if alerts else {}
    rows = {}
    for connection_id, facts in connection_facts.of(ids).items():
        mine, (chart, hourly) = lanes.get(connection_id, ()), drawn[connection_id]
        waiting, undo_until = sum(lane.waiting for lane in mine), facts.undo_until
        rows[connection_id] = Row(
            connection=facts,
            health=health.of(facts, mine, alarmed.get(connection_id, {}), now),
            chart=chart,
            waiting=waiting,
            empty_in=_empty_in(facts, mine, hourly),
            undo_until=undo_until if undo_until is not None and undo_until > now else None,
            settling=rests.get(connection_id),
        )
    return rows


def _empty_in(connection: Facts, lanes: Sequence[LaneFacts], hourly: float) -> str:
    """Consents are left out: those that wait mostly wait for a time of their own, not for their turn."""
    waiting = sum(lane.waiting for lane in lanes if lane.kind is not LaneKind.CONSENTS)
    is_moving = connection.state is ConnectionState.ACTIVE and not connection.is_paused and hourly >= 1
    if not waiting or not is_moving or any(lane.failures for lane in lanes):
        return ""
    # Where little came, little was done; that is no measure of how fast it goes.
    minutes = waiting / max(hourly, SLOWEST_HOURLY) * 60
    if minutes < 1:
        return "empty in a minute"
    size, unit = (1, "min") if minutes < 90 else (60, "h") if minutes < 48 * 60 else (1440, "d")
    return f"empty in ~{round(minutes / size)} {unit}"


def _delivered(workspace_id: int, counts: Counts) -> int:
    live = select(Connection.id).where(
        Connection.workspace_id == workspace_id, Connection.state != ConnectionState.DISCONNECTED
    )
    if counts.live > PAGE:
        return _summed(workspace_id, live)
    return sum(chart.delivered for chart, _ in charts.of(db.session.scalars(live).all()).values())


def _summed(workspace_id: int, live: Select[int]) -> int:
    """What a large workspace delivered in 24 hours; asked once a minute, as every counter is read for it."""
    now = clock.now()
    memory: dict[int, tuple[datetime, int]] = current_app.extensions.setdefault("cevoid.delivered", {})
    at, known = memory.get(workspace_id, (now - SUMMED_FOR, 0))
    if now - at < SUMMED_FOR:
        return known
    since = now.replace(minute=0, second=0, microsecond=0) - (charts.HOURS - 1) * charts.HOUR
    statement = select(func.coalesce(func.sum(ConnectionStat.delivered), 0)).where(
        ConnectionStat.workspace_id == workspace_id,
        ConnectionStat.hour >= since,
        ConnectionStat.connection_id.in_(live),
    )
    known = int(db.session.scalar(statement) or 0)
    memory[workspace_id] = (now, known)
    return known
