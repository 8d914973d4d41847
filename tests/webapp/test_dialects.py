"""What differs between the databases means the same on both: the clock, upserts, lists of ids."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, literal, null, select

from tests.rows import Rows
from webapp import clock
from webapp.database import plain, reading, writing
from webapp.dialects import db_now, one_of, pinned
from webapp.extensions import db
from webapp.models import Workspace
from webapp.models.stats import ConnectionStat
from webapp.upserts import insert_or_ignore, upsert_adding


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


def test_a_pinned_number_is_that_number(any_app: Flask, rows: Rows) -> None:
    made = [rows.workspace().id for _ in range(3)]
    asked = select(Workspace.id).where(pinned(Workspace.id, "this"), pinned(Workspace.version, "version", 1))
    for each in made:
        assert [row[0] for row in plain(asked, {"this": each}).all()] == [each]
    assert plain(asked, {"this": made[0], "version": 2}).all() == []


def test_a_name_is_folded_alike_on_both(any_app: Flask) -> None:
    """Letter by letter, as PostgreSQL does: the last sigma of a word is not another one."""
    names = {"ÖVIK": "övik", "ΣΑΣ": "σασ", "Straße": "straße", "Acme 50%": "acme 50%"}
    with reading() as session:
        assert session.execute(select(*(func.lower(literal(name)) for name in names))).one() == tuple(names.values())
        assert session.scalar(select(func.lower(null()))) is None
