"""Why a delivery waits at this moment: a pause, a lost grant or a held lane is known of the lane, not written on rows.

Pausing a connection with a million waiting deliveries changes one row; so the reason shown is worked out when asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select
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
    """Why everything of one connection and kind waits, and until when; `until` None: until somebody acts.

    `detail`: what the last call came to, as in "answered 500"; the sentence begins with "Klaviyo".
    """

    reason: Reason
    until: datetime | None
    detail: str | None = None


Holds = dict[tuple[int, Kind], Held]


def of_workspace(session: Session, workspace_id: int, connection_ids: Iterable[int] | None = None) -> Holds:
    """(connection id, kind) -> why it is held, for those that are: of all connections, or of some."""
    mine: list[ColumnElement[bool]] = [Connection.workspace_id == workspace_id]
    if connection_ids is not None:
        mine.append(Connection.id.in_(list(connection_ids)))
    stopped = select(Connection.id, Connection.state).where(
        *mine, or_(Connection.state == ConnectionState.NEEDS_REAUTHORIZATION, Connection.paused_at.is_not(None))
    )
    found: Holds = {}
    for connection in session.execute(stopped):
        is_lost = connection.state is ConnectionState.NEEDS_REAUTHORIZATION
        reason = Reason.NEEDS_REAUTHORIZATION if is_lost else Reason.PAUSED
        found |= dict.fromkeys(((connection.id, kind) for kind in LANE_OF), Held(reason, None))
    held = (
        select(Lane.connection_id, Lane.kind, Lane.held_until, Lane.held_reason, Lane.held_detail)
        .join(Connection, Connection.id == Lane.connection_id)
        .where(*mine, Lane.held_until > clock.now())
    )
    kind_of = {lane: kind for kind, lane in LANE_OF.items()}
    for lane in session.execute(held):
        if lane.kind in kind_of:
            reason = Reason.RATE_LIMITED if lane.held_reason == Reason.RATE_LIMITED else Reason.RETRYING
            held_lane = Held(reason, lane.held_until, lane.held_detail)
            found.setdefault((lane.connection_id, kind_of[lane.kind]), held_lane)
    return found


def reason_of(status: Status, reason: Reason, connection_id: int | None, kind: Kind, holds: Holds) -> Reason:
    """The reason to show for a delivery. A held lane's does not hide what is known of the delivery itself."""
    held = holds.get((connection_id or 0, kind)) if status is Status.WAITING else None
    if held is None:
        return reason
    return held.reason if held.until is None or reason is Reason.BACKLOG else reason


def of(delivery: Delivery, holds: Holds) -> Reason:
    """Why a delivery has its status, as of this moment."""
    return reason_of(delivery.status, delivery.reason, delivery.connection_id, delivery.kind, holds)


def detail(delivery: Delivery, holds: Holds) -> str | None:
    """What the last call of its line came to, where the line is held for that; see `Held`."""
    held = holds.get((delivery.connection_id or 0, delivery.kind)) if delivery.status is Status.WAITING else None
    return held.detail if held is not None else None


def until(delivery: Delivery, holds: Holds) -> datetime | None:
    """When a waiting delivery is looked at next; None where a person has to act first, or nothing waits."""
    if delivery.status is not Status.WAITING:
        return None
    held = holds.get((delivery.connection_id or 0, delivery.kind))
    if held is None:
        return delivery.due_at
    return max(delivery.due_at, held.until) if held.until else None
