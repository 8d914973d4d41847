"""What waited for an account that went: settled in bites, before the new account can get anything of it."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from jobs import housekeeping
from jobs.tasks import settle_rest
from tests.jobs.tasks.place import work
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading, run_writing, writing
from webapp.klaviyo.oauth import OAuthApp
from webapp.models import (
    Alert,
    Connection,
    ConnectionState,
    Delivery,
    Grant,
    Lane,
    LaneKind,
    ProfileLink,
    Task,
    TaskState,
)
from webapp.services.connections import lifecycle, settling
from webapp.services.connections.lifecycle import Refusal
from webapp.services.deliveries import activity_status, search, waiting_reasons
from webapp.services.resends import resending
from webapp.services.sharing import choices
from webapp.services.tracing import trace


class Place:
    """A connection for which some deliveries wait. `revoked`: the refresh tokens that were revoked."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.workspace = rows.workspace()
        self.owner = rows.user(self.workspace)
        self.connection: Connection = rows.connection(self.workspace, klaviyo_account_id="OLD", account_name="Old")
        self.person = rows.person(self.workspace)
        self.revoked: list[str] = []

    def wait(self, count: int, kind: Kind = Kind.EVENT) -> list[int]:
        return [
            self.rows.delivery(self.rows.activity(self.workspace, self.person), self.connection, kind=kind).id
            for _ in range(count)
        ]

    def replace(self, account: str = "NEW") -> None:
        def run(session: Session) -> None:
            row = lifecycle.own(session, self.workspace.id, self.connection.id)
            lifecycle.replace(session, row, account, account.title(), self.owner.id)

        run_writing(run)

    def read(self) -> Connection:
        with reading() as session:
            return session.get_one(Connection, self.connection.id)

    def lanes(self) -> list[Lane]:
        with reading() as session:
            mine = select(Lane).where(Lane.connection_id == self.connection.id, Lane.kind != LaneKind.TASKS)
            return list(session.scalars(mine))

    def reasons(self) -> dict[tuple[Status, Reason], int]:
        with reading() as session:
            rows = session.execute(
                select(Delivery.status, Delivery.reason, func.count()).group_by(Delivery.status, Delivery.reason)
            )
            return {(row[0], row[1]): row[2] for row in rows}


@pytest.fixture
def place(any_app: Flask, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(rows)

    def revoke(_app: OAuthApp, token: str) -> bool:
        made.revoked.append(token)
        return True

    monkeypatch.setattr(OAuthApp, "revoke", revoke)
    return made


def test_a_replaced_account_keeps_nothing_and_the_new_one_gets_nothing_of_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle_rest, "BITE", 3)
    place.wait(7)
    place.wait(2, Kind.FIELDS)
    place.rows.link(place.connection, place.person)
    with writing() as session:
        row = session.get_one(Connection, place.connection.id)
        row.list_id, row.list_name, row.list_opt_in, row.profiles_created = "L", "List", "single_opt_in", 5
    fences = {lane.kind: lane.fence for lane in place.lanes()}
    place.replace()
    connection = place.read()
    assert (connection.klaviyo_account_id, connection.account_name) == ("NEW", "New")
    assert (connection.list_id, connection.list_name, connection.profiles_created) == (None, None, 0)
    # Stopped at once, and not to be started by anybody before the rest is settled.
    assert all(lane.stopped and lane.fence > fences[lane.kind] for lane in place.lanes())
    lifecycle.pause(place.workspace.id, connection.id, place.owner.id, on=True)
    lifecycle.pause(place.workspace.id, connection.id, place.owner.id, on=False)
    assert all(lane.stopped for lane in place.lanes())
    late = place.wait(1)
    progress = settling.unsettled(connection.id)
    assert progress is not None
    work(connection)
    assert place.reasons() == {
        (Status.SKIPPED, Reason.ACCOUNT_REPLACED): 9,
        (Status.WAITING, Reason.BACKLOG): 1,
    }
    with reading() as session:
        assert session.get_one(Delivery, late[0]).status is Status.WAITING
        assert session.scalars(select(ProfileLink)).all() == []
        task = session.scalars(select(Task)).one()
        assert (task.state, task.done, task.total) == (TaskState.DONE, 9, 9)
        assert "revoke" not in task.arguments
    assert not any(lane.stopped for lane in place.lanes())
    assert {lane.kind: lane.waiting for lane in place.lanes()}[LaneKind.EVENTS] == 1
    assert settling.unsettled(connection.id) is None
    replaced = settling.replaced(connection.id)
    assert replaced is not None
    assert replaced.done == 9
    assert place.revoked == [f"refresh-{connection.id}"]


def accounts_told(place: Place, *delivery_ids: int) -> list[tuple[str, str]]:
    """What the platform is told, and what the list shows."""
    found = []
    with reading() as session:
        for each in search.details(session, list(delivery_ids), waiting_reasons.of_workspace(session, 1, ()))[::-1]:
            told = activity_status.of(place.workspace.id, each.activity_id)
            assert told is not None
            found.append((told["deliveries"][0]["connection"], each.account or ""))
    return found


def settled(place: Place, delivery_id: int) -> None:
    with writing() as session:
        row = session.get_one(Delivery, delivery_id)
        row.status, row.reason, row.settled_at = Status.DELIVERED, Reason.WRITTEN, clock.now()


def test_what_went_to_an_account_is_told_of_it_after_it_was_replaced(place: Place) -> None:
    went, waited = place.wait(2)
    settled(place, went)
    assert accounts_told(place, went, waited) == [("OLD", "Old")] * 2
    place.replace()
    work(place.connection)
    (later,) = place.wait(1)
    assert accounts_told(place, went, waited, later) == [("OLD", "Old")] * 2 + [("NEW", "New")]
    settled(place, later)
    settled(place, waited)  # it was resent
    place.replace("THIRD")
    work(place.connection)
    (last,) = place.wait(1)
    told = [("OLD", "Old"), ("NEW", "New"), ("NEW", "New"), ("THIRD", "Third")]
    assert accounts_told(place, went, waited, later, last) == told
    assert trace.steps(place.person, None).accounts == {went: "Old", waited: "New", later: "New"}


def test_what_was_resent_and_left_behind_again_is_told_of_the_second_account(place: Place) -> None:
    choices.choose_events(place.workspace.id, None, ["member_joined_program"])
    once, twice = place.wait(2)
    place.replace()
    work(place.connection)
    run_writing(lambda session: resending.again(session, place.workspace.id, [twice]))
    assert accounts_told(place, once, twice) == [("OLD", "Old"), ("NEW", "New")]
    place.replace("THIRD")
    work(place.connection)
    assert place.reasons() == {(Status.SKIPPED, Reason.ACCOUNT_REPLACED): 2}
    assert accounts_told(place, once, twice) == [("OLD", "Old"), ("NEW", "New")]


def test_what_was_wrong_with_the_old_account_is_no_news_any_more(place: Place) -> None:
    lifecycle.lose_grant(place.connection.id, "gone")
    place.replace()
    work(place.connection)
    assert place.read().state is ConnectionState.ACTIVE
    assert not any(lane.stopped for lane in place.lanes())
    with reading() as session:
        alert = session.scalars(select(Alert)).one()
        assert None not in {alert.closed_at, alert.dismissed_at, alert.open_mailed_at, alert.close_mailed_at}


def test_a_paused_connection_stays_paused_through_it(place: Place) -> None:
    place.wait(1)
    lifecycle.pause(place.workspace.id, place.connection.id, place.owner.id, on=True)
    place.replace()
    work(place.connection)
    assert all(lane.stopped for lane in place.lanes())
    lifecycle.pause(place.workspace.id, place.connection.id, place.owner.id, on=False)
    assert not any(lane.stopped for lane in place.lanes())


def test_an_account_that_somebody_else_has_live_is_not_revoked(place: Place) -> None:
    place.rows.connection(place.rows.workspace(), klaviyo_account_id="OLD")
    place.replace()
    work(place.connection)
    assert place.revoked == []


def test_disconnecting_settles_revokes_and_forgets_the_tokens(place: Place) -> None:
    place.wait(4)
    lifecycle.disconnect(place.workspace.id, place.connection.id, place.owner.id)
    work(place.connection)
    assert place.reasons() == {(Status.SKIPPED, Reason.DISCONNECTED): 4}
    assert place.revoked == [f"refresh-{place.connection.id}"]
    with reading() as session:
        assert session.scalars(select(Grant)).all() == []
    assert all(lane.stopped for lane in place.lanes())


def test_what_was_being_accepted_while_it_was_disconnected_is_settled_as_well(place: Place) -> None:
    """Its transaction had read that the account was there, and was committed when all that waited was settled."""
    place.wait(1)
    lifecycle.disconnect(place.workspace.id, place.connection.id, place.owner.id)
    housekeeping.run()
    work(place.connection)
    place.wait(2)
    work(place.connection)
    assert place.reasons()[Status.WAITING, Reason.BACKLOG] == 2
    housekeeping.run()
    work(place.connection)
    assert place.reasons() == {(Status.SKIPPED, Reason.DISCONNECTED): 3}
    housekeeping.run()
    with reading() as session:
        assert session.scalar(select(func.count(Task.id)).where(Task.kind == settling.KIND)) == 2


def test_disconnecting_one_of_two_revokes_nothing(place: Place) -> None:
    place.rows.connection(place.rows.workspace(), klaviyo_account_id="OLD")
    lifecycle.disconnect(place.workspace.id, place.connection.id, place.owner.id)
    work(place.connection)
    assert place.revoked == []
    with reading() as session:
        assert len(session.scalars(select(Grant)).all()) == 1


def test_a_settling_that_broke_holds_the_lanes_until_it_is_taken_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.wait(3)
    place.replace()
    with writing() as session:
        task = session.scalars(select(Task)).one()
        task.state, task.error = TaskState.FAILED, "Something broke on our side."
    lifecycle.pause(place.workspace.id, place.connection.id, place.owner.id, on=False)
    assert all(lane.stopped for lane in place.lanes())
    settling.go_on(place.workspace.id, place.connection.id)
    work(place.connection)
    assert place.reasons() == {(Status.SKIPPED, Reason.ACCOUNT_REPLACED): 3}
    assert not any(lane.stopped for lane in place.lanes())
    with pytest.raises(LookupError):
        settling.go_on(place.workspace.id, place.connection.id)


def test_a_disconnected_connection_cannot_be_replaced(place: Place) -> None:
    lifecycle.disconnect(place.workspace.id, place.connection.id, place.owner.id)
    with pytest.raises(Refusal):
        place.replace()
