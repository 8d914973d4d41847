"""Which deliveries are looked at next: due ones in their order, nobody past an earlier event that is put off."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from jobs import choose
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import writing
from webapp.models import Delivery, Person

EVENT = "POST /api/events"


@pytest.fixture(params=[CREATES, SyncBehavior.UPDATE_EXISTING])
def shop(engine_rows: Rows, request: pytest.FixtureRequest) -> Shop:
    return Shop(engine_rows, sync_behavior=request.param)


def put_off(shop: Shop, person: Person, seconds: float) -> Delivery:
    """An event that is to be looked at again in a while."""
    made = shop.event(person)
    with writing() as session:
        due_at = clock.now() + timedelta(seconds=seconds)
        session.execute(update(Delivery).where(Delivery.id == made.id).values(due_at=due_at))
    return made


def sent(shop: Shop) -> list[str]:
    """The addresses or ids of the events Klaviyo was sent, in order."""
    return [asked.event["unique_id"] for asked in shop.klaviyo.calls(EVENT)]


def test_later_events_wait_behind_one_that_is_put_off(shop: Shop) -> None:
    person, other = shop.person(remembered=True), shop.person(remembered=True)
    first, later, others = put_off(shop, person, 60), shop.event(person), shop.event(other)
    shop.drain(Kind.EVENT)
    assert shop.said(first, later, others) == ["waiting: backlog", "waiting: backlog", "delivered: written"]
    shop.wait_is_over()
    shop.drain(Kind.EVENT)
    assert shop.said(first, later) == ["delivered: written"] * 2
    assert len(set(sent(shop))) == 3


def test_an_event_that_comes_due_while_choosing_is_not_passed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is due and who is put off is asked of one moment: between two of them the first one would vanish."""
    person = shop.person(remembered=True)
    put_off(shop, person, 0.3)
    shop.event(person)

    def slowly(*arguments: Any) -> dict[int, int]:
        time.sleep(0.5)
        return first_of_each(*arguments)

    first_of_each = choose._first_of_each
    monkeypatch.setattr(choose, "_first_of_each", slowly)
    shop.drain(Kind.EVENT)
    assert sent(shop) == []
