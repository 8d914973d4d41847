"""When a lane is laid to sleep: until what is put off in its line, and without walking a line that is empty."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Update, update

from jobs import claim as claiming
from jobs.events import choice
from tests.jobs.shop import Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import Person

EVENT = "POST /api/events"


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each lane that was laid to sleep, whether its line was looked at for when it goes on."""
    found: list[bool] = []
    real = claiming._is_met

    def noted(statement: Update, where: dict[str, object]) -> bool:
        found.extend([statement is claiming._SLEEP_IN_LINE] if statement is not claiming._QUEUE_AGAIN else [])
        return real(statement, where)

    monkeypatch.setattr(claiming, "_is_met", noted)
    return found


@pytest.mark.parametrize("count", [1, 9])
def test_a_line_whose_all_was_delivered_is_not_walked_once_more(shop: Shop, asleep: list[bool], count: int) -> None:
    deliveries = shop.in_turns(count)[1]
    shop.drain(Kind.EVENT)
    assert set(shop.said(*deliveries)) == {"delivered: written"}
    assert asleep == [False]
    assert shop.lane(Kind.EVENT).next_at is None


@pytest.mark.parametrize("count", [1, 9])
def test_whatever_is_put_off_says_when_the_lane_goes_on(shop: Shop, asleep: list[bool], count: int) -> None:
    shop.in_turns(count)
    later = shop.put_off(shop.person(remembered=True), 60)
    shop.drain(Kind.EVENT)
    assert asleep == [True]
    lane = shop.lane(Kind.EVENT)
    assert lane.next_at is not None
    assert timedelta(seconds=50) < lane.next_at - clock.now() <= timedelta(seconds=60)
    assert shop.said(later) == ["waiting: backlog"]


@pytest.mark.parametrize("count", [1, 9])
def test_who_is_found_erased_when_the_call_goes_is_not_left_in_line(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    people, deliveries = shop.in_turns(count)
    real = choice.as_known_now

    def erased_first(*given: Any) -> Any:
        with writing() as session:
            session.execute(update(Person).where(Person.id == people[0].id).values(email=None))
        return real(*given)

    monkeypatch.setattr(choice, "as_known_now", erased_first)
    shop.drain(Kind.EVENT)
    assert shop.said(deliveries[0]) == ["skipped: erased"]
    assert not any(said.startswith("waiting") for said in shop.said(*deliveries))
