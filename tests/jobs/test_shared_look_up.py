"""One look-up for both lanes: events wait for the fields lane where it asks about the same people, and only there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from jobs.drain import drain
from jobs.events import shared_look_up
from tests.jobs.shop import Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.klaviyo import payloads
from webapp.models import Batch, Delivery, Lane

LOOK, ONE, MANY, PATCH, JOB = (
    "GET /api/profiles",
    "POST /api/events",
    "POST /api/event-bulk-create-jobs",
    "PATCH /api/profiles/{id}",
    "POST /api/profile-bulk-import-jobs",
)


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def crowd(shop: Shop, count: int = 101) -> tuple[list[Delivery], list[Delivery]]:
    """People nobody knows, more than one look-up's, with an event and a change of fields each."""
    pairs = [(shop.event(person), shop.fields(person, points=1)) for person in (shop.person() for _ in range(count))]
    return [event for event, _ in pairs], [fields for _, fields in pairs]


def test_many_are_looked_up_once_for_both_their_events_and_their_fields(shop: Shop) -> None:
    events, fields = crowd(shop)
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [], "the fields lane looks them up in any case"
    assert shop.lane(Kind.EVENT).next_at is not None
    shop.drain(Kind.FIELDS)
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK, LOOK, JOB, MANY]
    assert set(shop.said(*events)) == {"delivered: written"}
    assert set(shop.said(*fields)) == {"waiting: klaviyo_processing"}


@pytest.mark.parametrize(
    "trouble",
    [
        {"failures": 1},
        {"stopped": True},
        {"held_until": clock.now() + timedelta(hours=1)},
    ],
    ids=lambda trouble: next(iter(trouble)),
)
def test_events_do_not_wait_for_a_fields_lane_in_trouble(shop: Shop, trouble: dict[str, Any]) -> None:
    events, _ = crowd(shop)
    with writing() as session:
        session.execute(update(Lane).where(Lane.id == shop.lane(Kind.FIELDS).id).values(**trouble))
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK, LOOK, MANY]
    assert set(shop.said(*events)) == {"delivered: written"}


def open_batch(shop: Shop, kind: Kind) -> None:
    """A call of a lane whose end nobody knows."""
    endpoint = "POST /api/profile-bulk-import-jobs"
    where = {"lane_id": shop.lane(kind).id, "connection_id": shop.connection.id}
    shop.rows.save(Batch(**where, endpoint=endpoint, size=0, members="[]", fence=1, started_at=clock.now()))


def test_events_do_not_wait_for_a_fields_lane_with_a_call_of_unknown_end(shop: Shop) -> None:
    events, _ = crowd(shop)
    open_batch(shop, Kind.FIELDS)
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK, LOOK, MANY]
    assert set(shop.said(*events)) == {"delivered: written"}


def test_a_call_of_the_fields_lane_that_is_under_way_is_no_trouble(shop: Shop) -> None:
    """Its batch is open because somebody is sending it: the events still come right behind."""
    crowd(shop)
    open_batch(shop, Kind.FIELDS)
    hold(shop, Kind.FIELDS)
    with shop.working():
        drain(shop.lane(Kind.EVENT).id)
    assert shop.klaviyo.endpoints == []
    with writing() as session:
        died = {"lease_until": clock.now() - timedelta(seconds=1)}
        session.execute(update(Lane).where(Lane.id == shop.lane(Kind.FIELDS).id).values(**died))
    with shop.working():
        drain(shop.lane(Kind.EVENT).id)
    assert shop.klaviyo.endpoints == [LOOK, LOOK, MANY]


@pytest.mark.parametrize(("line", "held", "asks"), [(8, True, 0), (8, False, 1), (9, True, 1)])
def test_the_last_few_of_a_long_line_are_left_to_whoever_is_asking(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, line: int, held: bool, asks: int
) -> None:
    """`line`: how many fill a call; of a shorter one few are asked about at once, whoever else may do so."""
    monkeypatch.setattr(payloads, "BULK_EVENTS", line)
    crowd(shop, 8)
    if held:
        hold(shop, Kind.FIELDS)
    with shop.working():
        drain(shop.lane(Kind.EVENT).id)
    assert shop.klaviyo.endpoints.count(LOOK) == asks


def hold(shop: Shop, kind: Kind) -> None:
    """Somebody works on that lane."""
    with writing() as session:
        under_way = {"owner": "somebody", "lease_until": clock.now() + timedelta(seconds=10)}
        session.execute(update(Lane).where(Lane.id == shop.lane(kind).id).values(**under_way))


@pytest.mark.parametrize("strangers", [1, 101])
@pytest.mark.parametrize("apart", ["nothing is owed to them", "nothing yet", "in another look-up"])
def test_events_do_not_wait_for_a_fields_lane_that_asks_about_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, strangers: int, apart: str
) -> None:
    """It works at older changes, and of these events' people it knows nothing, or not yet."""
    monkeypatch.setattr(payloads, "BULK_EVENTS", strangers + 7)
    monkeypatch.setattr(shared_look_up, "FOR_IMPORTS", 5)
    for _ in range(5):
        shop.fields(shop.person(), points=1)
    people = [shop.person() for _ in range(strangers)]
    events = [shop.event(shop.person(remembered=True)) for _ in range(7)] + [shop.event(person) for person in people]
    owed = [shop.fields(person, points=1) for person in people] if apart != "nothing is owed to them" else []
    if apart == "nothing yet":
        with writing() as session:
            later = {"due_at": clock.now() + timedelta(minutes=10)}
            session.execute(update(Delivery).where(Delivery.id.in_([each.id for each in owed])).values(later))
    hold(shop, Kind.FIELDS)
    with shop.working():
        drain(shop.lane(Kind.EVENT).id)
    waits = strangers > 100 and apart == "in another look-up"  # so many are worth it
    assert set(shop.said(*events)) == {"waiting: backlog" if waits else "delivered: written"}


def test_events_do_not_wait_for_a_fields_lane_that_may_not_import(engine_rows: Rows) -> None:
    shop = Shop(engine_rows, scopes="events:write profiles:read profiles:write")
    events, _ = crowd(shop)
    shop.drain(Kind.EVENT)
    assert set(shop.said(*events)) == {"delivered: written"}


def test_events_do_not_wait_for_a_fields_lane_that_is_further_on(shop: Shop) -> None:
    events, fields = crowd(shop)
    with writing() as session:
        later = clock.now() + timedelta(minutes=10)  # as while their import job is under way
        session.execute(update(Delivery).where(Delivery.id.in_([row.id for row in fields])).values(due_at=later))
    shop.fields(shop.person(), points=2)
    shop.drain(Kind.EVENT)
    assert set(shop.said(*events)) == {"delivered: written"}
