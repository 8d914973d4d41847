"""Why a delivery waits at this moment: a pause, a lost grant or a held lane is known of the lane, not written on rows.

Pausing a connection with a million waiting deliveries changes one row; so the reason shown is worked out when asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.models import Connection, ConnectionState, Delivery, Lane
from webapp.services.lanes import LANE_OF

# Reasons that a lane or a connection gives to what waits in it.
GIVEN = frozenset({Reason.PAUSED, Reason.NEEDS_REAUTHORIZATION, Reason.RATE_LIMITED, Reason.RETRYING})


@dataclass(frozen=True, slots=True)
class Held:
    """Why everything of one connection and kind waits, and until when; `until` None: until somebody acts."""

    reason: Reason
    until: datetime | None


Holds = dict[tuple[int, Kind], Held]


def of_workspace(session: Session, workspace_id: int) -> Holds:
    """(connection id, kind) -> why it is held, for those that are."""
    connections = {
        connection.id: connection
        for connection in session.scalars(select(Connection).where(Connection.workspace_id == workspace_id))
    }
    lanes = list(session.scalars(select(Lane).where(Lane.connection_id.in_(list(connections)))))
    found: Holds = {}
    for kind, lane_kind in LANE_OF.items():
        for lane in lanes:
            held = _held(connections[lane.connection_id], lane) if lane.kind is lane_kind else None
            if held is not None:
                found[lane.connection_id, kind] = held
    return found


def _held(connection: Connection, lane: Lane) -> Held | None:
    if connection.state is ConnectionState.NEEDS_REAUTHORIZATION:
        return Held(Reason.NEEDS_REAUTHORIZATION, None)
    if connection.is_paused:
        return Held(Reason.PAUSED, None)
    if lane.held_until is not None and lane.held_until > clock.now():
        reason = Reason.RATE_LIMITED if lane.held_reason == Reason.RATE_LIMITED else Reason.RETRYING
        return Held(reason, lane.held_until)
    return None


def reason_of(status: Status, reason: Reason, connection_id: int | None, kind: Kind, holds: Holds) -> Reason:
    """The reason to show for a delivery. A held lane's does not hide what is known of the delivery itself."""
    held = holds.get((connection_id or 0, kind)) if status is Status.WAITING else None
    if held is None:
        return reason
    return held.reason if held.until is None or reason is Reason.BACKLOG else reason


def of(delivery: Delivery, holds: Holds) -> Reason:
    """Why a delivery has its status, as of this moment."""
    return reason_of(delivery.status, delivery.reason, delivery.connection_id, delivery.kind, holds)


def until(delivery: Delivery, holds: Holds) -> datetime | None:
    """When a waiting delivery is looked at next; None where a person has to act first, or nothing waits."""
    if delivery.status is not Status.WAITING:
        return None
    held = holds.get((delivery.connection_id or 0, delivery.kind))
    if held is None:
        return delivery.due_at
    return max(delivery.due_at, held.until) if held.until else None
