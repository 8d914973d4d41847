"""Incidents, looked for outside the delivery path: failing, silent, list missing, a revision that ends.

Alerts are written on transitions only. A connection that only fails for a day (and at least 20 times) is told; a day
later it is paused, which keeps what waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock, log
from webapp.catalogue.incidents import Incident
from webapp.database import reading, run_writing
from webapp.extensions import settings
from webapp.models import Alert, Connection, ConnectionStat, ConnectionState, Lane
from webapp.services import alerts, connections, mail

DAYS = 28
FAILING_AFTER = timedelta(hours=24)
FAILING_COUNT = 20
QUIET_FACTOR = 3
SHORTEST_SILENCE = timedelta(hours=1)
RETIRING_WITHIN = timedelta(days=90)


@dataclass(slots=True)
class Hours:
    """What became final in each hour (its start): delivered and failed counts."""

    delivered: dict[datetime, int] = field(default_factory=dict)
    failed: dict[datetime, int] = field(default_factory=dict)


def run() -> None:
    """One round: alerts opened and closed, then mails sent."""
    now = clock.now()
    with reading() as session:
        found = list(session.scalars(select(Connection).where(Connection.state != ConnectionState.DISCONNECTED)))
        open_now = alerts.open_causes(session)
        hours = _hours(session, now)
        waiting = _waiting(session)
    for connection in found:
        facts = hours.get(connection.id, Hours())
        wanted = _incidents(connection, facts, waiting.get(connection.id, 0), open_now.get(connection.id, {}), now)
        present = set(open_now.get(connection.id, {}))
        for cause in Incident:
            if cause is Incident.NEEDS_REAUTHORIZATION:
                continue  # told where it happens
            if cause in wanted and cause not in present:
                run_writing(partial(_open, connection_id=connection.id, cause=cause, detail=wanted[cause]))
            elif cause in present and cause not in wanted:
                run_writing(partial(alerts.close_alert, connection_id=connection.id, cause=cause))
    _send_letters(now)


def _hours(session: Session, now: datetime) -> dict[int, Hours]:
    statement = select(ConnectionStat).where(ConnectionStat.hour >= now - timedelta(days=DAYS))
    found: dict[int, Hours] = defaultdict(Hours)
    for stat in session.scalars(statement):
        facts = found[stat.connection_id]
        if stat.delivered > 0:
            facts.delivered[stat.hour] = facts.delivered.get(stat.hour, 0) + stat.delivered
        if stat.failed > 0:
            facts.failed[stat.hour] = facts.failed.get(stat.hour, 0) + stat.failed
    return found


def _waiting(session: Session) -> dict[int, int]:
    found: dict[int, int] = defaultdict(int)
    for lane in session.scalars(select(Lane)):
        found[lane.connection_id] += max(0, lane.waiting)
    return found


def _incidents(
    connection: Connection, facts: Hours, waiting: int, present: Mapping[str, Alert], now: datetime
) -> dict[Incident, str]:
    """The incidents there are, each with its detail. Pure."""
    wanted: dict[Incident, str] = {}
    if connection.list_missing_at is not None and connection.list_id is not None:
        wanted[Incident.LIST_MISSING] = ""
    retiring = _retires_at(connection)
    if retiring is not None and retiring - now < RETIRING_WITHIN:
        wanted[Incident.REVISION_RETIRING] = f"on {retiring:%-d %B %Y}"
    if connection.is_paused:
        if connection.paused_cause == Incident.PAUSED_FAILING:
            wanted[Incident.PAUSED_FAILING] = ""
        return wanted
    if connection.state is not ConnectionState.ACTIVE:
        return wanted
    failing = is_failing(facts, now)
    if failing is not None:
        wanted[Incident.FAILING] = failing
        known = present.get(Incident.FAILING)
        if known is not None and now - known.opened_at >= FAILING_AFTER:
            wanted[Incident.PAUSED_FAILING] = ""
    quiet = silent_since(facts, waiting, connection.last_delivered_at, now)
    if quiet is not None:
        wanted[Incident.SILENT] = f"{quiet:%-d %B %H:%M} UTC"
    return wanted


def _retires_at(connection: Connection) -> datetime | None:
    if not connection.retires_at:
        return None
    try:
        found = datetime.fromisoformat(connection.retires_at)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=clock.now().tzinfo)


def is_failing(facts: Hours, now: datetime) -> str | None:
    """Only permanent failures for 24 h, at least 20 of them: how many; None where that is not so. Pure."""
    since = now - FAILING_AFTER
    if any(hour > since - timedelta(hours=1) for hour in facts.delivered):
        return None
    failed = {hour: count for hour, count in facts.failed.items() if hour > since - timedelta(hours=1)}
    began = min(failed, default=now)
    if sum(failed.values()) < FAILING_COUNT or now - began < FAILING_AFTER - timedelta(hours=1):
        return None
    return f"{sum(failed.values())} in 24 hours"


def silent_since(facts: Hours, waiting: int, last: datetime | None, now: datetime) -> datetime | None:
    """Since when nothing was delivered, where that is over three times the usual gap and something was to deliver.

    The usual gap: the 95th percentile of those between the hours with deliveries of 28 days. Pure.
    """
    hours = sorted(facts.delivered)
    if last is None or len(hours) < 5:
        return None
    gaps = sorted(later - earlier for earlier, later in pairwise(hours))
    usual = gaps[min(len(gaps) - 1, int(len(gaps) * 0.95))]
    came = waiting > 0 or any(hour > last for hour in facts.failed)
    quiet = now - last
    return last if came and quiet > max(SHORTEST_SILENCE, QUIET_FACTOR * usual) else None


def _open(session: Session, connection_id: int, cause: Incident, detail: str) -> None:
    connection = session.get_one(Connection, connection_id)
    if cause is Incident.PAUSED_FAILING:
        connections.pause_failing(session, connection)
        alerts.close_alert(session, connection_id, Incident.FAILING, tell=False)  # it goes on, as this one
    alerts.open_alert(session, connection, cause, detail)


def _send_letters(now: datetime) -> None:
    """Tell owners by mail, where mail is set up. One that fails is tried again at the next round."""
    values = settings()
    if not values.mail_url:
        return
    for letter in alerts.letters(values.public_url, now):
        if letter.to:
            try:
                mail.send(values, letter.to, letter.subject, letter.text)
            except mail.MailProblem as problem:
                log.get("watch").warning("mail not sent", why=str(problem))
                return
        alerts.mailed(letter)
