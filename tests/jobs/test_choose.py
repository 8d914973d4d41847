"""Which deliveries are looked at next: due ones in their order, nobody past an earlier event that is put off."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from jobs import line
from jobs.events import choice, event
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
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


def test_a_batch_is_read_by_its_ids_and_not_by_its_lanes_whole_line(shop: Shop) -> None:
    made = [shop.event(shop.person()) for _ in range(3)]
    assert [item.id for item in event.by_id([made[2].id, made[0].id])] == [made[0].id, made[2].id]
    if db.engine.dialect.name != "sqlite":
        return  # PostgreSQL goes by statistics, and reads a table this small as a whole
    written = event._BY_ID.compile(db.engine, compile_kwargs={"render_postcompile": True})
    with db.engine.connect() as connection:
        asked = written.construct_params({"ids": [1]})
        values = tuple(
            written._bind_processors.get(name, lambda value: value)(asked[name]) for name in written.positiontup or ()
        )
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {written}", values)]
    assert [each for each in plan if "deliveries" in each] == ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"]
