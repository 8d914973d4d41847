"""Test events: one sample of an event to a chosen person in a chosen account, and what came of it. Creates nobody."""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_hex

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.causes import CAUSES, Cause
from webapp.catalogue.events import EVENTS
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Origin
from webapp.database import run_writing
from webapp.extensions import db
from webapp.forms.activities import Refused, check
from webapp.forms.invalid import Invalid
from webapp.models import Activity, Connection, ConnectionState, Delivery
from webapp.services import audit
from webapp.services.activities import ingest
from webapp.services.activities.ingest import Test
from webapp.services.deliveries import waiting_reasons
from webapp.services.workspaces import snapshot


@dataclass(frozen=True, slots=True)
class Sent:
    """A test event with what came of it so far. `cause` says it in words; `is_over`: it will not change any more."""

    activity: Activity
    delivery: Delivery
    connection: Connection
    cause: Cause

    @property
    def metric(self) -> str:
        """The event's name in Klaviyo."""
        return EVENTS[self.activity.event or ""].metric

    @property
    def is_over(self) -> bool:
        """Whether it has its final status."""
        return self.delivery.status is not Status.WAITING


def targets(workspace_id: int) -> list[Connection]:
    """The connections a test can go to: the live ones, oldest first."""
    statement = select(Connection).where(
        Connection.workspace_id == workspace_id, Connection.state != ConnectionState.DISCONNECTED
    )
    return list(db.session.scalars(statement.order_by(Connection.id)))


def send(
    workspace_id: int, actor_id: int, *, connection_id: int | None, event: str, email: str, starts_flows: bool
) -> int:
    """Record the event's sample as if it happened now; the activity's id. Raises Invalid."""
    return run_writing(
        lambda session: _send(session, workspace_id, actor_id, connection_id, event, email, starts_flows=starts_flows)
    )


def _send(
    session: Session,
    workspace_id: int,
    actor_id: int,
    connection_id: int | None,
    event: str,
    email: str,
    *,
    starts_flows: bool,
) -> int:
    connection = session.get(Connection, connection_id) if connection_id is not None else None
    problems = {}
    if connection is None or connection.workspace_id != workspace_id or not connection.is_live:
        problems["connection"] = "Choose one of the connected Klaviyo accounts."
    if event not in EVENTS:
        problems["event"] = "Choose one of the events."
    if not email.strip():
        problems["email"] = "Enter the address of somebody who is in this Klaviyo account."
    if problems or connection is None:
        raise Invalid(problems)
    settings, now = snapshot.load(session, workspace_id), clock.now()
    external_id = f"test-{token_hex(8)}"
    item = {
        "id": external_id,
        "type": "event",
        "event": event,
        "store": settings.store_names[connection.store_id][0] if connection.store_id else None,
        "occurred_at": clock.iso(now),
        "profile": {"email": email},
        "properties": EVENTS[event].sample(),
    }
    try:
        draft = check(item, settings.stores, settings.fields, now)
    except Refused:
        raise Invalid({"email": "This is not a valid e-mail address."}) from None
    ingest.record(session, workspace_id, [draft], now=now, test=Test(connection.id, starts_flows))
    found = select(Activity.id).where(Activity.workspace_id == workspace_id, Activity.external_id == external_id)
    activity_id = session.execute(found).scalar_one()
    audit.record(
        session,
        workspace_id=workspace_id,
        actor_id=actor_id,
        action="event.tested",
        subject=("activity", activity_id),
        after={"event": event, "connection": connection.id, "starts_flows": starts_flows},
    )
    return activity_id


def outcome(workspace_id: int, activity_id: int) -> Sent | None:
    """A test event of this workspace; None for anything else."""
    statement = (
        select(Activity, Delivery, Connection)
        .join(Delivery, Delivery.activity_id == Activity.id)
        .join(Connection, Connection.id == Delivery.connection_id)
        .where(Activity.id == activity_id, Activity.workspace_id == workspace_id, Activity.origin == Origin.TEST)
    )
    row = db.session.execute(statement).one_or_none()
    if row is None:
        return None
    activity, delivery, connection = row
    holds = waiting_reasons.of_workspace(db.session(), workspace_id)
    reason = waiting_reasons.reason_of(delivery.status, delivery.reason, connection.id, delivery.kind, holds)
    return Sent(activity, delivery, connection, CAUSES[reason].of_test())
