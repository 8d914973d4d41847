"""Every grant is refreshed daily: an uninstall is noticed within a day although nothing is sent, paused or not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import delete, select, update

from jobs import housekeeping
from tests.apps import lent_app
from tests.jobs.tasks.place import work
from tests.rows import ALL_SCOPES, Rows
from tests.sandbox_process import SandboxProcess
from webapp import clock
from webapp.database import reading, writing
from webapp.dialects import db_now
from webapp.models import Connection, ConnectionState, Grant, Lane, LaneKind
from webapp.services.connections import lifecycle
from webapp.services.oauth import grants

OLD = grants.DAILY + timedelta(minutes=1)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess("--memory", "--limits", "off") as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, sandbox: SandboxProcess) -> Iterator[Flask]:
    with lent_app(request.param, SANDBOX_PORT=str(sandbox.port)) as lent:
        yield lent


def connected(rows: Rows, sandbox: SandboxProcess) -> Connection:
    """A connection of the sandbox's Acme SE whose grant is a day old, all of its lanes at rest."""
    sandbox.reset()
    made = rows.connection(rows.workspace(), klaviyo_account_id="ACCTSE")
    tokens = sandbox.grant("ACCTSE", *ALL_SCOPES.split())
    with writing() as session:
        session.execute(delete(Grant).where(Grant.connection_id == made.id))
    rows.grant(made, access_token=tokens["access_token"], refresh_token=tokens["refresh_token"])
    with writing() as session:
        session.execute(update(Grant).values(refreshed_at=clock.now() - OLD))
        session.execute(update(Lane).values(next_at=None))
    return made


def due(connection: Connection) -> list[LaneKind]:
    """The lanes that are to be woken now."""
    with reading() as session:
        mine = (Lane.connection_id == connection.id, Lane.next_at <= db_now(), Lane.stopped.is_(False))
        return list(session.scalars(select(Lane.kind).where(*mine)))


@pytest.mark.parametrize("paused", [False, True])
def test_an_uninstall_is_noticed_within_a_day_though_nothing_is_sent(
    app: Flask, sandbox: SandboxProcess, paused: bool
) -> None:
    rows = Rows()
    made = connected(rows, sandbox)
    if paused:
        lifecycle.pause(made.workspace_id, made.id, None, on=True)
    housekeeping.run()
    assert due(made) == [LaneKind.TASKS]
    work(made)
    with reading() as session:
        assert session.scalars(select(Grant)).one().refreshed_at > clock.now() - timedelta(minutes=1)
        assert session.get_one(Connection, made.id).state is ConnectionState.ACTIVE
    with writing() as session:
        session.execute(update(Grant).values(refreshed_at=clock.now() - OLD))
    sandbox.uninstall("ACCTSE")
    housekeeping.run()
    work(made)
    with reading() as session:
        found = session.get_one(Connection, made.id)
        assert (found.state, found.state_cause) == (ConnectionState.NEEDS_REAUTHORIZATION, grants.REMOVED)


def test_a_young_grant_is_left_alone(app: Flask, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    made = connected(Rows(), sandbox)
    with writing() as session:
        session.execute(update(Grant).values(refreshed_at=clock.now()))
    monkeypatch.setattr(grants, "usable", lambda *_: pytest.fail("nobody needed a token"))
    housekeeping.run()
    assert due(made) == []
    work(made)


def test_grants_that_cannot_be_refreshed_keep_no_other_from_its_turn(
    app: Flask, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "GRANTS_A_ROUND", 1)
    rows = Rows()
    made = [connected(rows, sandbox) for _ in range(3)]
    for _ in range(30):
        housekeeping.run()
    assert [due(each) for each in made] == [[LaneKind.TASKS]] * 3
