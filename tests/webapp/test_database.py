"""Transactions on both databases: nothing lost between concurrent writers, reads that never write."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
from flask import Flask
from sqlalchemy import make_url, select, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from tests import databases
from tests.rows import Rows
from webapp import clock
from webapp.database import after_commit, reading, run_writing, writing
from webapp.dialects import db_now
from webapp.extensions import db
from webapp.models import Workspace

THREADS, TIMES = 8, 25


def test_concurrent_read_then_write_loses_nothing(any_app: Flask, rows: Rows) -> None:
    workspace = rows.workspace()

    def raise_version() -> None:
        with any_app.app_context():
            for _ in range(TIMES):
                run_writing(lambda session: _read_then_write(session, workspace.id))

    threads = [threading.Thread(target=raise_version) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db.session.get_one(Workspace, workspace.id).version == 1 + THREADS * TIMES


def _read_then_write(session: Session, workspace_id: int) -> None:
    seen = session.scalars(select(Workspace.version).where(Workspace.id == workspace_id).with_for_update()).one()
    session.execute(update(Workspace).where(Workspace.id == workspace_id).values(version=seen + 1))


def test_reads_cannot_write(any_app: Flask) -> None:
    db.session.add(Workspace(slug="x", name="x", created_at=clock.now()))
    with pytest.raises(DBAPIError):
        db.session.commit()
    db.session.rollback()
    with reading() as session, pytest.raises(DBAPIError):
        session.execute(update(Workspace).values(name="y"))


def test_a_request_reads_its_own_write(any_app: Flask, rows: Rows) -> None:
    assert db.session.scalars(select(Workspace)).all() == []
    rows.workspace("mine")
    assert [row.slug for row in db.session.scalars(select(Workspace))] == ["mine"]


def test_writing_inside_writing_is_one_transaction(any_app: Flask, rows: Rows) -> None:
    with pytest.raises(RuntimeError), writing():
        rows.workspace("gone")
        raise RuntimeError
    assert db.session.scalars(select(Workspace)).all() == []


def test_after_commit_runs_after_the_commit_and_not_without_one(any_app: Flask) -> None:
    seen: list[int] = []

    def count() -> None:
        seen.append(len(db.session.scalars(select(Workspace)).all()))

    with writing() as session:
        session.add(Workspace(slug="a", name="a", created_at=clock.now()))
        after_commit(session, count)
        assert seen == []
    assert seen == [1]
    with pytest.raises(RuntimeError), writing() as session:
        after_commit(session, count)
        raise RuntimeError
    assert seen == [1]


def test_whoever_is_kept_out_for_long_is_told(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times as long as SQLite waits would be more than anybody at the other end does."""
    tries: list[int] = []
    monkeypatch.setattr(time, "monotonic", lambda: 10.0 * len(tries))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)

    def locked(_session: object) -> None:
        tries.append(0)
        raise OperationalError("x", None, Exception("database is locked"))

    with pytest.raises(OperationalError):
        run_writing(locked)
    assert len(tries) == 2


def test_run_writing_tries_again_only_what_may_pass(any_app: Flask) -> None:
    tries: list[int] = []

    def locked_once(_session: object) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise OperationalError("x", None, Exception("database is locked"))
        return "done"

    assert run_writing(locked_once) == "done"

    def broken(_session: object) -> None:
        tries.append(1)
        raise OperationalError("x", None, Exception("no such table"))

    with pytest.raises(OperationalError):
        run_writing(broken)
    assert len(tries) == 3


def test_a_connection_that_lay_idle_is_tried_before_it_is_used(
    any_app: Flask, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart of the server: nobody is told of connections that died while nobody used them."""
    monkeypatch.setattr("webapp.engines.IDLE_SECONDS", 0.0)
    workspace = rows.workspace()
    with reading() as session:
        session.scalar(select(db_now()))
    url = make_url(any_app.config["SQLALCHEMY_DATABASE_URI"])
    if url.get_backend_name() == "postgresql":
        with psycopg.connect(databases.postgres().get_uri(), autocommit=True) as other:
            theirs = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            assert other.execute(theirs, [url.database]).rowcount >= 2
    with reading() as session:
        assert session.scalar(select(Workspace.slug)) == workspace.slug
    with writing() as session:
        session.execute(update(Workspace).values(name="renamed"))
