"""What became of an activity, for the platform that posted it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from webapp import clock
from webapp.catalogue.reasons import Status
from webapp.extensions import db
from webapp.models import Activity, Connection, Delivery
from webapp.services.deliveries import accounts_then, waiting_reasons
from webapp.services.deliveries.attempts import attempts_of


def of(workspace_id: int, external_id: str) -> dict[str, Any] | None:
    """The activity with its deliveries; None where the workspace has no such activity."""
    statement = select(Activity).where(Activity.workspace_id == workspace_id, Activity.external_id == external_id)
    activity = db.session.scalar(statement)
    if activity is None:
        return None
    rows = db.session.execute(
        select(Delivery, Connection)
        .outerjoin(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.activity_id == activity.id)
        .order_by(Delivery.id)
    ).all()
    owners = {connection.id for _, connection in rows if connection is not None}
    holds = waiting_reasons.of_workspace(db.session(), workspace_id, owners)
    before = accounts_then.of(db.session(), [(delivery, connection) for delivery, connection in rows])
    deliveries = []
    for delivery, connection in rows:
        now = connection.klaviyo_account_id if connection is not None else None
        account = before[delivery.id].id if delivery.id in before else now
        deliveries.append(_shown(delivery, account, holds))
    return {
        "id": activity.external_id,
        "accepted_at": clock.iso(activity.accepted_at),
        "deliveries": deliveries,
    }


def _shown(delivery: Delivery, account: str | None, holds: waiting_reasons.Holds) -> dict[str, Any]:
    # Where nothing is sent before somebody acts, it is kept until it expires.
    waits = delivery.status is Status.WAITING
    until = (waiting_reasons.until(delivery, holds) or delivery.expires_at) if waits else None
    return {
        "connection": account,
        "kind": delivery.kind,
        "status": delivery.status,
        "reason": waiting_reasons.of(delivery, holds),
        "until": clock.iso(until) if until else None,
        "attempts": _calls(delivery),
    }


def _calls(delivery: Delivery) -> int:
    """How many calls it was in: those that are kept, or the count on its row where that knows of more."""
    return max(delivery.attempts, len(attempts_of(db.session(), delivery)))
