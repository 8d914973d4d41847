"""The database goes away at any moment of a request: the answer is a plain one, never the web server's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from flask import Flask, g
from sqlalchemy import Integer, cast, insert, make_url, select, update

from tests.apps import dispose, make_app, own_app
from tests.databases import postgres
from tests.rows import Rows
from webapp import clock, log
from webapp.database import writing
from webapp.extensions import db
from webapp.http import access
from webapp.models import Person, User, Workspace


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """An app on PostgreSQL with one workspace. No context is pushed: every request has one of its own, as outside."""
    made = make_app("postgresql", tmp_path)
    with made.app_context():
        rows = Rows()
        rows.user(rows.workspace())
    yield made
    dispose(made)


def cut(app: Flask) -> None:
    """End the app's connections as a server that is restarted does."""
    name = make_url(app.config["SQLALCHEMY_DATABASE_URI"]).database
    with psycopg.connect(postgres().get_uri(), autocommit=True) as other:
        theirs = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        assert other.execute(theirs, [name]).rowcount


def probe(app: Flask, view: Callable[[], str], path: str = "/probe") -> None:
    """A view of the test's own, that anybody may see."""
    app.add_url_rule(path, path.strip("/"), access.public(view))


def test_it_goes_after_the_last_read(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.engines.IDLE_SECONDS", 0.0)

    def view() -> str:
        name = db.session.scalar(select(Workspace.name))
        cut(app)
        return str(name)

    probe(app, view)
    probe(app, lambda: str(db.session.scalar(select(Workspace.name))), "/after")
    answer = app.test_client().get("/probe")
    assert answer.status_code == 200
    assert app.test_client().get("/after").text == answer.text, "the next request finds it again"


def test_it_goes_after_the_change_is_made(app: Flask) -> None:
    """What is durable is answered as done, also where the connection that read before it is gone."""

    def view() -> str:
        db.session.scalar(select(Workspace.name))
        with writing() as session:
            session.execute(update(Workspace).values(name="renamed"))
            session.commit()
            cut(app)
        return "done"

    probe(app, view)
    answer = app.test_client().get("/probe")
    assert (answer.status_code, answer.text) == (200, "done")


def test_the_page_that_says_so_needs_no_database(app: Flask) -> None:
    def view() -> str:
        g.user = db.session.scalars(select(User)).one()
        db.session.expire_all()
        cut(app)
        return str(db.session.scalar(select(Workspace.name)))

    probe(app, view)
    answer = app.test_client().get("/probe")
    assert answer.status_code == 503
    assert "We cannot reach our database. Nothing is lost" in answer.text
    assert answer.headers["Retry-After"]


def test_what_the_database_refuses_is_no_outage(app: Flask) -> None:
    """Whoever calls again after a 503 would do so for ever."""
    probe(app, lambda: str(db.session.scalar(select(cast("no number", Integer)))))
    answer = app.test_client().get("/probe")
    assert answer.status_code == 500
    assert "Retry-After" not in answer.headers


@pytest.fixture(params=["sqlite", "postgresql"])
def viewed_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """An app on either database that no other test has, to be given a view."""
    with own_app(request.param, tmp_path) as made:
        yield made


@pytest.mark.parametrize("wrong", [{"created_at": None}, {"erased_at": "no time"}], ids=["refused", "unusable"])
def test_a_row_that_the_database_refuses_is_not_in_the_log(
    viewed_app: Flask, wrong: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    log.set_up()
    values = {"workspace_id": Rows().workspace().id, "email": "a", "fields": "{}", "consents": "{}"}
    row = {**values, "created_at": clock.now(), "first_name": "Canary", **wrong}

    def view() -> str:
        with writing() as session:
            session.execute(insert(Person), [row])
        return "done"

    probe(viewed_app, view)
    assert viewed_app.test_client().get("/probe").status_code == 500
    said = capsys.readouterr().err
    assert "INSERT INTO people" in said
    assert "Canary" not in said
