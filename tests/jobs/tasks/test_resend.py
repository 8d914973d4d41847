"""Resends: only what is still not delivered, once, behind live traffic, counters exact, consents never."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select

from jobs.tasks import resend
from tests.jobs.tasks.place import work
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.forms.delivery_filters import Filters
from webapp.models import Activity, Connection, ConnectionStat, Delivery, Lane, LaneKind, Person, TaskState, Workspace
from webapp.models.delivery import PRIORITY_RESEND
from webapp.services.deliveries.resend_rules import Left
from webapp.services.resends import runs
from webapp.services.sharing import choices
from webapp.services.tracing import erasures


class Place:
    """A workspace with one connected store and somebody who did things."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.workspace: Workspace = rows.workspace("mine")
        choices.choose_events(self.workspace.id, None, ["member_joined_program"])
        self.store = rows.store(self.workspace, "se")
        self.connection: Connection = rows.connection(self.workspace, self.store)
        self.person: Person = rows.person(self.workspace, home_store_id=self.store.id)

    def ended(self, status: Status, reason: Reason, kind: Kind = Kind.EVENT, *, routed: bool = True) -> Delivery:
        activity = self.rows.activity(self.workspace, self.person, store_id=self.store.id)
        connection = self.connection if routed else None
        return self.rows.delivery(
            activity, connection, kind=kind, status=status, reason=reason, attempts=3, settled_at=clock.now()
        )

    def start(self, filters: Filters | None = None, ids: tuple[int, ...] = (), token: str = "t") -> runs.Resend:
        found = runs.start(self.workspace.id, 1, "After the outage", token, list(ids), filters or Filters())
        assert found is not None
        return found

    def again(self, found: runs.Resend) -> runs.Resend:
        current = runs.get(self.workspace.id, found.id)
        assert current is not None
        return current


@pytest.fixture
def place(rows: Rows) -> Place:
    return Place(rows)


def read(delivery: Delivery) -> Delivery:
    with reading() as session:
        return session.get_one(Delivery, delivery.id)


def counters_agree(connection: Connection) -> None:
    with reading() as session:
        for kind, lane_kind in {Kind.EVENT: LaneKind.EVENTS, Kind.FIELDS: LaneKind.FIELDS}.items():
            lane = session.scalars(
                select(Lane).where(Lane.connection_id == connection.id, Lane.kind == lane_kind)
            ).one()
            counted = select(Delivery.status, func.count()).where(
                Delivery.connection_id == connection.id, Delivery.kind == kind
            )
            rows = {row[0]: row[1] for row in session.execute(counted.group_by(Delivery.status))}
            told = {
                Status.WAITING: lane.waiting,
                Status.DELIVERED: lane.delivered,
                Status.SKIPPED: lane.skipped,
                Status.FAILED: lane.failed,
            }
            assert {status: number for status, number in told.items() if number} == rows
            assert lane.made == sum(rows.values())


def test_what_failed_waits_again_behind_live_traffic(place: Place) -> None:
    failed = [place.ended(Status.FAILED, Reason.REJECTED) for _ in range(3)]
    skipped = place.ended(Status.SKIPPED, Reason.NOT_IN_KLAVIYO)
    other = place.ended(Status.SKIPPED, Reason.UNCHANGED)
    delivered = place.ended(Status.DELIVERED, Reason.WRITTEN)
    plan = runs.plan(place.workspace.id, [], Filters(connection_id=place.connection.id))
    assert (plan.total, dict(plan.left)) == (4, {Left.POINTLESS: 1})
    found = place.start(Filters(connection_id=place.connection.id))
    work(place.connection)
    for delivery in (*failed, skipped):
        row = read(delivery)
        assert (row.status, row.reason, row.priority) == (Status.WAITING, Reason.BACKLOG, PRIORITY_RESEND)
        assert (row.attempts, row.settled_at, row.batch_id) == (0, None, None)
        assert row.expires_at > clock.now() + timedelta(days=6, hours=23)
    assert read(other).status is Status.SKIPPED
    assert read(delivered).status is Status.DELIVERED
    counters_agree(place.connection)
    now = place.again(found)
    assert (now.resent, now.is_over, now.tasks[0].state) == (4, True, TaskState.DONE)
    with reading() as session:
        stat = session.scalars(select(ConnectionStat)).one()
        assert (stat.failed, stat.skipped) == (-3, -1)
        lane = session.scalars(select(Lane).where(Lane.kind == LaneKind.EVENTS)).one()
        assert lane.next_at is not None


def test_a_resend_is_done_once_however_often_it_is_asked(place: Place) -> None:
    delivery = place.ended(Status.FAILED, Reason.REJECTED)
    filters = Filters(status=Status.FAILED)
    first = place.start(filters)
    assert place.start(filters).id == first.id
    work(place.connection)
    assert place.start(filters).id == first.id
    assert runs.start(place.workspace.id, 1, "Once more", "another", [], filters) is None
    with writing() as session:
        row = session.get_one(Delivery, delivery.id)
        row.status, row.reason = Status.DELIVERED, Reason.WRITTEN
    assert runs.start(place.workspace.id, 1, "Delivered", "third", [delivery.id], Filters()) is None
    assert read(delivery).status is Status.DELIVERED


def test_what_is_delivered_meanwhile_stays_delivered(place: Place) -> None:
    first, second = (place.ended(Status.FAILED, Reason.REJECTED) for _ in range(2))
    place.start(ids=(first.id, second.id))
    with writing() as session:
        row = session.get_one(Delivery, first.id)
        row.status, row.reason = Status.DELIVERED, Reason.WRITTEN
        lane = session.scalars(select(Lane).where(Lane.kind == LaneKind.EVENTS)).one()
        lane.failed, lane.delivered = lane.failed - 1, lane.delivered + 1
    work(place.connection)
    assert read(first).status is Status.DELIVERED
    assert read(second).status is Status.WAITING
    counters_agree(place.connection)


def test_consents_and_events_that_are_off_are_left_out_and_said(place: Place) -> None:
    consent = place.ended(Status.FAILED, Reason.REJECTED, Kind.CONSENT)
    off = place.rows.activity(place.workspace, place.person, event="tier_earned")
    event = place.rows.delivery(off, place.connection, status=Status.SKIPPED, reason=Reason.EVENT_OFF)
    good = place.ended(Status.FAILED, Reason.EXPIRED)
    plan = runs.plan(place.workspace.id, [consent.id, event.id, good.id], Filters())
    assert (plan.total, dict(plan.left)) == (1, {Left.CONSENT: 1, Left.STILL_OFF: 1})
    place.start(ids=(consent.id, event.id, good.id))
    work(place.connection)
    assert [read(row).status for row in (consent, event, good)] == [Status.FAILED, Status.SKIPPED, Status.WAITING]
    choices.choose_events(place.workspace.id, None, ["tier_earned"])
    place.start(ids=(event.id,), token="later")
    work(place.connection)
    assert read(event).status is Status.WAITING
    with reading() as session:
        beside = select(Delivery).where(Delivery.activity_id == off.id, Delivery.kind == Kind.FIELDS)
        assert session.scalars(beside).one().status is Status.WAITING
    counters_agree(place.connection)


@pytest.mark.parametrize("by_filter", [False, True])
def test_what_ended_of_an_erased_person_keeps_its_status(place: Place, *, by_filter: bool) -> None:
    failed = [place.ended(Status.FAILED, Reason.REJECTED, kind) for kind in (Kind.EVENT, Kind.FIELDS)]
    lost = place.ended(Status.SKIPPED, Reason.NO_ROUTE, routed=False)
    erased = [delivery.id for delivery in (*failed, lost)]
    going = place.start(ids=tuple(erased), token="asked before")
    erasures.erase(place.workspace.id, str(place.person.email), 1)
    place.person = place.rows.person(place.workspace)
    good = place.ended(Status.FAILED, Reason.REJECTED)
    ids = [] if by_filter else [*erased, good.id]
    plan = runs.plan(place.workspace.id, ids, Filters())
    assert (plan.total, dict(plan.left)) == (1, {Left.ERASED: 3})
    found = place.start(ids=tuple(ids))
    work(place.connection)
    assert place.again(going).left == {Left.ERASED: 3}
    assert (place.again(found).resent, read(good).status) == (1, Status.WAITING)
    for delivery in (*failed, lost):
        row = read(delivery)
        assert (row.status, row.reason, row.settled_at) == (delivery.status, delivery.reason, delivery.settled_at)
    counters_agree(place.connection)


def test_profile_data_that_ended_beside_an_event_goes_along(place: Place) -> None:
    event = place.ended(Status.SKIPPED, Reason.NOT_IN_KLAVIYO)
    with reading() as session:
        activity = session.get_one(Activity, event.activity_id)
    values = {"status": Status.SKIPPED, "kind": Kind.FIELDS}
    beside = place.rows.delivery(activity, place.connection, reason=Reason.NOT_IN_KLAVIYO, **values)
    found = place.start(ids=(event.id,))
    work(place.connection)
    assert [read(row).status for row in (event, beside)] == [Status.WAITING, Status.WAITING]
    assert place.again(found).resent == 1
    counters_agree(place.connection)


def test_what_had_no_connection_is_routed_anew(place: Place) -> None:
    lost = [place.ended(Status.SKIPPED, Reason.NO_ROUTE, routed=False) for _ in range(2)]
    elsewhere = place.rows.store(place.workspace, "no")
    activity = place.rows.activity(place.workspace, place.person, store_id=elsewhere.id)
    still = place.rows.delivery(activity, None, status=Status.SKIPPED, reason=Reason.NO_ROUTE)
    plan = runs.plan(place.workspace.id, [], Filters(reason=Reason.NO_ROUTE))
    assert (plan.parts, dict(plan.left)) == ({0: 2}, {Left.STILL_NO_ROUTE: 1})
    found = place.start(Filters(reason=Reason.NO_ROUTE))
    work(place.connection)
    for delivery in lost:
        row = read(delivery)
        assert (row.status, row.connection_id) == (Status.WAITING, place.connection.id)
    assert read(still).connection_id is None
    assert place.again(found).left == {Left.STILL_NO_ROUTE: 1}
    counters_agree(place.connection)
    with reading() as session:
        assert session.scalars(select(ConnectionStat).where(ConnectionStat.connection_id == 0)).one().skipped == -2


def test_it_goes_in_bites_up_to_what_there_was_and_can_be_aborted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resend, "BITE", 2)
    made = [place.ended(Status.FAILED, Reason.REJECTED) for _ in range(5)]
    found = place.start(Filters(status=Status.FAILED))
    late = place.ended(Status.FAILED, Reason.REJECTED)
    work(place.connection)
    assert [read(row).status for row in made] == [Status.WAITING] * 5
    assert read(late).status is Status.FAILED
    assert place.again(found).tasks[0].done == 5
    runs.abort(place.workspace.id, found, 1)
    assert place.again(found).tasks[0].state is TaskState.DONE
    another = place.start(Filters(status=Status.FAILED), token="two")
    runs.abort(place.workspace.id, another, 1)
    work(place.connection)
    assert read(late).status is Status.FAILED
    assert place.again(another).tasks[0].state is TaskState.CANCELLED


def test_nothing_of_another_tenant_is_sent_again(any_app: Flask, place: Place) -> None:
    theirs = place.rows.workspace("theirs")
    foreign = place.rows.delivery(
        place.rows.activity(theirs, place.rows.person(theirs)),
        place.rows.connection(theirs),
        status=Status.FAILED,
        reason=Reason.REJECTED,
    )
    for ids, filters in (([foreign.id], Filters()), ([], Filters(connection_id=foreign.connection_id))):
        assert runs.start(place.workspace.id, 1, "Not ours", "x", ids, filters) is None
