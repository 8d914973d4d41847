"""Syncing existing people: counted first, one delivery a person, in bites, never too far ahead, nothing lost."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, func, select, update

from jobs import context
from jobs.tasks import backfill, backfill_count, existing
from tests.jobs.tasks.conftest import work
from tests.rows import Rows
from tests.sandbox_process import SandboxProcess
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin, SyncBehavior
from webapp.database import db_now, reading, writing
from webapp.extensions import db
from webapp.models import (
    Activity,
    Connection,
    Delivery,
    Grant,
    Lane,
    LaneKind,
    Person,
    ProfileLink,
    Task,
    TaskState,
    Workspace,
)
from webapp.models.delivery import PRIORITY_BACKFILL
from webapp.services.connections import lifecycle
from webapp.services.connections.lifecycle import Refusal
from webapp.services.sharing import backfills, choices

POINTS = '{"points":{"v":120,"at":"2026-11-23T10:00:00Z","n":1}}'


class Place:
    """A workspace with Sweden's account connected, and people."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.workspace: Workspace = rows.workspace("mine")
        choices.choose_fields(self.workspace.id, None, ["points"])
        self.store = rows.store(self.workspace, "se")
        self.connection: Connection = rows.connection(self.workspace, self.store, klaviyo_account_id="ACCTSE")

    def people(self, number: int, **values: Any) -> list[Person]:
        values = {"fields": POINTS, "fields_version": 1, "home_store_id": self.store.id, **values}
        return [self.rows.person(self.workspace, **values) for _ in range(number)]

    def counted(self) -> Task:
        """A finished count of the present settings."""
        with writing() as session:
            terms = backfills.terms(session, session.get_one(Connection, self.connection.id))
            task = Task(
                workspace_id=self.workspace.id,
                connection_id=self.connection.id,
                kind=backfills.COUNT_KIND,
                state=TaskState.DONE,
                arguments=terms,
                created_at=clock.now(),
                due_at=clock.now(),
                finished_at=clock.now(),
            )
            session.add(task)
        return task

    def start(self, name: str = "First sync") -> Task:
        count = self.counted()
        return backfills.start(self.workspace.id, self.connection.id, 1, name=name, count_id=count.id)

    def work(self, task: Task) -> Task:
        """Work on it now, and see how it stands."""
        with writing() as session:
            session.execute(update(Task).where(Task.id == task.id).values(due_at=db_now()))
        work(self.connection)
        return self.read(task)

    def read(self, task: Task) -> Task:
        with reading() as session:
            return session.get_one(Task, task.id)

    def made(self) -> int:
        with reading() as session:
            return session.scalar(select(func.count(Delivery.id))) or 0

    def progress(self, task: Task) -> backfills.Progress:
        with reading() as session:
            return backfills.progress(session, session.get_one(Task, task.id))

    def end(self, status: Status, reason: Reason, number: int) -> None:
        """The fields lane ends the first ones that wait."""
        waiting = select(Delivery.id).where(Delivery.status == Status.WAITING).order_by(Delivery.id).limit(number)
        with writing() as session:
            ids = list(session.scalars(waiting))
            session.execute(update(Delivery).where(Delivery.id.in_(ids)).values(status=status, reason=reason))


@pytest.fixture
def place(any_app: Flask, rows: Rows) -> Place:
    db.session.rollback()
    return Place(rows)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bites of two, and never five ahead."""
    monkeypatch.setattr(backfill, "BITE", 2)
    monkeypatch.setattr(backfill, "AHEAD", 5)


def test_everybody_is_owed_one_delivery_below_live_traffic(place: Place, small: None) -> None:
    people = place.people(3)
    place.people(1, tested_only=True)
    place.rows.person(place.rows.workspace("other"))
    task = place.work(place.start())
    with reading() as session:
        rows = session.execute(select(Activity, Delivery).join(Delivery, Delivery.activity_id == Activity.id)).all()
        lane = session.scalars(
            select(Lane).where(Lane.connection_id == place.connection.id, Lane.kind == LaneKind.FIELDS)
        ).one()
    assert [activity.external_id for activity, _ in rows] == [f"backfill-{task.id}-{person.id}" for person in people]
    assert {(a.origin, a.properties, a.consent) for a, _ in rows} == {(Origin.BACKFILL, None, None)}
    assert {(d.kind, d.status, d.priority) for _, d in rows} == {(Kind.FIELDS, Status.WAITING, PRIORITY_BACKFILL)}
    assert (lane.made, lane.waiting) == (3, 3)
    assert (task.state, task.total, task.done) == (TaskState.RUNNING, 3, 0)
    place.end(Status.DELIVERED, Reason.WRITTEN, 2)
    place.end(Status.SKIPPED, Reason.NOT_IN_KLAVIYO, 1)
    task = place.work(task)
    assert (task.state, task.done, place.made()) == (TaskState.DONE, 3, 3)
    progress = place.progress(task)
    assert (progress.of(Status.DELIVERED), progress.skipped) == (2, [(Reason.NOT_IN_KLAVIYO, 1)])


def test_it_is_never_far_ahead_of_what_was_written(place: Place, small: None) -> None:
    place.people(12)
    task = place.work(place.start())
    assert place.made() == 6
    assert place.work(task).state is TaskState.RUNNING
    assert place.made() == 6
    place.end(Status.DELIVERED, Reason.WRITTEN, 3)
    task = place.work(task)
    assert (place.made(), task.done) == (8, 3)
    assert place.progress(task).done == 3
    for _ in range(3):
        place.end(Status.DELIVERED, Reason.WRITTEN, 12)
        task = place.work(task)
    assert (place.made(), task.state, place.progress(task).of(Status.DELIVERED)) == (12, TaskState.DONE, 12)


def test_a_bite_that_dies_is_done_again_from_where_it_stood(
    place: Place, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.people(4)
    task = place.start()
    real, calls = backfill._save, iter(range(100))

    def dying(*arguments: Any) -> None:
        if next(calls) == 1:
            raise RuntimeError("killed before the commit")
        real(*arguments)

    monkeypatch.setattr(backfill, "_save", dying)
    task = place.work(task)
    assert (place.made(), task.cursor["made"], task.tries) == (2, 2, 1)
    task = place.work(task)
    assert (place.made(), task.cursor["made"]) == (4, 4)
    with reading() as session:
        assert session.scalar(select(func.count(func.distinct(Delivery.person_id)))) == 4


def test_paused_it_waits_and_resumed_it_goes_on(place: Place, small: None) -> None:
    place.people(9)
    task = place.work(place.start())
    backfills.move(place.workspace.id, task.id, 1, TaskState.PAUSED)
    place.end(Status.DELIVERED, Reason.WRITTEN, 6)
    task = place.work(task)
    assert (task.state, place.made()) == (TaskState.PAUSED, 6)
    progress = place.progress(task)
    assert (progress.done, progress.waiting) == (6, 0)
    backfills.move(place.workspace.id, task.id, 1, TaskState.WAITING)
    task = place.work(task)
    assert (task.state, place.made()) == (TaskState.RUNNING, 9)


def test_stopped_in_the_middle_of_a_bite_the_bite_is_dropped(
    place: Place, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.people(4)
    task = place.start()
    real = existing.following

    def pausing(*arguments: Any) -> Any:
        backfills.move(place.workspace.id, task.id, 1, TaskState.PAUSED)
        return real(*arguments)

    monkeypatch.setattr(existing, "following", pausing)
    task = place.work(task)
    assert (task.state, place.made(), task.cursor["made"]) == (TaskState.PAUSED, 0, 0)


def test_cancelled_nobody_new_is_put_in_line_and_nobody_in_it_is_lost(place: Place, small: None) -> None:
    place.people(9)
    task = place.work(place.start())
    backfills.move(place.workspace.id, task.id, 1, TaskState.CANCELLED)
    task = place.work(task)
    assert (task.state, place.made()) == (TaskState.CANCELLED, 6)
    assert place.progress(task).waiting == 6
    place.end(Status.DELIVERED, Reason.WRITTEN, 6)
    progress = place.progress(task)
    assert (progress.waiting, progress.of(Status.DELIVERED), progress.total) == (0, 6, 9)
    backfills.move(place.workspace.id, task.id, 1, TaskState.WAITING)
    assert place.read(task).state is TaskState.CANCELLED


def test_it_ends_with_the_connection(place: Place, small: None) -> None:
    place.people(9)
    task = place.work(place.start())
    lifecycle.disconnect(place.workspace.id, place.connection.id, 1)
    place.end(Status.SKIPPED, Reason.DISCONNECTED, 6)
    task = place.work(task)
    assert (task.state, task.error, place.made()) == (TaskState.FAILED, backfill.ENDED, 6)


def test_it_ends_where_the_account_was_replaced(place: Place, small: None) -> None:
    place.people(9)
    task = place.start()
    with writing() as session:
        statement = update(Connection).where(Connection.id == place.connection.id)
        session.execute(statement.values(klaviyo_account_id="ACCTNO"))
    task = place.work(task)
    assert (task.state, task.error, place.made()) == (TaskState.FAILED, backfill.MOVED, 0)


def test_people_of_another_store_are_written_only_where_they_are(place: Place, small: None) -> None:
    norway = place.rows.store(place.workspace, "no")
    place.rows.connection(place.workspace, norway)
    there, elsewhere = place.people(2, home_store_id=norway.id)
    place.rows.link(place.connection, there)
    place.rows.link(place.connection, elsewhere, found=False, klaviyo_id=None)
    (mine,) = place.people(1)
    task = place.work(place.start())
    with reading() as session:
        owed = {row.person_id: row.only_existing for row in session.scalars(select(Delivery))}
    assert owed == {there.id: True, mine.id: False}, "deleted meanwhile, nobody of another store is created"
    assert (place.progress(task).left_out, task.done) == (1, 1)


def test_a_sync_starts_only_from_a_count_that_holds(place: Place) -> None:
    place.people(1)

    def refused(count_id: int) -> str:
        with pytest.raises(Refusal) as caught:
            backfills.start(place.workspace.id, place.connection.id, 1, name="", count_id=count_id)
        return str(caught.value)

    old = place.counted()
    choices.choose_fields(place.workspace.id, None, ["points", "tier_name"])
    assert "Count again" in refused(old.id)
    assert "Count again" in refused(999)
    started = place.start("  After   connecting ")
    assert started.name == "After connecting"
    assert "not finished" in refused(place.counted().id)
    backfills.move(place.workspace.id, started.id, 1, TaskState.CANCELLED)
    with writing() as session:
        grant = update(Grant).where(Grant.connection_id == place.connection.id)
        session.execute(grant.values(scopes="accounts:read profiles:read"))
    assert "Reconnect" in refused(place.counted().id)
    with pytest.raises(LookupError):
        backfills.start(place.rows.workspace("other").id, place.connection.id, 1, name="", count_id=1)


@pytest.fixture
def klaviyo(place: Place, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> SandboxProcess:
    """The sandbox, with the connection's grant of it."""
    sandbox.reset()
    tokens = sandbox.grant("ACCTSE")
    with writing() as session:
        session.execute(delete(Grant).where(Grant.connection_id == place.connection.id))
    values = {"access_token": tokens["access_token"], "refresh_token": tokens["refresh_token"]}
    place.rows.grant(place.connection, **values, scopes=tokens["scope"])
    monkeypatch.setattr(context, "app", lambda: None)
    return sandbox


@pytest.mark.parametrize("behavior", list(SyncBehavior))
def test_a_count_says_what_a_sync_would_do(
    place: Place, klaviyo: SandboxProcess, monkeypatch: pytest.MonkeyPatch, behavior: SyncBehavior
) -> None:
    monkeypatch.setattr(backfill_count, "BITE", 3)
    with writing() as session:
        session.execute(update(Connection).values(sync_behavior=behavior))
    norway = place.rows.store(place.workspace, "no")
    place.rows.connection(place.workspace, norway)
    there, remembered, missing, bare = place.people(4)
    with writing() as session:
        session.execute(update(Person).where(Person.id == bare.id).values(fields="{}"))
    (foreign,) = place.people(1, home_store_id=norway.id)
    place.people(1, tested_only=True)
    klaviyo.put_profiles("ACCTSE", *(str(person.email) for person in (there, bare)))
    place.rows.link(place.connection, remembered)
    before = klaviyo.requests("GET /api/profiles")
    task = backfills.ask_count(place.workspace.id, place.connection.id, 1)
    assert backfills.ask_count(place.workspace.id, place.connection.id, 1).id == task.id
    task = place.work(task)
    assert (task.state, task.done, task.total, task.error) == (TaskState.DONE, 5, 5, None)
    lost = "created" if behavior is SyncBehavior.CREATE_PROFILE else "not_in_klaviyo"
    assert task.result == {"updated": 2, lost: 1, "nothing_shared": 1, "other_store": 1}
    assert klaviyo.requests("GET /api/profiles") - before == 2
    with reading() as session:
        links = {link.person_id: link.found for link in session.scalars(select(ProfileLink))}
    assert links == {there.id: True, remembered.id: True, missing.id: False, bare.id: True, foreign.id: False}
    connection = backfills.connection_of(place.workspace.id, place.connection.id)
    assert connection is not None
    found = backfills.count_of(connection)
    assert found is not None
    assert found.id == task.id
