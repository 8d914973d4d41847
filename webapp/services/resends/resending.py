"""Putting deliveries in line again, a bite at a time: rows, counters and lanes in one transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Any

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session, aliased

from webapp import clock
from webapp.catalogue.causes import RESENDABLE
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import after_commit
from webapp.dialects import db_now
from webapp.models import Activity, Connection, Delivery, Person
from webapp.models.delivery import PRIORITY_RESEND
from webapp.services import lanes
from webapp.services.activities import routing
from webapp.services.activities.delivery_maker import LIFE
from webapp.services.deliveries.resend_rules import STATUSES, Left, refusal
from webapp.services.workspaces import snapshot
from webapp.upserts import insert_or_ignore


def again(session: Session, workspace_id: int, ids: Iterable[int]) -> tuple[int, Counter[Left]]:
    """Put these deliveries in line again, behind live traffic, for seven days: how many, and who is left out and why.

    Only what has failed or was skipped; asking twice changes nothing the second time.
    """
    settings = snapshot.load(session, workspace_id)
    statement = (
        select(Delivery, Activity.store_id, Person.home_store_id, Person.erased_at, Connection)
        .join(Activity, Activity.id == Delivery.activity_id)
        .outerjoin(Person, Person.id == Delivery.person_id)
        .outerjoin(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.workspace_id == workspace_id, Delivery.id.in_(list(ids)))
        .with_for_update(of=Delivery)
    )
    left: Counter[Left] = Counter()
    targets: dict[int, list[Delivery]] = defaultdict(list)
    for delivery, store_id, home_store_id, erased_at, connection in session.execute(statement):
        why = refusal(delivery, connection, settings, is_erased=erased_at is not None)
        target = delivery.connection_id or routing.route(settings, store_id, home_store_id).connection_id
        if why is None and target is None:
            why = Left.STILL_NO_ROUTE
        if why is None and target is not None:
            targets[target].append(delivery)
        elif why is not None:
            left[why] += 1
    resent = 0
    for target in sorted(targets):
        _to(session, workspace_id, target, [*targets[target], *_fields_beside(session, target, targets[target])])
        resent += len(targets[target])
    return resent, left


def _fields_beside(session: Session, target: int, deliveries: list[Delivery]) -> list[Delivery]:
    """Profile data that ended undelivered beside an event goes along: a person is created by it, not by the event."""
    events = {delivery.activity_id for delivery in deliveries if delivery.kind is Kind.EVENT}
    asked = {delivery.id for delivery in deliveries}
    statement = select(Delivery).where(
        Delivery.activity_id.in_(events),
        Delivery.connection_id == target,
        Delivery.kind == Kind.FIELDS,
        Delivery.status.in_(STATUSES),
        Delivery.reason.in_(RESENDABLE),
    )
    return [delivery for delivery in session.scalars(statement) if delivery.id not in asked]


def _to(session: Session, workspace_id: int, target: int, deliveries: list[Delivery]) -> None:
    """Those of one connection. What it takes over from no connection is new to its lanes."""
    taken_back: dict[tuple[int, Kind], lanes.Counts] = defaultdict(lanes.Counts)
    owed: Counter[tuple[int, Kind]] = Counter()
    for kind in sorted({delivery.kind for delivery in deliveries}):
        for status in STATUSES:
            for is_new in (False, True):
                mine = [d for d in deliveries if (d.kind, d.status, d.connection_id is None) == (kind, status, is_new)]
                changed = _wait(session, target, [d.id for d in mine], status)
                counts = taken_back[lanes.NO_CONNECTION if is_new else target, kind]
                counts.failed -= changed if status is Status.FAILED else 0
                counts.skipped -= changed if status is Status.SKIPPED else 0
                owed[target, kind] += changed if is_new else 0
    owed[target, Kind.FIELDS] += _made_beside(session, target, [d for d in deliveries if d.kind is Kind.EVENT])
    for (connection_id, kind), counts in sorted(taken_back.items(), key=lambda item: item[0]):
        lanes.count(session, workspace_id, connection_id, kind, counts)
        if connection_id == target:
            lanes.nudge(session, target, lanes.LANE_OF[kind])
            after_commit(session, partial(lanes.wake_lane, target, lanes.LANE_OF[kind]))
    lanes.owe(session, {key: number for key, number in owed.items() if number})


def _wait(session: Session, target: int, ids: list[int], status: Status) -> int:
    if not ids:
        return 0
    twin = aliased(Delivery)
    there = exists().where(
        twin.activity_id == Delivery.activity_id,
        twin.connection_id == target,
        twin.kind == Delivery.kind,
        twin.id != Delivery.id,
    )
    # One that was routed nowhere may have gone to this account already, because the person was known there.
    statement = update(Delivery).where(Delivery.id.in_(ids), Delivery.status == status, ~there).returning(Delivery.id)
    values: dict[str, Any] = {
        "connection_id": target,
        "status": Status.WAITING,
        "reason": Reason.BACKLOG,
        "priority": PRIORITY_RESEND,
        "due_at": db_now(),
        "expires_at": clock.now() + LIFE,
        "settled_at": None,
        "detail": None,
        "batch_id": None,
        "attempts": 0,
    }
    return len(session.execute(statement.values(**values).execution_options(synchronize_session=False)).all())


def _made_beside(session: Session, target: int, events: list[Delivery]) -> int:
    """An event that goes out has a delivery of the person's fields beside it: made now where acceptance made none."""
    now = clock.now()
    rows = [
        {
            "workspace_id": event.workspace_id,
            "activity_id": event.activity_id,
            "connection_id": target,
            "kind": Kind.FIELDS,
            "person_id": event.person_id,
            "event": event.event,
            "status": Status.WAITING,
            "reason": Reason.BACKLOG,
            "priority": PRIORITY_RESEND,
            "due_at": now,
            "created_at": now,
            "expires_at": now + LIFE,
        }
        for event in events
        if event.reason in {Reason.EVENT_OFF, Reason.NO_ROUTE, Reason.NOT_CONNECTED}
    ]
    if not rows:
        return 0
    table = Delivery.__table__
    statement = insert_or_ignore(session, table).values(rows).returning(table.c.id)
    return len(session.execute(statement).all())
