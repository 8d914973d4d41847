"""Transactions on both databases: nothing lost between concurrent writers, reads that never write, one clock."""

from __future__ import annotations

import threading
from datetime import timedelta

import psycopg
import pytest
from flask import Flask
from sqlalchemy import make_url, select, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from tests import databases
from tests.rows import Rows
from webapp import clock
from webapp.database import (
    after_commit,
    db_now,
    insert_or_ignore,
    one_of,
    plain,
    reading,
    run_writing,
    upsert_adding,
    writing,
)
from webapp.extensions import db
from webapp.models import Workspace
from webapp.models.stats import ConnectionStat

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


def test_the_database_clock_adds_seconds_and_compares_with_stored_times(any_app: Flask, rows: Rows) -> None:
    workspace = rows.workspace()
    with reading() as session:
        now, later = session.execute(select(db_now(), db_now(12.5))).one()
        assert timedelta(seconds=12) < later - now < timedelta(seconds=13)
        assert now.tzinfo is not None
        passed = select(Workspace.id).where(Workspace.created_at <= db_now(60))
        assert session.scalars(passed).all() == [workspace.id]
        assert session.scalars(select(Workspace.id).where(Workspace.created_at <= db_now(-60))).all() == []


def test_upserts_add_and_ignore(any_app: Flask, rows: Rows) -> None:
    table = ConnectionStat.__table__
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    row = {"connection_id": 1, "kind": "event", "hour": hour, "workspace_id": 1, "delivered": 3}
    key = ["connection_id", "kind", "hour", "workspace_id"]
    with writing() as session:
        for _ in range(2):
            session.execute(upsert_adding(session, table, key=key, add=["delivered"]), [row])
        session.execute(insert_or_ignore(session, table), [row])
    assert db.session.scalar(select(ConnectionStat.delivered)) == 6


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


@pytest.mark.parametrize("ids", [[], [2], [1, 3], list(range(1, 400))])
def test_one_of_a_named_list(any_app: Flask, rows: Rows, ids: list[int]) -> None:
    """One statement for any number of ids."""
    made = [rows.workspace().id for _ in range(3)]
    base = min(made) - 1
    statement = select(Workspace.id).where(one_of(Workspace.id)).order_by(Workspace.id)
    found = [row[0] for row in plain(statement, {"ids": [base + each for each in ids]}).all()]
    assert found == [each for each in made if each - base in ids]


def test_one_of_is_served_by_an_index_of_sqlite(app: Flask) -> None:
    """Compared with true, as a condition of one's own would be, it reads the whole table."""
    with db.engine.connect() as connection:
        written = select(Workspace.name).where(one_of(Workspace.id)).compile(connection)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {written}", ("[1,2]",)).all()
    assert plan[0][3] == "SEARCH workspaces USING INTEGER PRIMARY KEY (rowid=?)"
