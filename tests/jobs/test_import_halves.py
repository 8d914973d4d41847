"""An import job that Klaviyo refuses whole without saying for whom: halves, which every next drain goes on with."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.jobs.import_jobs import JOB, LOOK, PATCH, at, next_second, sent, several
from tests.jobs.klaviyo import Asked, Given, error, good, html, throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import reading, writing
from webapp.models import Budget, Connection, Delivery
from webapp.models.delivery import PRIORITY_BACKFILL
from webapp.services.deliveries import attempts
from webapp.services.tracing import erasures

BAD = 0  # the points of whoever Klaviyo does not take

pytestmark = pytest.mark.usefixtures("few_are_many")


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def points(asked: Asked) -> list[int]:
    return [each["attributes"]["properties"]["Cevoid: Points"] for each in asked.profiles]


def refusing(shop: Shop, *bad: int, refusal: Given | None = None) -> None:
    """Jobs with one of these are refused whole, and by PATCH they are refused alone."""
    refusal = refusal or error(400)

    def job(asked: Asked) -> Given:
        return refusal if set(points(asked)) & set(bad) else shop.klaviyo._job(asked)

    def patch(asked: Asked) -> Given:
        one = asked.body["data"]["attributes"]["properties"]["Cevoid: Points"]
        return refusal if one in bad else good(200, {"type": "profile", "id": asked.path.rsplit("/", 1)[-1]})

    shop.klaviyo.script(JOB, *[job] * 60)
    shop.klaviyo.script(PATCH, *[patch] * 60)


def few_a_second(shop: Shop, calls: int = 2) -> None:
    account = shop.connection.klaviyo_account_id
    shop.rows.save(Budget(klaviyo_account_id=account, endpoint=JOB, limits={"1": calls, "60": 150}, spent=[]))


def test_it_goes_on_where_the_budget_ended_it(shop: Shop) -> None:
    """Two calls a second are fewer than it takes to find one of 32: nobody begins with all of them again."""
    people, deliveries = several(shop, 32)
    refusing(shop, BAD)
    few_a_second(shop)
    for _ in range(8):
        next_second(shop)
        shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == ["failed: rejected", *["delivered: written"] * 31]
    assert not any(shop.link(person).rewrite for person in people)
    assert [len(each) for each in sent(shop)] == [32, 16, 8, 4, 16, 8, 4]
    assert not shop.open_batches(Kind.FIELDS)


@pytest.mark.parametrize(("refusal", "reason"), [(error(400), "rejected"), (error(413), "payload_too_large")])
def test_halves_end_one_by_one_which_finds_the_bad_one(shop: Shop, refusal: Given, reason: str) -> None:
    _, deliveries = several(shop)
    refusing(shop, 4, refusal=refusal)
    shop.drain(Kind.FIELDS, times=3)
    assert [len(each) for each in sent(shop)] == [6, 3, 3]
    assert len(shop.klaviyo.calls(PATCH)) == 3, "below the least of a job"
    assert shop.said(deliveries.pop(4)) == [f"failed: {reason}"]
    assert shop.said(*deliveries) == ["delivered: written"] * 5
    assert len(shop.klaviyo.calls(LOOK)) == 1, "nobody is looked up once more for each half"


def test_whoever_an_import_does_not_take_a_patch_may(shop: Shop) -> None:
    _, deliveries = several(shop)
    shop.klaviyo.script(JOB, *[error(400)] * 3)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(*deliveries) == ["delivered: written"] * 6


def stopped_after(shop: Shop, jobs: int) -> None:
    """A drain that the budget ended after so many jobs, one of which was refused for the first."""
    refusing(shop, BAD)
    few_a_second(shop, jobs)
    shop.drain(Kind.FIELDS)
    assert len(sent(shop)) == jobs
    next_second(shop)


def under_way(shop: Shop, *deliveries: Delivery) -> list[bool]:
    """Whether their pages say that a call with them has had no answer yet."""
    with reading() as session:
        return [attempts.sending_since(session, shop.now(delivery)) is not None for delivery in deliveries]


def test_a_half_is_under_way_while_it_is_sent_and_the_other_waits_for_its_turn(shop: Shop) -> None:
    _, deliveries = several(shop, 12)
    stopped_after(shop, 1)
    shop.klaviyo._scripts.clear()
    ends, seen, began = (deliveries[0], deliveries[-1]), [], clock.now()

    def job(asked: Asked) -> Given:
        with reading() as session:
            told = [attempts.is_being_sent(session, shop.now(delivery)) for delivery in ends]
            since = [attempts.sending_since(session, shop.now(delivery)) for delivery in ends]
        assert all(moment is None or moment >= began for moment in since), "not since the call before, which has ended"
        seen.append((under_way(shop, *ends), told))
        return shop.klaviyo._job(asked)

    shop.klaviyo.script(JOB, throttled(1), job, job)
    shop.drain(Kind.FIELDS)
    assert under_way(shop, *ends) == [False, False], "it was not taken"
    for _ in range(2):
        next_second(shop)
        shop.drain(Kind.FIELDS)
    assert seen == [([True, False], [True, False]), ([False, True], [False, True])]


def test_a_worker_killed_in_one_half_leaves_the_other_as_it_was(shop: Shop) -> None:
    people, deliveries = several(shop, 12)
    stopped_after(shop, 1)
    shop.klaviyo._scripts.clear()
    assert under_way(shop, deliveries[0], deliveries[-1]) == [False, False], "both wait for their turn"
    shop.dies(Kind.FIELDS, JOB)
    for _ in range(6):
        next_second(shop)
        shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == ["delivered: written"] * 12
    assert [len(each) for each in sent(shop)] == [12, 6, 6]
    assert [shop.link(person).rewrite for person in people] == [True] * 6 + [False] * 6


@pytest.mark.parametrize("answer", [throttled(1), html(403)])
def test_a_half_that_was_not_taken_goes_again_as_it_is(shop: Shop, answer: Given) -> None:
    people, deliveries = several(shop, 12)
    stopped_after(shop, 1)
    shop.klaviyo._scripts.clear()
    shop.klaviyo.script(JOB, answer)
    for _ in range(6):
        next_second(shop)
        shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == ["delivered: written"] * 12
    assert [len(each) for each in sent(shop)] == [12, 6, 6, 6]
    assert not any(shop.link(person).rewrite for person in people)


def test_whom_klaviyo_names_in_a_half_is_out_of_it(shop: Shop) -> None:
    _, deliveries = several(shop, 12)
    stopped_after(shop, 1)
    shop.klaviyo._scripts.clear()
    shop.klaviyo.script(JOB, error(400, at(2)))
    for _ in range(6):
        next_second(shop)
        shop.drain(Kind.FIELDS)
    assert shop.said(deliveries.pop(2)) == ["failed: rejected"]
    assert shop.said(*deliveries) == ["delivered: written"] * 11
    assert sent(shop)[1:] == [list(range(6)), [0, 1, 3, 4, 5], list(range(6, 12))]


def test_what_happens_between_halves_counts_for_the_next(engine_rows: Rows) -> None:
    """Somebody is erased, somebody's points change, creating is switched off."""
    shop = Shop(engine_rows, sync_behavior=CREATES)
    people, deliveries = several(shop, 12)
    strangers = [shop.person(there=False) for _ in range(4)]
    created = [shop.fields(person, points=50) for person in strangers]
    stopped_after(shop, 1)
    erasures.erase(shop.workspace.id, str(people[1].email), None)
    later = shop.fields(people[2], points=99)
    with writing() as session:
        session.get_one(Connection, shop.connection.id).sync_behavior = SyncBehavior.UPDATE_EXISTING
    for _ in range(8):
        next_second(shop)
        shop.drain(Kind.FIELDS)
    assert shop.said(*created) == ["skipped: not_in_klaviyo"] * 4
    assert shop.said(deliveries[0], deliveries[1]) == ["failed: rejected", "skipped: erased"]
    assert shop.said(*deliveries[2:]) == ["delivered: written"] * 10
    assert shop.said(later) == ["skipped: unchanged"]
    assert shop.link(people[2]).fields_version == 2
    assert not any(shop.link(person).rewrite or shop.link(person).creating_since for person in people[2:])
    assert all(shop.link(person).creating_since is None for person in strangers)


def test_halves_of_a_sync_leave_half_of_the_budget_to_live_work(shop: Shop) -> None:
    _, deliveries = several(shop, 12)
    with writing() as session:
        for delivery in deliveries:
            session.get_one(Delivery, delivery.id).priority = PRIORITY_BACKFILL
    stopped_after(shop, 2)
    before = len(sent(shop))
    shop.event(shop.person())
    shop.drain(Kind.FIELDS)
    assert len(sent(shop)) == before + 1


def test_whoever_waits_for_another_reason_by_then_is_left_out(shop: Shop) -> None:
    """A half nobody of whom is due is over, and the lane's other work goes on."""
    _, deliveries = several(shop, 4)
    stopped_after(shop, 1)
    with writing() as session:
        for delivery in deliveries:
            session.get_one(Delivery, delivery.id).due_at = clock.now() + timedelta(minutes=5)
    other = shop.fields(shop.person(remembered=True), points=1)
    with writing() as session:
        session.merge(shop.lane(Kind.FIELDS)).next_at = clock.now()
    shop.drain(Kind.FIELDS)
    assert shop.said(other) == ["delivered: written"]
    assert not shop.open_batches(Kind.FIELDS)
