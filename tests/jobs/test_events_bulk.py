"""Many events in one call: one bad record never fails its neighbours, and nothing is sent twice under two ids."""

from __future__ import annotations

import math
from typing import Any

import pytest
import requests
from sqlalchemy import update

from tests.jobs.klaviyo import Asked, Given, error, good, html, throttled
from tests.jobs.shop import Shop
from tests.rows import Rows
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import BatchOutcome, Budget, Delivery, Lane, LaneKind, Person

ONE, MANY, LOOK = "POST /api/events", "POST /api/event-bulk-create-jobs", "GET /api/profiles"


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def several(shop: Shop, count: int = 8, people: int = 3) -> tuple[list[Person], list[Delivery]]:
    """Due events of a few remembered people, in turns."""
    known = [shop.person(remembered=True) for _ in range(people)]
    return known, [shop.event(known[n % people], properties=f'{{"n":{n}}}') for n in range(count)]


def at(index: int, rest: str = "attributes/events/data/0/attributes/time") -> str:
    return f"/data/attributes/events-bulk-create/data/{index}/{rest}"


def numbers(asked: Asked) -> list[int]:
    """Which events a call had, in their order."""
    events = [asked.event] if asked.endpoint == ONE else asked.events
    return [event["properties"]["n"] for event in events]


def sent(shop: Shop) -> list[list[int]]:
    return [numbers(asked) for asked in shop.klaviyo.asked if asked.endpoint in {ONE, MANY}]


def refuses(*bad: int, pointed: bool = False) -> Any:
    """A Klaviyo that refuses any call with one of these events."""

    def answer(asked: Asked) -> Given:
        found = [index for index, n in enumerate(numbers(asked)) if n in bad]
        if not found:
            return good(202)
        return error(400, *(at(index) for index in found) if pointed else (), detail="Bad time.")

    return answer


def test_many_go_in_one_call_in_their_order(shop: Shop) -> None:
    people, deliveries = several(shop)
    shop.drain(Kind.EVENT)
    assert shop.said(*deliveries) == ["delivered: written"] * 8
    assert sent(shop) == [list(range(8))]
    (asked,) = shop.klaviyo.calls(MANY)
    assert [event["id"] for event in asked.events] == [shop.klaviyo.people[str(people[n % 3].email)] for n in range(8)]
    assert len({event["unique_id"] for event in asked.events}) == 8
    (batch,) = shop.batches()
    assert (batch.size, batch.outcome) == (8, BatchOutcome.ACCEPTED)
    assert {shop.now(delivery).batch_id for delivery in deliveries} == {batch.id}


def test_named_ones_are_out_and_the_rest_goes_again(shop: Shop) -> None:
    _, deliveries = several(shop)
    shop.klaviyo.script(MANY, error(400, at(2), at(5), detail="Bad time."))
    shop.drain(Kind.EVENT)
    assert sent(shop) == [list(range(8)), [0, 1, 3, 4, 6, 7]]
    assert shop.said(deliveries[2], deliveries[5]) == ["failed: rejected"] * 2
    assert shop.now(deliveries[2]).detail == "Bad time."
    assert shop.said(*(deliveries[n] for n in sent(shop)[1])) == ["delivered: written"] * 6
    assert len(shop.batches()) == 1


def test_all_of_them_named(shop: Shop) -> None:
    _, deliveries = several(shop)
    shop.klaviyo.script(MANY, error(400, *(at(n) for n in range(8))))
    shop.drain(Kind.EVENT)
    assert shop.said(*deliveries) == ["failed: rejected"] * 8
    assert len(sent(shop)) == 1


@pytest.mark.parametrize("bad", [(0,), (7,), (3, 4)])
def test_without_a_pointer_halves_find_the_bad_ones(shop: Shop, bad: tuple[int, ...]) -> None:
    _, deliveries = several(shop)
    shop.klaviyo.script(MANY, *[refuses(*bad)] * 20)
    shop.klaviyo.script(ONE, *[refuses(*bad)] * 20)
    shop.drain(Kind.EVENT, times=5)
    good_ones = [n for n in range(8) if n not in bad]
    assert shop.said(*(deliveries[n] for n in bad)) == ["failed: rejected"] * len(bad)
    assert shop.said(*(deliveries[n] for n in good_ones)) == ["delivered: written"] * len(good_ones)
    assert len(sent(shop)) <= 1 + 2 * len(bad) * math.ceil(math.log2(8))
    assert not shop.open_batches(Kind.EVENT)


def test_halving_goes_on_where_the_budget_ended_it(shop: Shop) -> None:
    """Three calls a second are fewer than it takes to find one of 32: nobody begins with all of them again."""
    _, deliveries = several(shop, 32)
    shop.klaviyo.script(MANY, *[refuses(0)] * 40)
    shop.klaviyo.script(ONE, refuses(0))
    account = shop.connection.klaviyo_account_id
    shop.rows.save(Budget(klaviyo_account_id=account, endpoint=MANY, limits={"1": 3, "60": 150}, spent=[]))
    for _ in range(8):
        with writing() as session:
            session.execute(update(Budget).values(spent=[]))
        shop.wait_is_over()
        shop.drain(Kind.EVENT, times=2)
    assert shop.said(*deliveries) == ["failed: rejected", *["delivered: written"] * 31]
    assert [len(each) for each in sent(shop)] == [32, 16, 8, 4, 2, 1, 1, 2, 4, 8, 16]


def test_a_body_that_is_too_large_is_halved(shop: Shop) -> None:
    _, deliveries = several(shop)

    def answer(asked: Asked) -> Given:
        return html(413) if len(numbers(asked)) > 2 else good(202)

    shop.klaviyo.script(MANY, *[answer] * 20)
    shop.drain(Kind.EVENT, times=5)
    assert shop.said(*deliveries) == ["delivered: written"] * 8
    assert [len(each) for each in sent(shop)] == [8, 4, 2, 2, 4, 2, 2]


@pytest.mark.parametrize(
    "refusal", [error(400, at(0, "attributes/events/data/0/attributes/unique_id")), error(400, "/data/unique_id")]
)
def test_a_repeated_id_sends_the_batch_one_by_one(shop: Shop, refusal: Given) -> None:
    """Klaviyo may refuse a bulk call for an event that it has: the single call drops those, silently."""
    _, deliveries = several(shop, 4, 2)
    _, more = several(shop, 4, 2)
    shop.klaviyo.script(MANY, html(500), refusal)
    shop.drain(Kind.EVENT, times=2)
    assert shop.said(*deliveries, *more) == ["delivered: written"] * 8
    assert [len(each) for each in sent(shop)] == [8, 8, *[1] * 8]
    assert len({event["unique_id"] for event in shop.klaviyo.calls(MANY)[0].events}) == 8
    assert [asked.event["unique_id"] for asked in shop.klaviyo.calls(ONE)] == [
        event["unique_id"] for event in shop.klaviyo.calls(MANY)[0].events
    ]


def test_one_of_the_single_ones_fails_alone(shop: Shop) -> None:
    _, deliveries = several(shop)
    shop.klaviyo.script(MANY, error(400, "/data/unique_id"))
    shop.klaviyo.script(ONE, *[refuses(3)] * 8)
    shop.drain(Kind.EVENT)
    assert shop.said(deliveries[3]) == ["failed: rejected"]
    assert shop.said(*deliveries[:3], *deliveries[4:]) == ["delivered: written"] * 7


@pytest.mark.parametrize("answer", [html(403), throttled(5), requests.exceptions.ConnectTimeout()])
def test_not_taken_the_same_events_go_again_and_no_others(shop: Shop, answer: Any) -> None:
    people, deliveries = several(shop)
    shop.klaviyo.script(MANY, answer)
    shop.drain(Kind.EVENT)
    _, later = several(shop, 3, 1)
    shop.drain(Kind.EVENT)
    shop.wait_is_over()
    shop.drain(Kind.EVENT)
    assert shop.said(*deliveries, *later) == ["delivered: written"] * 11
    assert sent(shop)[:2] == [list(range(8)), list(range(8))], "the batch as it was, none added"
    assert not any(shop.link(person).rewrite for person in people)


def test_unknown_twice_goes_on_in_halves(shop: Shop) -> None:
    people, deliveries = several(shop)
    shop.klaviyo.script(MANY, html(500), requests.exceptions.ReadTimeout(), html(524), good(202), good(202))
    shop.drain(Kind.EVENT, times=4)
    assert shop.said(*deliveries) == ["delivered: written"] * 8
    assert sent(shop) == [list(range(8)), list(range(8)), [0, 1, 2, 3], [0, 1], [2, 3], [4, 5, 6, 7]]
    by_number: dict[int, set[str]] = {}
    for asked in shop.klaviyo.calls(MANY):
        for event in asked.events:
            by_number.setdefault(event["properties"]["n"], set()).add(event["unique_id"])
    assert all(len(ids) == 1 for ids in by_number.values())
    assert all(shop.link(person).rewrite for person in people)


def test_whoever_is_looked_up_again_keeps_their_order(shop: Shop) -> None:
    people, deliveries = several(shop)
    shop.klaviyo.put(str(people[0].email))
    shop.klaviyo.script(MANY, error(400, at(0, "attributes/profile/data/id"), detail="A profile does not exist."))
    shop.drain(Kind.EVENT, times=3)
    taken = [n for call in sent(shop)[1:] for n in call]
    assert [n for n in taken if n % 3 == 0] == [0, 3, 6]
    assert sorted(taken) == list(range(len(deliveries)))
    assert set(shop.said(*deliveries)) == {"delivered: written"}


def test_whoever_is_looked_up_again_keeps_their_order_one_by_one_too(shop: Shop) -> None:
    people, deliveries = several(shop)
    shop.klaviyo.put(str(people[0].email))
    shop.klaviyo.script(MANY, error(400, "/data/unique_id"))
    gone = error(400, "/data/attributes/profile/data/id", detail="A profile does not exist.")
    shop.klaviyo.script(ONE, good(202), good(202), good(202), gone)
    shop.drain(Kind.EVENT, times=3)
    taken = [n for call in sent(shop)[1:] for n in call]
    assert taken == [0, 1, 2, 3, 4, 5, 7, 3, 6]
    assert set(shop.said(*deliveries)) == {"delivered: written"}
    assert not shop.open_batches(Kind.EVENT)


def test_whoever_is_looked_up_again_keeps_their_order_in_halves_too(shop: Shop) -> None:
    people, deliveries = several(shop)
    shop.klaviyo.put(str(people[0].email))
    shop.klaviyo.script(MANY, *[refuses(0)] * 3)
    shop.klaviyo.script(ONE, error(400, "/data/attributes/profile/data/id", detail="A profile does not exist."))
    shop.drain(Kind.EVENT, times=4)
    taken = [n for call in sent(shop)[3:] for n in call]
    assert [n for n in taken if n % 3 == 0] == [0, 0, 3, 6], "refused, then all in their order"
    assert sorted(taken) == [0, *range(8)]
    assert set(shop.said(*deliveries)) == {"delivered: written"}
    assert not shop.open_batches(Kind.EVENT)


def test_whoever_is_gone_is_looked_up_again(shop: Shop) -> None:
    people, deliveries = several(shop)
    lost, merged = people[0], shop.klaviyo.put(str(people[1].email))
    del shop.klaviyo.people[str(lost.email)]
    ids = [index for index in range(8) if index % 3 in {0, 1}]
    gone = (at(index, "attributes/profile/data/id") for index in ids)
    shop.klaviyo.script(MANY, error(400, *gone, detail="A profile does not exist."))
    shop.drain(Kind.EVENT)
    assert shop.said(*(deliveries[n] for n in range(8) if n % 3 == 0)) == ["skipped: not_in_klaviyo"] * 3
    assert shop.said(*(deliveries[n] for n in range(8) if n % 3)) == ["delivered: written"] * 5
    again = [asked.event for asked in shop.klaviyo.calls(ONE)]
    assert {event["id"] for event in again} == {merged, shop.klaviyo.people[str(people[2].email)]} or len(again) == 3
    assert LOOK in shop.klaviyo.endpoints


def test_a_missing_scope_skips_the_whole_call(shop: Shop) -> None:
    _, deliveries = several(shop)
    shop.klaviyo.script(MANY, error(403))
    shop.drain(Kind.EVENT)
    assert shop.said(*deliveries) == ["skipped: scope_missing"] * 8


def test_a_401_refreshes_once_for_the_whole_call(shop: Shop) -> None:
    _, deliveries = several(shop)
    shop.klaviyo.script(MANY, error(401))
    shop.drain(Kind.EVENT)
    assert shop.said(*deliveries) == ["delivered: written"] * 8
    assert shop.klaviyo.refreshed == 1


@pytest.mark.parametrize("refusal", [error(400, "/data/unique_id"), error(400, at(0, "attributes/unique_id"))])
def test_a_repeated_id_in_a_bulk_call_that_came_down_to_one_event_delivers_it(shop: Shop, refusal: Given) -> None:
    """Klaviyo has it already: that is no failure, whatever reading of a repeated id holds."""
    _, deliveries = several(shop, 6, 3)
    shop.klaviyo.script(MANY, html(500))
    shop.drain(Kind.EVENT)
    with writing() as session:
        erased = [delivery.id for delivery in deliveries[1:]]
        values = {"status": Status.SKIPPED, "reason": Reason.ERASED}
        session.execute(update(Delivery).where(Delivery.id.in_(erased)).values(**values))
        mine = (Lane.connection_id == shop.connection.id, Lane.kind == LaneKind.EVENTS)
        session.execute(update(Lane).where(*mine).values(skipped=5))
    shop.klaviyo.script(MANY, refusal)
    shop.wait_is_over()
    shop.drain(Kind.EVENT)
    assert sent(shop) == [list(range(6)), [0], [0]]
    assert shop.said(deliveries[0]) == ["delivered: written"]


def test_what_is_left_of_one_half_goes_before_the_other_half(shop: Shop) -> None:
    """A person's later events must not pass those that are to go one by one, or without a bad neighbour."""
    _, deliveries = several(shop, 8, 1)
    shop.klaviyo.script(MANY, error(400), error(400, "/data/unique_id"))
    shop.drain(Kind.EVENT, times=3)
    assert shop.said(*deliveries) == ["delivered: written"] * 8
    assert [n for each in sent(shop)[2:] for n in each] == list(range(8))
    before = len(sent(shop))
    _, more = several(shop, 8, 1)
    shop.klaviyo.script(MANY, error(400), error(400, at(1)))
    shop.drain(Kind.EVENT, times=3)
    assert shop.said(*more) == ["delivered: written", "failed: rejected", *["delivered: written"] * 6]
    accepted = [n for each in sent(shop)[before + 2 :] for n in each]
    assert accepted == [0, 2, 3, 4, 5, 6, 7]
