"""What became of a connection's deliveries in 24 hours, by the hour, from counters kept as things happened.

Hours that are over do not change, except the last one while its transactions end: all but two are remembered by the
process, so that a page of fifty connections reads a hundred rows instead of thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import func, select

from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import among
from webapp.extensions import db
from webapp.models import ConnectionStat

HOURS = 24
FRESH = 2
WIDTH, STEP, HEIGHT = 4, 4.5, 26
REMEMBERED = 20_000
Sums = tuple[int, int, int]
NOTHING: Sums = (0, 0, 0)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Chart:
    """Two SVG paths (all that was tried; the failed part on top), the sums of 24 hours, how many are done an hour."""

    path: str
    failed_path: str
    delivered: int
    skipped: int
    failed: int
    hourly: float


def of(connection_ids: Sequence[int]) -> dict[int, Chart]:
    """Every connection's chart."""
    now = clock.now()
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    memory: dict[int, tuple[datetime, tuple[Sums, ...]]] = current_app.extensions.setdefault("cevoid.charts", {})
    lacking = [each for each in connection_ids if each not in memory or memory[each][0] != this_hour]
    if lacking:
        if len(memory) > REMEMBERED:
            memory.clear()
        older = _read(lacking, this_hour - (HOURS - 1) * HOUR, this_hour - FRESH * HOUR)
        for each in lacking:
            found = older.get(each, {})
            hours = tuple(found.get(this_hour - ago * HOUR, NOTHING) for ago in range(HOURS - 1, FRESH - 1, -1))
            memory[each] = (this_hour, hours)
    recent = _read(connection_ids, this_hour - (FRESH - 1) * HOUR, this_hour)
    past = (now - this_hour) / HOUR
    charts = {}
    for each in connection_ids:
        found = recent.get(each, {})
        fresh = tuple(found.get(this_hour - ago * HOUR, NOTHING) for ago in range(FRESH - 1, -1, -1))
        charts[each] = _drawn(memory[each][1] + fresh, past)
    return charts


def _read(connection_ids: Sequence[int], since: datetime, until: datetime) -> dict[int, dict[datetime, Sums]]:
    stat = ConnectionStat
    statement = (
        select(stat.connection_id, stat.hour, func.sum(stat.delivered), func.sum(stat.skipped), func.sum(stat.failed))
        .where(among(db.session(), stat.connection_id, connection_ids))
        .where(stat.kind.in_(list(Kind)), stat.hour >= since, stat.hour <= until)
        .group_by(stat.connection_id, stat.hour)
    )
    found: dict[int, dict[datetime, Sums]] = {}
    for connection_id, hour, delivered, skipped, failed in db.session.execute(statement):
        # A resend takes an old outcome back in the hour it happens, which may leave less than nothing there.
        found.setdefault(connection_id, {})[hour] = (max(0, delivered), max(0, skipped), max(0, failed))
    return found


def _drawn(hours: tuple[Sums, ...], past: float) -> Chart:
    peak = max(delivered + failed for delivered, _, failed in hours)
    bars, tops = [], []
    for place, (delivered, _, failed) in enumerate(hours):
        total = delivered + failed
        if not total:
            continue
        height = max(1, round(HEIGHT * total / peak))
        bars.append(_bar(place, height, height))
        if failed:
            tops.append(_bar(place, height, min(height, max(2, round(height * failed / total)))))
    settled = [sum(sums) for sums in hours[-FRESH:]]
    sliding = settled[0] * (1 - past) + settled[1]
    return Chart(
        "".join(bars),
        "".join(tops),
        sum(hour[0] for hour in hours),
        sum(hour[1] for hour in hours),
        sum(hour[2] for hour in hours),
        # What this hour does alone, where that is more: the quiet before says nothing of a backlog minutes old.
        max(sliding, settled[1] / past if past > 1 / 60 else 0.0),
    )


def _bar(place: int, top: int, height: int) -> str:
    return f"M{place * STEP:g} {HEIGHT - top}h{WIDTH}v{height}h-{WIDTH}z"
