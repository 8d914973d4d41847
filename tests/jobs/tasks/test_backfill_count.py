"""Counting before a sync: what it would do, and that none starts without a count that holds."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, select, update

from jobs import context
from jobs.tasks import backfill_count
from tests.jobs.tasks.place import Place
from tests.sandbox_process import SandboxProcess
from webapp.catalogue.words import SyncBehavior
from webapp.database import reading, writing
from webapp.models import (
    Connection,
    Grant,
    Person,
    ProfileLink,
    TaskState,
)
from webapp.services.connections.lifecycle import Refusal
from webapp.services.sharing import backfills, choices


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
