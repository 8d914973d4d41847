"""The price of Create profile: counted from what is remembered first, the rest looked up; nobody is ever created."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import delete, select, update

from jobs.tasks import price as price_task
from tests.jobs.tasks.place import work
from tests.rows import ALL_SCOPES, Rows
from tests.sandbox_process import SandboxProcess
from webapp import clock
from webapp.database import reading, writing
from webapp.models import Attempt, Connection, Grant, Task, TaskState, Workspace
from webapp.services.connections import price
from webapp.services.connections.price import Price


class Place:
    """A workspace of one store, connected to the sandbox's Acme SE; 30 people, 10 of them in Klaviyo."""

    def __init__(self, rows: Rows, sandbox: SandboxProcess) -> None:
        self.rows, self.sandbox = rows, sandbox
        sandbox.reset()
        self.workspace = rows.workspace()
        self.owner = rows.user(self.workspace)
        self.store, self.other = rows.store(self.workspace), rows.store(self.workspace)
        self.connection: Connection = rows.connection(self.workspace, self.store, klaviyo_account_id="ACCTSE")
        tokens = sandbox.grant("ACCTSE", *ALL_SCOPES.split())
        with writing() as session:
            session.execute(delete(Grant).where(Grant.connection_id == self.connection.id))
        rows.grant(self.connection, access_token=tokens["access_token"], refresh_token=tokens["refresh_token"])
        self.people = [rows.person(self.workspace, home_store_id=self.store.id) for _ in range(30)]
        sandbox.put_profiles("ACCTSE", *(str(person.email) for person in self.people[:10]))

    def count(self, store_id: int | None) -> Price:
        price.ask(self.connection, store_id, self.owner.id)
        work(self.connection)
        found = price.latest(self.connection, store_id)
        assert found is not None
        return found

    def looked_up(self) -> int:
        with reading() as session:
            wanted = select(Attempt.size).where(Attempt.endpoint == "GET /api/profiles")
            return sum(session.scalars(wanted))


@pytest.fixture
def place(any_app: Flask, rows: Rows, sandbox: SandboxProcess) -> Place:
    return Place(rows, sandbox)


def test_it_counts_whom_create_profile_would_add(place: Place) -> None:
    place.rows.person(place.workspace, home_store_id=place.other.id)
    before = len(place.sandbox.profiles("ACCTSE"))
    found = place.count(place.store.id)
    assert (found.missing, found.known, found.counting, found.problem) == (20, 30, False, None)
    assert len(place.sandbox.profiles("ACCTSE")) == before
    assert place.looked_up() == 30


def test_without_a_store_everybody_counts(place: Place) -> None:
    place.rows.person(place.workspace, home_store_id=place.other.id)
    place.rows.person(place.workspace)
    assert place.count(None).known == 32


def test_whoever_has_no_home_store_belongs_to_the_only_account(place: Place) -> None:
    place.rows.person(place.workspace)
    assert place.count(place.store.id).known == 31
    place.rows.connection(place.workspace, place.other)
    with writing() as session:
        session.execute(update(Workspace).values(version=Workspace.version + 1))
        session.execute(delete(Task))
    assert place.count(place.store.id).known == 30
    place.rows.person(place.workspace, home_store_id=place.other.id)
    assert place.count(None).known == 31, "the other store has an account of its own"


def test_what_is_remembered_is_not_asked_again(place: Place) -> None:
    now = clock.now()
    for person in place.people[:4]:
        place.rows.link(place.connection, person, found=True, looked_up_at=now - timedelta(days=40))
    for person in place.people[10:15]:
        place.rows.link(place.connection, person, found=False, klaviyo_id=None, looked_up_at=now)
    for person in place.people[15:18]:
        place.rows.link(place.connection, person, found=False, klaviyo_id=None, looked_up_at=now - timedelta(days=1))
    assert place.count(place.store.id).missing == 20
    assert place.looked_up() == 30 - 4 - 5


def test_it_goes_in_bites_with_progress(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_task, "BITE", 8)
    assert place.count(place.store.id).missing == 20
    with reading() as session:
        task = session.scalars(select(Task)).one()
        assert (task.done, task.total, task.state) == (30, 30, TaskState.DONE)
    # Counted again at once it is not: the same question has its answer, for some minutes.
    again = price.latest(place.connection, place.store.id)
    assert again is not None
    assert price.latest(place.connection, place.other.id) is None
    with writing() as session:
        session.get_one(Task, task.id).finished_at = clock.now() - price.REMEMBERED - timedelta(seconds=1)
    assert price.latest(place.connection, place.store.id) is None


def test_a_scope_that_lacks_is_said(place: Place) -> None:
    tokens = place.sandbox.grant("ACCTSE", "accounts:read")
    with writing() as session:
        session.execute(delete(Grant).where(Grant.connection_id == place.connection.id))
    place.rows.grant(place.connection, access_token=tokens["access_token"], scopes=tokens["scope"])
    found = place.count(place.store.id)
    assert found.problem is not None
    assert "profiles:read" in found.problem
