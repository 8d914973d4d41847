"""What stands above the table: whatever needs a person, and once, when it works again, that it does."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, update

from webapp import clock
from webapp.database import affected, writing
from webapp.extensions import db
from webapp.klaviyo import scopes
from webapp.models import Alert, Connection, ConnectionState, Grant, Lane
from webapp.services import alerts
from webapp.services.connections import lifecycle, stopped
from webapp.services.connections.search import Counts

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Mended:
    """Access regained. `off`: what is off for want of a scope, in words; `skips`: what waited for it is skipped."""

    alert: Alert
    connection: Connection
    off: str
    skips: bool


@dataclass(frozen=True, slots=True)
class Banners:
    """`needed`: connections that wait for their owner, with how many deliveries wait there, the longest wait first, up
    to SHOWN; `more`: how many others do.

    `mended`: those that did and are connected again. `open`: other incidents that go on, with their sentence.
    """

    needed: list[tuple[Connection, int]]
    more: int
    mended: list[Mended]
    open: list[tuple[Alert, Connection, str]]


def of(workspace_id: int, counts: Counts) -> Banners:
    """The banners of a workspace; nothing is read where the counts say that there are none."""
    needed = _needed(workspace_id) if counts.reconnect else []
    mended = _mended(workspace_id) if counts.told else []
    return Banners(needed, counts.reconnect - len(needed), mended, _open(workspace_id) if counts.incidents else [])


def _needed(workspace_id: int) -> list[tuple[Connection, int]]:
    owed = (
        select(func.coalesce(func.sum(Lane.made - Lane.delivered - Lane.skipped - Lane.failed), 0))
        .where(Lane.connection_id == Connection.id)
        .scalar_subquery()
    )
    waiting = (
        select(Connection, owed)
        .where(Connection.workspace_id == workspace_id, Connection.state == ConnectionState.NEEDS_REAUTHORIZATION)
        .order_by(Connection.state_at, Connection.id)
        .limit(SHOWN)
    )
    return [(connection, int(count)) for connection, count in db.session.execute(waiting)]


def _mended(workspace_id: int) -> list[Mended]:
    told = (
        select(Alert, Connection, Grant.scopes)
        .join(Connection, Connection.id == Alert.connection_id)
        .join(Grant, Grant.connection_id == Connection.id)
        .where(
            Alert.workspace_id == workspace_id,
            Alert.cause == lifecycle.ACCESS_LOST,
            Alert.closed_at.is_not(None),
            Alert.dismissed_at.is_(None),
            Connection.state == ConnectionState.ACTIVE,
        )
        .order_by(Alert.id.desc())
        .limit(SHOWN)
    )
    return [_told(alert, found, frozenset(granted.split())) for alert, found, granted in db.session.execute(told)]


def _told(alert: Alert, connection: Connection, granted: frozenset[str]) -> Mended:
    off = scopes.titles(scopes.missing(granted))
    return Mended(alert, connection, off, bool(stopped.kinds(connection, granted)))


def _open(workspace_id: int) -> list[tuple[Alert, Connection, str]]:
    statement = (
        select(Alert, Connection)
        .join(Connection, Connection.id == Alert.connection_id)
        .where(
            Alert.workspace_id == workspace_id,
            Alert.cause != lifecycle.ACCESS_LOST,
            Alert.closed_at.is_(None),
            Connection.state != ConnectionState.DISCONNECTED,
        )
        .order_by(Alert.id.desc())
        .limit(SHOWN)
    )
    rows = db.session.execute(statement)
    return [(alert, found, alerts.sentence(alert, found, is_closing=False)) for alert, found in rows]


def dismiss(workspace_id: int, alert_id: int) -> None:
    """Do not show this one again, nor older ones of the same connection. Raises LookupError for anybody else's."""
    with writing() as session:
        alert = session.scalar(select(Alert).where(Alert.id == alert_id, Alert.workspace_id == workspace_id))
        if alert is None:
            raise LookupError("no such alert")
        same = update(Alert).where(
            Alert.connection_id == alert.connection_id, Alert.cause == alert.cause, Alert.closed_at.is_not(None)
        )
        affected(session, same.values(dismissed_at=clock.now()))
