"""Tasks worked on in the test's own process: claim the tasks lane, do its bites, give it back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select, update

from jobs.claim import claim, release
from jobs.tasks import lane as tasks_lane
from tests.apps import dispose, make_app
from tests.rows import Rows
from tests.sandbox_process import SandboxProcess
from webapp.database import db_now, reading, writing
from webapp.models import Connection, Lane, LaneKind


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """A Klaviyo stand-in for a module's tests."""
    with SandboxProcess("--memory", "--limits", "off") as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def any_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """An app on either database, speaking to the sandbox where the test has one."""
    environ = {}
    if "sandbox" in request.fixturenames:
        environ["SANDBOX_PORT"] = str(request.getfixturevalue("sandbox").port)
    made = make_app(request.param, tmp_path, **environ)
    with made.app_context():
        yield made
    dispose(made)


@pytest.fixture
def rows(any_app: Flask) -> Rows:
    """Rows in the app's database."""
    return Rows()


def work(connection: Connection) -> None:
    """Do what is due in a connection's tasks lane."""
    with writing() as session:
        mine = (Lane.connection_id == connection.id, Lane.kind == LaneKind.TASKS)
        session.execute(update(Lane).where(*mine).values(next_at=db_now(), held_until=None))
    with reading() as session:
        lane_id = session.execute(select(Lane.id).where(*mine)).scalar_one()
    held = claim(lane_id)
    assert held is not None
    again, due_at = tasks_lane.work(held, time.monotonic() + 5)
    release(held, again=again, due_at=due_at)
