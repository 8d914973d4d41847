"""A connection's status word, from facts. Its tone (good, warn, bad, quiet), its shape, and the line that says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from webapp.catalogue.incidents import Incident
from webapp.klaviyo import scopes
from webapp.models import ConnectionState
from webapp.services.connections.facts import Facts, LaneFacts


@dataclass(frozen=True, slots=True)
class Health:
    """What the table, the start page and the connection's page say."""

    word: str
    tone: str
    shape: str
    why: str


def of(connection: Facts, lanes: Sequence[LaneFacts], alarms: Mapping[str, str], now: datetime) -> Health:
    """The first that is true of: stopped, an incident, held back, in part, delivering. `alarms`: cause -> detail."""
    return (
        _stopped(connection, now)
        or _incident(alarms)
        or _held(lanes, now)
        or _in_part(connection.lacking)
        or Health("Delivering", "good", "disc", "")
    )


def _stopped(connection: Facts, now: datetime) -> Health | None:
    if connection.state is ConnectionState.DISCONNECTED:
        return Health("Disconnected", "quiet", "ring", "its history stays")
    if connection.state is ConnectionState.NEEDS_REAUTHORIZATION:
        why = connection.state_cause or "Klaviyo refuses our access"
        return Health("Reconnect needed", "bad", "triangle", f"{why} {since(connection.state_at, now)}")
    if connection.is_paused:
        person = f"by {connection.paused_name or 'a person'}"
        who = person if connection.paused_by else "by us: Klaviyo refused everything for two days"
        return Health("Paused", "quiet", "bars", who)
    return None


def _incident(alarms: Mapping[str, str]) -> Health | None:
    if Incident.FAILING in alarms:
        return Health("Failing", "bad", "cross", alarms[Incident.FAILING] or "Klaviyo refuses everything")
    if Incident.SILENT in alarms:
        return Health("Silent", "bad", "dash", f"nothing delivered since {alarms[Incident.SILENT]}")
    return None


def _held(lanes: Sequence[LaneFacts], now: datetime) -> Health | None:
    held = [lane for lane in lanes if lane.held_until and lane.held_until > now and lane.waiting]
    retried = [(lane.held_until, lane.held_detail) for lane in held if lane.failures and lane.held_until]
    if retried:
        until, why = max(retried, key=lambda each: each[0])
        return Health(
            "Retrying", "warn", "turn", f"Klaviyo {why or 'did not take it'}; next try {clock_time(until, now)}"
        )
    if held:
        until = max(lane.held_until for lane in held if lane.held_until)
        return Health("Slowed by Klaviyo", "warn", "square", f"its limit is used up until {clock_time(until, now)}")
    return None


def _in_part(lacking: Mapping[str, tuple[str, ...]]) -> Health | None:
    if not lacking:
        return None
    return Health("Delivering in part", "warn", "half", f"{scopes.titles(lacking)} off: scope missing")


def since(moment: datetime, now: datetime) -> str:
    """`3 h ago`, by the minute at finest."""
    seconds = int((now - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def clock_time(moment: datetime, now: datetime) -> str:
    """`11:42:10 UTC`, with the day where it is another: a time that stays true while the page stands."""
    return f"{moment:%H:%M:%S} UTC" if moment.date() == now.date() else f"{moment:%-d %B %H:%M} UTC"
