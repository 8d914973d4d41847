"""Fixtures of the web application's tests: an app on a fresh database, a client, rows to start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.apps import dispose, make_app
from tests.rows import Rows


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """An app on a fresh SQLite database, its context pushed."""
    made = make_app("sqlite", tmp_path)
    with made.app_context():
        yield made
    dispose(made)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """The same on both databases: for whatever touches the data layer."""
    made = make_app(request.param, tmp_path)
    with made.app_context():
        yield made
    dispose(made)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser without JavaScript, signed out."""
    return app.test_client()


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> Rows:
    """Makes rows in the app's database: `rows.workspace()`, `rows.connection()`, ..."""
    request.getfixturevalue("any_app" if "any_app" in request.fixturenames else "app")
    return Rows()
