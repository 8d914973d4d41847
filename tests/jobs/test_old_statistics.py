"""Statements of the engine go by the right index, however old PostgreSQL's statistics are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from jobs import choose, line
from jobs.events import choice
from jobs.fields import confirm, converge
from tests.jobs.shop import Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.extensions import db


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite goes by the shape of a statement, not by statistics")
    return Shop(engine_rows)


_MANY = text("""
WITH asked AS (
    INSERT INTO activities (id, workspace_id, external_id, type, event, origin, person_id, occurred_at, accepted_at,
        properties, profile, route, starts_flows)
    SELECT :base + n, :workspace, 'many-' || n, 'event', 'tier_earned', 'platform', :person, now(), now(), '{}', '{}',
        'only', false
    FROM generate_series(1, 20000) n
)
INSERT INTO deliveries (workspace_id, activity_id, connection_id, kind, person_id, event, status, reason, priority,
    due_at, created_at, expires_at, only_existing, attempts)
SELECT :workspace, :base + n, :connection, 'event', :person, 'tier_earned', 'waiting', 'backlog', 0,
    now(), now(), now() + interval '7 days', false, 0
FROM generate_series(1, 20000) n
""")


def many_of(shop: Shop) -> dict[str, int]:
    """Where those rows belong; their ids are nobody else's."""
    base = 100_000 * shop.workspace.id
    return {"connection": shop.connection.id, "workspace": shop.workspace.id, "person": shop.person().id, "base": base}


def test_what_is_finished_is_never_walked_however_old_the_statistics(shop: Shop) -> None:
    """PostgreSQL believes that all wait, as they did when it last looked; nearly none do by now."""
    given = many_of(shop)
    where = {"delivery_kind": Kind.EVENT, "priority": 0, "first": 18_000, "most": 1_000}
    lines = (choose._DUE, choice._STANDING, choice._STANDING_LATER, choice._DUE_BY_NOW, choice._LATER)
    statements: list[tuple[Any, int]] = [(each, 100) for each in lines]
    statements += [(each, 19_000) for each in (choice._BEFORE, line.PUT_OFF.in_front, line.PASSED.in_front)]
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(_MANY, given)
        connection.execute(text("ANALYZE"))
        connection.execute(text("UPDATE deliveries SET status = 'delivered', reason = 'written' WHERE id % 100 > 0"))
        for statement, last in statements:
            written, processed = _written(connection, statement, {**given, **where, "last": last})
            plans = (
                connection.exec_driver_sql(f"EXPLAIN {written}", processed).scalars().all(),
                connection.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {_for_any(str(written))}").scalars().all(),
            )
            for plan in plans:
                walked = [each for each in plan if " on deliveries" in each]
                assert [each for each in walked if "ix_deliveries_waiting" not in each] == [], "\n".join(plan)
                assert walked


def _written(connection: Connection, statement: Any, where: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A statement as it is sent, and its parameters."""
    written = statement.compile(connection, compile_kwargs={"render_postcompile": True})
    values = written.construct_params({**where, "now": clock.now() + timedelta(seconds=1)})
    return written, {name: written._bind_processors.get(name, lambda value: value)(values[name]) for name in values}


_PEOPLE = text("""
WITH born AS (
    INSERT INTO people (id, workspace_id, email, fields, fields_version, consents, created_at)
    SELECT :base + n, :workspace, 'many-' || n || '@example.com', '{}', 0, '{}', now()
    FROM generate_series(1, 2000) n
)
INSERT INTO profile_links (connection_id, person_id, found, fields_version, looked_up_at)
SELECT :connection, :base + n, true, 0, now()
FROM generate_series(1, 2000) n
""")


def test_each_event_finds_its_persons_link_at_once_however_old_the_statistics(shop: Shop) -> None:
    """PostgreSQL believes that hardly anybody is remembered of this account, as when it last looked."""
    given = many_of(shop)
    where = {"delivery_kind": Kind.EVENT, "priority": 0, "last": 0, "most": 1_000}
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(_MANY, given)
        connection.execute(_PEOPLE, many_of(Shop(shop.rows)))
        connection.execute(text("ANALYZE"))
        connection.execute(_PEOPLE, given)
        connection.execute(
            text("UPDATE deliveries SET person_id = :base + 1 + id % 2000 WHERE connection_id = :connection"), given
        )
        for statement in (choice._STANDING, choice._STANDING_LATER, choice._DUE_BY_NOW, choice._LATER):
            written, processed = _written(connection, statement, {**given, **where})
            plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE) {written}", processed).scalars().all()
            assert [each for each in plan if "rows=1000" in each]
            assert [each for each in plan if "Removed by Join Filter" in each] == [], "\n".join(plan)


def test_thousands_of_people_are_found_by_themselves_and_not_by_their_account(shop: Shop) -> None:
    """PostgreSQL believes that the account has no deliveries at all, as when it last looked."""
    given = many_of(shop)
    people = [given["base"] + n for n in range(1, 2001)]
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
        connection.execute(_MANY, given)
    with _plans() as plans, reading() as session:
        assert converge._carried(session, _run(shop), people, clock.now()) == []
    assert plans
    assert [each for each in plans if "ix_deliveries_connection_id" in each] == []


def test_nor_by_all_that_waits_in_any_account(shop: Shop) -> None:
    """PostgreSQL believes that nothing waits anywhere, as when it last looked; 20,000 of another account's do."""
    given, other = many_of(shop), many_of(Shop(shop.rows))
    people = [given["base"] + n for n in range(1, 201)]
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(_MANY, given)
        connection.execute(
            text("UPDATE deliveries SET status = 'delivered', reason = 'written', person_id = :base + id"),
            given,
        )
        connection.execute(text("ANALYZE"))
        connection.execute(_MANY, other)
        connection.execute(text("UPDATE deliveries SET kind = 'fields'"))
    with _plans() as plans, writing() as session:
        confirm._release(session, _run(shop), people)
    assert plans
    assert [each for each in plans if "ix_deliveries_person_id" not in each] == []


def _run(shop: Shop) -> Any:
    return SimpleNamespace(held=SimpleNamespace(connection_id=shop.connection.id))


@contextmanager
def _plans() -> Iterator[list[str]]:
    """How deliveries are found by questions of thousands of people."""
    plans: list[str] = []

    def explained(cursor_of: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if " deliveries" in statement and "unnest" in statement:
            lines = cursor_of.connection.cursor().execute(f"EXPLAIN {statement}", parameters)
            told = [row[0] for row in lines]
            found = [each for each in told if " on deliveries" in each or " on ix_deliveries" in each]
            plans.extend(each for each in found if not each.startswith("Update"))

    engines = {db.engine, db.engines["read"]}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", explained)
    try:
        yield plans
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", explained)


def _for_any(statement: str) -> str:
    """The statement as PostgreSQL plans it once for any parameters, when it comes often."""
    numbers: dict[str, int] = {}
    return re.sub(r"%\((\w+)\)s", lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", statement)
