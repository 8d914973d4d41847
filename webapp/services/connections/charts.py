"""What became of a connection's deliveries in 24 hours, by the hour, from counters kept as things happened.

Hours that are over do not change, except the last one while its transactions end: all but two are remembered by the
process, so that a page of fifty connections reads a hundred rows instead of thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from flask import current_app
from sqlalchemy import BigInteger, bindparam, cast, func, select

from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import plain
from webapp.dialects import one_of
from webapp.models import ConnectionStat
from webapp.models.types import UtcDateTime

HOURS = 24
FRESH = 2
WIDTH, STEP, HEIGHT = 4, 4.5, 26
REMEMBERED = 20_000
Sums = tuple[int, int, int]
NOTHING: Sums = (0, 0, 0)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Chart:
    """Two SVG paths (all that was tried; the failed part on top), the sums of 24 hours."""

    path: str
    failed_path: str
    delivered: int
    skipped: int
    failed: int


def of(connection_ids: Sequence[int]) -> dict[int, tuple[Chart, float]]:
    """Every connection's chart, and how many deliveries it gets done an hour."""
    now = clock.now()
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    memory: dict[int, tuple[datetime, tuple[Sums, ...]]] = current_app.extensions.setdefault("cevoid.charts", {})
    lacking = [each for each in connection_ids if each not in memory or memory[each][0] != this_hour]
    if lacking:
        if len(memory) > REMEMBERED:
            memory.clear()
        older = _older(lacking, this_hour - (HOURS - 1) * HOUR, this_hour - FRESH * HOUR)
        for each in lacking:
            found = older.get(each, {})
            hours = tuple(found.get(this_hour - ago * HOUR, NOTHING) for ago in range(HOURS - 1, FRESH - 1, -1))
            memory[each] = (this_hour, hours)
    recent = _recent(connection_ids, this_hour)
    past = (now - this_hour) / HOUR
    charts = {}
    for each in connection_ids:
        fresh = recent.get(each, (NOTHING, NOTHING))
        charts[each] = _drawn(memory[each][1] + fresh), _hourly(fresh, past)
    return charts


_since, _until = (bindparam(name, type_=UtcDateTime()) for name in ("since", "until"))
_COUNTERS = (ConnectionStat.delivered, ConnectionStat.skipped, ConnectionStat.failed)
_THERE = (
    one_of(ConnectionStat.connection_id),
    # Named, so that the key's order serves: whatever is older than the hours asked for is not looked at.
    ConnectionStat.kind.in_(list(Kind)),
    ConnectionStat.hour.between(_since, _until),
)
_OLDER = (
    select(ConnectionStat.connection_id, ConnectionStat.hour, *(func.sum(counter) for counter in _COUNTERS))
    .where(*_THERE)
    .group_by(ConnectionStat.connection_id, ConnectionStat.hour)
)
_RECENT = (
    select(
        ConnectionStat.connection_id,
        *(
            # As whole numbers: a sum of PostgreSQL's is a decimal, which is slow to read.
            cast(func.coalesce(func.sum(counter).filter(ConnectionStat.hour == hour), 0), BigInteger)
            for hour in (_since, _until)
            for counter in _COUNTERS
        ),
    )
    .where(*_THERE)
    .group_by(ConnectionStat.connection_id)
)


def _older(connection_ids: Sequence[int], since: datetime, until: datetime) -> dict[int, dict[datetime, Sums]]:
    found: dict[int, dict[datetime, Sums]] = {}
    for row in plain(_OLDER, {"ids": connection_ids, "since": since, "until": until}).all():
        found.setdefault(row[0], {})[row[1]] = _sums(row[2], row[3], row[4])
    return found


def _recent(connection_ids: Sequence[int], this_hour: datetime) -> dict[int, tuple[Sums, Sums]]:
    """The last hour and this one, a row for each connection."""
    where = {"ids": connection_ids, "since": this_hour - HOUR, "until": this_hour}
    return {row[0]: (_sums(*row[1:4]), _sums(*row[4:7])) for row in plain(_RECENT, where).all()}


def _sums(delivered: int, skipped: int, failed: int) -> Sums:
    # A resend takes an old outcome back in the hour it happens, which may leave less than nothing there.
    return max(0, delivered), max(0, skipped), max(0, failed)


def _hourly(fresh: Sequence[Sums], past: float) -> float:
    """How many are done an hour: in the last sixty minutes, or in this hour alone where that is more.

    The quiet before says nothing of a backlog that is minutes old. `past`: the part of this hour that is over.
    """
    before, now = (sum(sums) for sums in fresh)
    return max(before * (1 - past) + now, now / past if past > 1 / 60 else 0.0)


@lru_cache(maxsize=REMEMBERED)
def _drawn(hours: tuple[Sums, ...]) -> Chart:
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
    sums = [sum(hour[index] for hour in hours) for index in range(3)]
    return Chart("".join(bars), "".join(tops), *sums)


@lru_cache(maxsize=HOURS * (HEIGHT + 1) * (HEIGHT + 1))
def _bar(place: int, top: int, height: int) -> str:
    return f"M{place * STEP:g} {HEIGHT - top}h{WIDTH}v{height}h-{WIDTH}z"
