"""The list picker's task: every page of lists, what a connection says of its own list, plain reasons where it fails."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import delete, select

from jobs.run import Hold, Run
from tests.jobs.tasks.place import work
from tests.rows import ALL_SCOPES, Rows
from tests.sandbox_process import SandboxProcess
from webapp import clock
from webapp.database import reading, writing
from webapp.models import Attempt, Connection, ConnectionState, Grant, ScopeProof, Task, TaskState
from webapp.services.connections import lists


class Place:
    """A workspace connected to the sandbox's Acme SE."""

    def __init__(self, rows: Rows, sandbox: SandboxProcess) -> None:
        self.rows, self.sandbox = rows, sandbox
        sandbox.reset()
        self.workspace = rows.workspace()
        self.owner = rows.user(self.workspace)
        self.connection: Connection = rows.connection(self.workspace, klaviyo_account_id="ACCTSE")
        self.grant(*ALL_SCOPES.split())

    def grant(self, *scopes: str) -> None:
        tokens = self.sandbox.grant("ACCTSE", *scopes)
        with writing() as session:
            session.execute(delete(Grant).where(Grant.connection_id == self.connection.id))
        self.rows.grant(
            self.connection,
            access_token=tokens["access_token"],
            refresh_token=tokens["refresh_token"],
            scopes=tokens["scope"],
        )

    def read(self) -> Connection:
        with reading() as session:
            return session.get_one(Connection, self.connection.id)

    def fetch(self) -> Task:
        lists.ask(self.read(), self.owner.id)
        work(self.connection)
        with reading() as session:
            return session.scalars(select(Task).order_by(Task.id.desc())).first() or Task()

    def choose(self, list_id: str, name: str) -> None:
        with writing() as session:
            row = session.get_one(Connection, self.connection.id)
            row.list_id, row.list_name, row.list_opt_in = list_id, name, "single_opt_in"


@pytest.fixture
def place(any_app: Flask, rows: Rows, sandbox: SandboxProcess) -> Place:
    return Place(rows, sandbox)


def test_every_list_of_the_account_is_there_by_name_with_its_opt_in(place: Place) -> None:
    there = place.sandbox.lists("ACCTSE")
    assert len(there) > 20
    task = place.fetch()
    assert (task.state, task.error) == (TaskState.DONE, None)
    found = lists.picker(place.read())
    assert [row.name for row in found.lists] == sorted(there, key=str.casefold)
    assert {row.name: (row.id, row.opt_in) for row in found.lists} == {
        name: (row["id"], row["opt_in_process"]) for name, row in there.items()
    }
    assert {row.opt_in for row in found.lists} == {"single_opt_in", "double_opt_in"}
    assert (found.asking, found.due, found.problem) == (False, False, None)
    with reading() as session:
        attempts = session.scalars(select(Attempt)).all()
        assert [attempt.endpoint for attempt in attempts] == ["GET /api/lists"] * 3
        proof = session.get_one(ScopeProof, (place.connection.id, "lists:read"))
        assert proof.proven_by == "GET /api/lists"


def test_asking_twice_works_once(place: Place) -> None:
    lists.ask(place.read(), place.owner.id)
    lists.ask(place.read(), place.owner.id)
    assert lists.picker(place.read()).asking
    with reading() as session:
        assert len(session.scalars(select(Task)).all()) == 1


def test_the_chosen_list_is_followed_renamed_and_missed(place: Place) -> None:
    name, row = next(iter(place.sandbox.lists("ACCTSE").items()))
    place.choose(row["id"], "As it was called before")
    place.fetch()
    assert (place.read().list_name, place.read().list_missing_at) == (name, None)
    place.sandbox.delete("ACCTSE", lists=(row["id"],))
    place.fetch()
    assert place.read().list_id == row["id"]
    assert place.read().list_missing_at is not None


def test_a_missing_scope_is_said_and_the_choice_kept(place: Place) -> None:
    place.grant("accounts:read", "profiles:read")
    place.choose("Kept", "Kept")
    assert lists.picker(place.read()).lacks_scope
    task = place.fetch()
    assert task.state is TaskState.FAILED
    assert "lists:read" in (task.error or "")
    assert place.read().list_id == "Kept"
    assert place.read().list_missing_at is None


def test_an_unreachable_klaviyo_ends_in_a_sentence_and_another_try_is_offered(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "back_off", lambda _run: Hold(seconds=0))
    place.sandbox.fault("503", account="ACCTSE", endpoint="GET /api/lists", times=100)
    task = place.fetch()
    for _ in range(5):
        if task.state is not TaskState.FAILED:
            work(place.connection)
            with reading() as session:
                task = session.get_one(Task, task.id)
    assert task.state is TaskState.FAILED
    found = lists.picker(place.read())
    assert found.problem == "Klaviyo did not answer as it should. Try again in a few minutes."
    assert not found.due  # nobody is asked again before a person wishes it
    place.sandbox.clear_faults()
    assert place.fetch().state is TaskState.DONE
    assert lists.picker(place.read()).problem is None


def test_an_uninstalled_app_is_noticed_by_it(place: Place) -> None:
    place.sandbox.uninstall("ACCTSE")
    task = place.fetch()
    assert task.error == "Klaviyo no longer accepts our access. Reconnect first."
    assert place.read().state is ConnectionState.NEEDS_REAUTHORIZATION
    assert "Reconnect" in str(lists.picker(place.read()).problem)


def test_lists_of_an_account_replaced_meanwhile_are_not_offered(place: Place) -> None:
    place.fetch()
    assert lists.picker(place.read()).lists
    lists.ask(place.read(), place.owner.id)
    with writing() as session:
        session.get_one(Connection, place.connection.id).klaviyo_account_id = "ACCTNO"
    work(place.connection)
    found = lists.picker(place.read())
    assert (found.lists, found.due, found.fetched_at) == ((), True, None)
    with reading() as session:
        assert lists.find(session, place.read(), "any") is None


def test_they_are_remembered_for_minutes_and_then_due_again(place: Place) -> None:
    task = place.fetch()
    with writing() as session:
        session.get_one(Task, task.id).finished_at = clock.now() - lists.REMEMBERED
    found = lists.picker(place.read())
    assert found.due
    assert found.lists  # old ones are better than none while newer ones come
