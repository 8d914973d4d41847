"""Fixtures of the tasks' tests: an app on either database, a sandbox for it, a workspace with people to sync."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.apps import lent_app
from tests.jobs.tasks.place import Place
from tests.rows import Rows
from tests.sandbox_process import SandboxProcess
from webapp.extensions import db


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    """A Klaviyo stand-in for a module's tests."""
    with SandboxProcess("--memory", "--limits", "off") as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def any_app(request: pytest.FixtureRequest) -> Iterator[Flask]:
    """An app on either database, speaking to the sandbox where the test has one."""
    environ = {}
    if "sandbox" in request.fixturenames:
        environ["SANDBOX_PORT"] = str(request.getfixturevalue("sandbox").port)
    with lent_app(request.param, **environ) as lent:
        yield lent


@pytest.fixture
def rows(any_app: Flask) -> Rows:
    """Rows in the app's database."""
    return Rows()


@pytest.fixture
def place(any_app: Flask, rows: Rows) -> Place:
    """A connected workspace with people to sync."""
    db.session.rollback()
    return Place(rows)
