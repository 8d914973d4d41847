"""The settings a delivery ran under, and what was changed since: worked back from today's by the audit log.

Whether the event was on counts when the activity is accepted; all the rest when it is sent (a waiting one: now).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue import actions
from webapp.models import AuditEntry, Connection, Delivery
from webapp.services.deliveries import accounts_then
from webapp.services.workspaces import snapshot

OF_WORKSPACE = ("events.chosen", "fields.chosen")
OF_CONNECTION = (
    "connection.edited",
    "connection.undone",
    "connection.reconnect",
    "connection.replace",
    "connection.lose_grant",
    "connection.paused",
    "connection.resumed",
    "connection.disconnect",
)
LOOKED = 200
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Values:
    """The settings a delivery depends on; None: not one of its own."""

    event_on: bool | None
    fields_on: int
    account: str | None
    behavior: str | None
    list_name: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody changed since: when, and in words what."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True)
class SettingsThen:
    """`then` and `now` differ only where something was changed since; `changes`: the latest, newest first."""

    then: Values
    now: Values
    fields_known: int
    changes: list[Change]


def of(session: Session, delivery: Delivery, accepted_at: datetime, connection: Connection | None) -> SettingsThen:
    """Then, now, and what lies between."""
    known = snapshot.load(session, delivery.workspace_id)
    now = Values(
        event_on=delivery.event in known.events_on if delivery.event else None,
        fields_on=len(known.fields_on),
        account=connection.account_name if connection else None,
        behavior=connection.sync_behavior if connection else None,
        list_name=connection.list_name if connection else None,
    )
    entries = _since(session, delivery.workspace_id, accepted_at, connection)
    sent_at = delivery.settled_at or clock.now()
    events = _before(entries, ("events.chosen",), accepted_at)
    fields = _before(entries, ("fields.chosen",), sent_at)
    edited = _before(entries, ("connection.edited", "connection.undone"), sent_at) or {}
    replaced = accounts_then.of(session, [(delivery, connection)]).get(delivery.id)
    then = Values(
        event_on=now.event_on if now.event_on is None or events is None else delivery.event in events["on"],
        fields_on=now.fields_on if fields is None else len(fields["on"]),
        account=replaced.name if replaced else now.account,
        behavior=edited.get("behavior", now.behavior),
        list_name=edited.get("list_name", now.list_name),
    )
    changes = [Change(entry.at, actions.in_words(entry.action)) for entry in reversed(entries)]
    return SettingsThen(then, now, len(known.fields), changes[:SHOWN])


def _since(session: Session, workspace_id: int, moment: datetime, connection: Connection | None) -> list[AuditEntry]:
    """The entries about these settings since a moment, oldest first."""
    about: ColumnElement[bool] = AuditEntry.action.in_(OF_WORKSPACE)
    if connection is not None:
        mine = AuditEntry.subject_type == "connection", AuditEntry.subject_id == str(connection.id)
        about = or_(about, AuditEntry.action.in_(OF_CONNECTION) & mine[0] & mine[1])
    statement = select(AuditEntry).where(AuditEntry.workspace_id == workspace_id, AuditEntry.at > moment, about)
    return list(session.scalars(statement.order_by(AuditEntry.id.desc()).limit(LOOKED)))[::-1]


def _before(entries: list[AuditEntry], named: tuple[str, ...], moment: datetime) -> dict[str, Any] | None:
    """What stood before the first of such changes after a moment; None: nothing was changed since."""
    return next((entry.before for entry in entries if entry.action in named and entry.at > moment), None)
