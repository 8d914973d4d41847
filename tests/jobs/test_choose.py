"""Which deliveries are looked at next: due ones in their order, nobody past an earlier event that is put off."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from jobs import choose, line
from jobs.events import choice
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.extensions import db
from webapp.klaviyo import payloads

EVENT = "POST /api/events"


@pytest.fixture(params=[CREATES, SyncBehavior.UPDATE_EXISTING])
def shop(engine_rows: Rows, request: pytest.FixtureRequest) -> Shop:
    return Shop(engine_rows, sync_behavior=request.param)


def sent(shop: Shop) -> list[str]:
    """The addresses or ids of the events Klaviyo was sent, in order."""
    return [asked.event["unique_id"] for asked in shop.klaviyo.calls(EVENT)]


def test_later_events_wait_behind_one_that_is_put_off(shop: Shop) -> None:
    person, other = shop.person(remembered=True), shop.person(remembered=True)
    first, later, others = shop.put_off(person, 60), shop.event(person), shop.event(other)
    shop.drain(Kind.EVENT)
    assert shop.said(first, later, others) == ["waiting: backlog", "waiting: backlog", "delivered: written"]
    shop.wait_is_over()
    shop.drain(Kind.EVENT)
    assert shop.said(first, later) == ["delivered: written"] * 2
    assert len(set(sent(shop))) == 3


# A call's events: more than stand in line, so that all of it is seen at once, or fewer.
SEEN_WHOLE = 1_000


@pytest.mark.parametrize(("bulk", "front"), [(SEEN_WHOLE, 4_000), (6, 4_000), (6, 2)])
def test_many_that_are_put_off_hold_back_their_own_people_and_no_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, bulk: int, front: int
) -> None:
    """Too many to look at them all: then it is asked of those in front, or of the people at hand."""
    monkeypatch.setattr(payloads, "BULK_EVENTS", bulk)
    monkeypatch.setattr(line, "FRONT", front)
    people = [shop.person(remembered=True) for _ in range(4)]
    first = [shop.put_off(person, 60) for person in people[:3]]
    later = [shop.event(person) for person in people]
    shop.drain(Kind.EVENT)
    assert shop.said(*first, *later[:3]) == ["waiting: backlog"] * 6
    assert shop.said(later[3]) == ["delivered: written"]


@pytest.mark.parametrize("bulk", [SEEN_WHOLE, 2])
def test_an_event_that_comes_due_while_choosing_is_not_passed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, bulk: int
) -> None:
    """Who is due and who is put off is asked of one moment: between two of them the first one would vanish."""
    monkeypatch.setattr(payloads, "BULK_EVENTS", bulk)
    person = shop.person(remembered=True)
    shop.put_off(person, 0.3)
    shop.event(person)

    def slowly(real: Callable[..., dict[int, int]]) -> Callable[..., dict[int, int]]:
        def put_off_then(*arguments: Any) -> dict[int, int]:
            time.sleep(0.5)
            return real(*arguments)

        return put_off_then

    monkeypatch.setattr(line, "first_of_each", slowly(line.first_of_each))
    monkeypatch.setattr(choice, "_put_off", slowly(choice._put_off))
    shop.drain(Kind.EVENT)
    assert sent(shop) == []


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
    if db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite goes by the shape of a statement, not by statistics")
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
    """PostgreSQL believes that hardly anybody is remembered, as when it last looked."""
    if db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite goes by the shape of a statement, not by statistics")
    given = many_of(shop)
    where = {"delivery_kind": Kind.EVENT, "priority": 0, "last": 0, "most": 1_000}
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(_MANY, given)
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


def _for_any(statement: str) -> str:
    """The statement as PostgreSQL plans it once for any parameters, when it comes often."""
    numbers: dict[str, int] = {}
    return re.sub(r"%\((\w+)\)s", lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", statement)


def test_a_batch_is_read_by_its_ids_and_not_by_its_lanes_whole_line(shop: Shop) -> None:
    made = [shop.event(shop.person()) for _ in range(3)]
    assert [item.id for item in choose.by_id([made[2].id, made[0].id])] == [made[0].id, made[2].id]
    if db.engine.dialect.name != "sqlite":
        return  # PostgreSQL goes by statistics, and reads a table this small as a whole
    written = choose._BY_ID.compile(db.engine, compile_kwargs={"render_postcompile": True})
    with db.engine.connect() as connection:
        asked = written.construct_params({"ids": [1]})
        values = tuple(
            written._bind_processors.get(name, lambda value: value)(asked[name]) for name in written.positiontup or ()
        )
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {written}", values)]
    assert [each for each in plan if "deliveries" in each] == ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"]
