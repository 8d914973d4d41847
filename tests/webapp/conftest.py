"""Fixtures of the web application's tests: an app on a fresh database, a client, rows to start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.apps import lent_app
from tests.rows import Rows


@pytest.fixture
def app() -> Iterator[Flask]:
    """An app on an empty SQLite database, its context pushed."""
    with lent_app("sqlite") as lent:
        yield lent


@pytest.fixture(params=["sqlite", "postgresql"])
def any_app(request: pytest.FixtureRequest) -> Iterator[Flask]:
    """The same on both databases: for whatever touches the data layer."""
    with lent_app(request.param) as lent:
        yield lent


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser without JavaScript, signed out."""
    return app.test_client()


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> Rows:
    """Makes rows in the app's database: `rows.workspace()`, `rows.connection()`, ..."""
    request.getfixturevalue("any_app" if "any_app" in request.fixturenames else "app")
    return Rows()
