"""What Klaviyo took is written down while the next call is under way, and before anything that goes by it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from jobs import line, pace
from jobs.events import calls
from tests.jobs.klaviyo import Asked, Given, good, html
from tests.jobs.shop import SIZE, Killed, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.models import Attempt
from webapp.services import lanes

MANY = "POST /api/event-bulk-create-jobs"
pytestmark = pytest.mark.usefixtures("few_fill_a_call")


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def heads(shop: Shop) -> list[int]:
    """Of each call which batch it was: 0 for the first eight events."""
    return [asked.events[0]["properties"]["n"] // SIZE for asked in shop.klaviyo.calls(MANY)]


def around_each_record(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], object]) -> None:
    """`before(n)` is called before the n-th call's deliveries get their statuses, counted from 0."""
    real, number = calls._record, iter(range(100))

    def noted(*args: Any, **values: Any) -> None:
        before(next(number))
        real(*args, **values)

    monkeypatch.setattr(calls, "_record", noted)


def attempts(shop: Shop) -> list[int | None]:
    with reading() as session:
        mine = select(Attempt.http_status).where(Attempt.connection_id == shop.connection.id)
        return list(session.scalars(mine.order_by(Attempt.id)))


def test_a_call_is_written_down_while_the_next_one_waits_for_its_answer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, deliveries = shop.in_turns(3 * SIZE)
    asked, begun, in_time = threading.Event(), threading.Event(), []

    def beside(number: int) -> None:
        if number == 0:
            in_time.append(asked.wait(10))
            begun.set()

    def waits(_asked: Asked) -> Given:
        asked.set()
        return good(202) if begun.wait(20) else html(503)

    around_each_record(monkeypatch, beside)
    shop.klaviyo.script(MANY, good(202), waits)
    shop.drain(Kind.EVENT)
    assert in_time == [True]
    assert heads(shop) == [0, 1, 2]
    assert shop.said(*deliveries) == ["delivered: written"] * 3 * SIZE
    assert shop.open_batches(Kind.EVENT) == []
    assert attempts(shop) == [202] * 3


@pytest.mark.parametrize("front", [4_000, 3], ids=["a short line", "a long line"])
def test_nobody_waits_behind_what_is_delivered_and_does_not_say_so_yet(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, prepared: list[list[int]], front: int
) -> None:
    monkeypatch.setattr(line, "FRONT", front)
    ids = [delivery.id for delivery in shop.in_turns(4 * SIZE)[1]]
    shop.drain(Kind.EVENT)
    assert prepared == [ids[start : start + SIZE] for start in (SIZE, 2 * SIZE, 3 * SIZE)] + [[]]
    assert heads(shop) == [0, 1, 2, 3]


def test_both_go_again_in_their_order_where_the_worker_dies(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first was written down; the second was on its way."""
    _, deliveries = shop.in_turns(3 * SIZE)

    def dies(_number: int) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        around_each_record(patch, dies)
        with pytest.raises(Killed):
            shop.drain(Kind.EVENT)
    first = shop.klaviyo.calls(MANY)
    assert len(shop.open_batches(Kind.EVENT)) == len(first) == 2
    shop.klaviyo.asked.pop()  # nobody was left to write the second down
    with writing() as session:
        session.merge(shop.lane(Kind.EVENT)).lease_until = clock.now() - timedelta(seconds=1)
    shop.drain(Kind.EVENT)
    assert heads(shop) == [0, 0, 1, 2]
    again = shop.klaviyo.calls(MANY)[1:3]
    assert [[event["unique_id"] for event in asked.events] for asked in again] == [
        [event["unique_id"] for event in asked.events] for asked in first
    ]
    assert shop.said(*deliveries) == ["delivered: written"] * 3 * SIZE


def test_whoever_loses_the_lane_meanwhile_leaves_both_to_the_next(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    _, deliveries = shop.in_turns(3 * SIZE)

    def lose(number: int) -> None:
        if number == 0:
            with writing() as session:
                lanes.stop(session, shop.connection.id)

    around_each_record(monkeypatch, lose)
    shop.drain(Kind.EVENT)
    assert attempts(shop) == [202, 202], "both were made"
    assert len(shop.open_batches(Kind.EVENT)) == 2
    assert set(shop.said(*deliveries)) == {"waiting: backlog"}
    with writing() as session:
        lanes.start(session, shop.connection.id)
    shop.drain(Kind.EVENT)
    assert heads(shop) == [0, 1, 0, 1, 2]
    assert shop.said(*deliveries) == ["delivered: written"] * 3 * SIZE


def test_it_is_written_down_where_the_next_call_may_not_be_made(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, prepared: list[list[int]]
) -> None:
    _, deliveries = shop.in_turns(2 * SIZE)
    real, reserved = pace.reserve, iter(range(100))

    def once(*args: Any, **values: Any) -> pace.Reserved:
        if next(reserved):
            raise pace.OverBudget(clock.now() + timedelta(seconds=30))
        return real(*args, **values)._replace(left=1)

    monkeypatch.setattr(pace, "reserve", once)
    shop.drain(Kind.EVENT)
    assert prepared == [[delivery.id for delivery in deliveries[SIZE:]]]
    assert shop.said(*deliveries) == ["delivered: written"] * SIZE + ["waiting: backlog"] * SIZE
    lane = shop.lane(Kind.EVENT)
    assert (shop.open_batches(Kind.EVENT), lane.held_reason) == ([], "rate_limited")


def test_it_is_written_down_where_the_next_call_is_not_taken(shop: Shop, prepared: list[list[int]]) -> None:
    """A refusal of the second says nothing of the first."""
    _, deliveries = shop.in_turns(2 * SIZE)
    shop.klaviyo.script(MANY, good(202), html(503))
    shop.drain(Kind.EVENT)
    assert shop.said(*deliveries) == ["delivered: written"] * SIZE + ["waiting: backlog"] * SIZE
    assert len(shop.open_batches(Kind.EVENT)) == 1
    shop.drain(Kind.EVENT, times=2)
    assert heads(shop)[:2] == [0, 1]
    assert set(heads(shop)[2:]) == {1}


def test_it_is_written_down_before_the_line_is_read_anew(shop: Shop) -> None:
    """Behind the first batch stands somebody nobody knows: nothing can be prepared, and nothing goes twice."""
    shop.in_turns(SIZE)
    unknown = shop.person()
    later = [shop.event(unknown, properties=f'{{"n":{90 + n}}}') for n in range(SIZE)]
    shop.drain(Kind.EVENT)
    assert [asked.events[0]["properties"]["n"] for asked in shop.klaviyo.calls(MANY)] == [0, 90]
    assert shop.said(*later) == ["delivered: written"] * SIZE
