"""Incidents, looked for outside the delivery path: failing, silent, list missing, a revision that ends.

Alerts are written on transitions only. A connection that only fails for a day (and at least 20 times) is told; a day
later it is paused, which keeps what waits. Failing and silent are over with the next delivery, never by mere quiet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import letters
from webapp import clock
from webapp.catalogue.causes import CAUSES
from webapp.catalogue.incidents import Incident
from webapp.catalogue.reasons import Reason, Status
from webapp.database import reading, run_writing
from webapp.models import Alert, Connection, ConnectionStat, ConnectionState, Delivery, Lane
from webapp.services import alerts
from webapp.services.connections import lifecycle
from webapp.services.deliveries.ranges import around, outcome, tally

DAYS = 28
HOUR = timedelta(hours=1)
FAILING_AFTER = timedelta(hours=24)
FAILING_COUNT = 20
QUIET_FACTOR = 3
SHORTEST_SILENCE = timedelta(hours=1)
RETIRING_WITHIN = timedelta(days=90)
# Skipped for these, an activity did not get through; for any other, it was not meant to.
ASTRAY = (Reason.SCOPE_MISSING, Reason.NOT_IN_KLAVIYO)
LOOKED = 1_000


@dataclass(slots=True)
class Hours:
    """What became final in each hour (its start): delivered, failed and skipped counts."""

    delivered: dict[datetime, int] = field(default_factory=dict)
    failed: dict[datetime, int] = field(default_factory=dict)
    skipped: dict[datetime, int] = field(default_factory=dict)


@dataclass(slots=True)
class Verdict:
    """The incidents there are, each with its detail. `tells_end`: what is not among them has mended, which is told."""

    wanted: dict[Incident, str] = field(default_factory=dict)
    tells_end: bool = True


def run() -> None:
    """One round: alerts opened and closed, then mails sent."""
    now = clock.now()
    with reading() as session:
        found = list(session.scalars(select(Connection).where(Connection.state != ConnectionState.DISCONNECTED)))
        open_now = alerts.open_causes(session)
        hours = _hours(session, now)
        waiting = _waiting(session)
    for connection in found:
        present = open_now.pop(connection.id, {})
        facts = hours.get(connection.id, Hours())
        came = partial(_came, connection, facts, waiting.get(connection.id, 0))
        _apply(connection.id, present, verdict(connection, facts, came, present, now))
    for connection_id, present in open_now.items():  # disconnected: nothing is left to be told
        _apply(connection_id, present, Verdict(tells_end=False))
    letters.send_due(now)


def _apply(connection_id: int, present: Mapping[str, Alert], found: Verdict) -> None:
    """Open what is new, close what is over."""
    for cause in Incident:
        if cause is Incident.NEEDS_REAUTHORIZATION and found.tells_end:
            continue  # told where it happens
        if cause in found.wanted and cause not in present:
            run_writing(partial(_open, connection_id=connection_id, cause=cause, detail=found.wanted[cause]))
        elif cause in present and cause not in found.wanted:
            close = partial(alerts.close_alert, connection_id=connection_id, cause=cause, tell=found.tells_end)
            run_writing(close)


def _hours(session: Session, now: datetime) -> dict[int, Hours]:
    statement = select(ConnectionStat).where(ConnectionStat.hour >= now - timedelta(days=DAYS))
    found: dict[int, Hours] = defaultdict(Hours)
    for stat in session.scalars(statement):
        facts = found[stat.connection_id]
        counts = ((facts.delivered, stat.delivered), (facts.failed, stat.failed), (facts.skipped, stat.skipped))
        for by_hour, number in counts:
            if number > 0:
                by_hour[stat.hour] = by_hour.get(stat.hour, 0) + number
    return found


def _waiting(session: Session) -> dict[int, int]:
    found: dict[int, int] = defaultdict(int)
    for lane in session.scalars(select(Lane)):
        found[lane.connection_id] += max(0, lane.waiting)
    return found


def verdict(
    connection: Connection,
    facts: Hours,
    came: Callable[[datetime], bool],
    present: Mapping[str, Alert],
    now: datetime,
) -> Verdict:
    """The incidents of a connection. `came(since)`: whether something was to be delivered since then."""
    found = Verdict(_lasting(connection, now))
    if connection.state is not ConnectionState.ACTIVE:
        kept = [cause for cause in (Incident.NEEDS_REAUTHORIZATION, Incident.PAUSED_FAILING) if cause in present]
        return Verdict({**found.wanted, **dict.fromkeys(kept, "")}, tells_end=False)
    if connection.is_paused:
        if connection.paused_cause == Incident.PAUSED_FAILING:
            found.wanted[Incident.PAUSED_FAILING] = ""
        else:  # by a person: what was wrong still is, and nothing can show that it is over
            found.wanted |= {cause: "" for cause in (Incident.FAILING, Incident.SILENT) if cause in present}
        return found
    since = max(connection.state_at, connection.resumed_at or connection.state_at)
    failing = is_failing(facts, since, now)
    known = present.get(Incident.FAILING)
    if failing is not None or (known is not None and not _delivered_after(connection, known)):
        found.wanted[Incident.FAILING] = failing or ""
    if failing is not None and known is not None and now - known.opened_at >= FAILING_AFTER:
        found.wanted[Incident.PAUSED_FAILING] = ""
    quiet = quiet_since(facts, connection.last_delivered_at, since, now)
    silent = present.get(Incident.SILENT)
    goes_on = silent is not None and not _delivered_after(connection, silent)
    if goes_on or (quiet is not None and came(quiet)):
        found.wanted[Incident.SILENT] = f"{quiet:%-d %B %H:%M} UTC" if quiet else ""
    return found


def _delivered_after(connection: Connection, alert: Alert) -> bool:
    return connection.last_delivered_at is not None and connection.last_delivered_at > alert.opened_at


def _lasting(connection: Connection, now: datetime) -> dict[Incident, str]:
    """What is true of a connection whether it delivers or not."""
    found: dict[Incident, str] = {}
    if connection.list_missing_at is not None and connection.list_id is not None:
        found[Incident.LIST_MISSING] = ""
    retiring = _retires_at(connection)
    if retiring is not None and retiring - now < RETIRING_WITHIN:
        found[Incident.REVISION_RETIRING] = f"on {retiring:%-d %B %Y}"
    return found


def _retires_at(connection: Connection) -> datetime | None:
    if not connection.retires_at:
        return None
    try:
        found = datetime.fromisoformat(connection.retires_at)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=clock.now().tzinfo)


def is_failing(facts: Hours, began: datetime, now: datetime) -> str | None:
    """Only permanent failures for 24 h, at least 20 of them: how many since when; None where that is not so. Pure.

    `began`: since when the connection may deliver; what failed before says nothing of it now.
    """
    last = max(facts.delivered, default=began - HOUR)
    failed = {hour: count for hour, count in facts.failed.items() if hour > max(last, began - HOUR)}
    lately = sum(count for hour, count in failed.items() if hour >= now - FAILING_AFTER - HOUR)
    since = max(min(failed), began) if failed else now
    if lately < FAILING_COUNT or now - since < FAILING_AFTER:
        return None
    return f"{lately} in 24 hours, since {since:%-d %B %H:%M} UTC"


def quiet_since(facts: Hours, last: datetime | None, began: datetime, now: datetime) -> datetime | None:
    """Since when nothing was delivered, where that is over three times the usual gap; None: it is not. Pure.

    The usual gap: the 95th percentile of those between the hours with deliveries of 28 days. The time before `began`,
    since when the connection may deliver, does not count.
    """
    hours = sorted(facts.delivered)
    if last is None or len(hours) < 5:
        return None
    gaps = sorted(later - earlier for earlier, later in pairwise(hours))
    usual = gaps[min(len(gaps) - 1, int(len(gaps) * 0.95))]
    return last if now - max(last, began) > max(SHORTEST_SILENCE, QUIET_FACTOR * usual) else None


def _came(connection: Connection, facts: Hours, waiting: int, since: datetime) -> bool:
    """Whether something was to be delivered since then: it waits, it failed, or it went astray."""
    if waiting > 0 or any(hour > since for hour in facts.failed):
        return True
    if not any(hour > since - HOUR for hour in facts.skipped):
        return False
    with reading() as session:
        above, _ = around(session, since)
        ended = [outcome(connection.workspace_id, Status.SKIPPED, reason) for reason in ASTRAY]
        rows = [row for prefix in ended for row in tally(session, prefix, above=above, most=LOOKED)]
    return any(row.connection_id == connection.id for row in rows)


def _open(session: Session, connection_id: int, cause: Incident, detail: str) -> None:
    connection = session.get_one(Connection, connection_id)
    if cause is Incident.PAUSED_FAILING:
        lifecycle.pause_failing(session, connection)
        alerts.close_alert(session, connection_id, Incident.FAILING, tell=False)  # it goes on, as this one
    if cause is Incident.FAILING:
        detail = ", ".join(part for part in (_newest_failure(session, connection_id), detail) if part)
    alerts.open_alert(session, connection, cause, detail)


def _newest_failure(session: Session, connection_id: int) -> str:
    """What the newest of its last deliveries that failed came to, in a cause's words; "" where none of them failed."""
    newest = select(Delivery.status, Delivery.reason).where(Delivery.connection_id == connection_id)
    rows = session.execute(newest.order_by(Delivery.id.desc()).limit(LOOKED))
    return next((CAUSES[row.reason].title for row in rows if row.status is Status.FAILED), "")
