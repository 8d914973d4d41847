"""Import jobs whose end Klaviyo does not tell: their people go again in halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from jobs.fields.confirm import UNREADABLE_LOOKS
from tests.jobs.import_jobs import (
    ADD,
    ERRORS,
    JOB,
    LOOK,
    PATCH,
    PROCESSING,
    STATUS,
    at,
    ended,
    next_second,
    sent,
    several,
)  # fmt: skip
from tests.jobs.klaviyo import Asked, Given, error, good, html, throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.models import BatchOutcome, Budget

JOB_TYPE = {"type": "profile-bulk-import-job", "id": "job-1"}
UNREADABLE = {
    "a page": html(200),
    "nothing": good(200),
    "no job": good(200, []),
    "no status": good(200, {**JOB_TYPE, "attributes": {"failed_count": 0}}),
    "another status": good(200, {**JOB_TYPE, "attributes": {"status": "thinking"}}),
    "no scope": error(403),
    "no count": good(200, {**JOB_TYPE, "attributes": {"status": "complete", "failed_count": "some"}}),
}
CERTAIN = [error(404), error(410), error(403), error(400), error(405)]
NAMES = ["404", "410", "403", "400", "405"]

pytestmark = pytest.mark.usefixtures("few_are_many")


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def failing(shop: Shop, *bad: int) -> None:
    """Jobs end with a failure for each of these points in them; by PATCH they are refused alone."""

    def status(asked: Asked) -> Given:
        number = list(shop.klaviyo.jobs).index(asked.path.rsplit("/", 1)[-1])
        count = len(set(sent(shop)[number]) & set(bad))
        name = list(shop.klaviyo.jobs)[number]
        attributes = {"status": "complete", "failed_count": count}
        return good(200, {"type": "profile-bulk-import-job", "id": name, "attributes": attributes})

    def patch(asked: Asked) -> Given:
        one = asked.body["data"]["attributes"]["properties"]["Cevoid: Points"]
        return error(400) if one in bad else good(200, {"type": "profile", "id": asked.path.rsplit("/", 1)[-1]})

    shop.klaviyo.script(STATUS, *[status] * 60)
    shop.klaviyo.script(PATCH, *[patch] * 60)


def drained(shop: Shop, times: int) -> None:
    """So many drains, each when whatever held the lane is over."""
    for _ in range(times):
        next_second(shop)
        shop.drain(Kind.FIELDS)


def born_now(shop: Shop) -> Callable[[Asked], Given]:
    """Whoever is there by a look-up was born a moment ago."""

    def looked_up(asked: Asked) -> Given:
        rows = [shop.klaviyo._profile(email) for email in shop.klaviyo._wanted(asked)]
        for row in rows:
            row["attributes"]["created"] = clock.iso(clock.now())
        return good(200, rows)

    return looked_up


@pytest.mark.parametrize("answer", CERTAIN, ids=NAMES)
def test_errors_that_cannot_be_read_are_found_by_halves(shop: Shop, answer: Given) -> None:
    people, deliveries = several(shop, 12)
    failing(shop, 4)
    shop.klaviyo.script(ERRORS, *[answer] * 9)
    shop.drain(Kind.FIELDS, times=9)
    assert shop.said(deliveries.pop(4)) == ["failed: rejected"]
    assert shop.said(*deliveries) == ["delivered: written"] * 11
    assert [len(each) for each in sent(shop)] == [12, 6, 6, 3, 3]
    assert not any(shop.link(person).rewrite or shop.link(person).job_batch_id for person in people)


def test_failures_of_whom_nobody_is_named_are_found_by_halves(shop: Shop) -> None:
    """Whoever is named is out; of the others some failed as well."""
    _, deliveries = several(shop, 6)
    failing(shop, 1, 4)
    said = {"type": "import-error", "attributes": {"detail": "Not 1.", "source": {"pointer": at(1)}}}
    other = {"type": "import-error", "attributes": {"detail": "Not valid.", "source": {"pointer": "/data"}}}
    shop.klaviyo.script(ERRORS, good(200, [said, other]), good(200, []), good(200, []))
    shop.drain(Kind.FIELDS, times=6)
    assert [shop.now(delivery).detail for delivery in deliveries] == [None, "Not 1.", None, None, "Not valid.", None]
    assert shop.said(*(deliveries[n] for n in (0, 2, 3, 5))) == ["delivered: written"] * 4
    assert shop.said(deliveries[1], deliveries[4]) == ["failed: rejected"] * 2


@pytest.mark.parametrize("how", ["gone", "put anew"])
@pytest.mark.parametrize("behavior", SyncBehavior)
def test_whose_profile_is_deleted_during_the_job_is_looked_up_again(
    engine_rows: Rows, behavior: SyncBehavior, how: str
) -> None:
    """As after a PATCH: it is nothing that anybody could put right in the platform's data."""
    shop = Shop(engine_rows, sync_behavior=behavior)
    people, deliveries = several(shop, 6)
    shop.drain(Kind.FIELDS)
    failed = [{"attributes": {"detail": "It does not exist.", "source": {"pointer": at(place)}}} for place in (1, 4)]
    shop.klaviyo.script(STATUS, ended(shop, failed_count=2))
    shop.klaviyo.script(ERRORS, good(200, failed))
    del shop.klaviyo.people[str(people[1].email)]
    if how == "put anew":
        shop.klaviyo.put(str(people[1].email))
    shop.drain(Kind.FIELDS, times=3)
    is_written = how == "put anew" or behavior is CREATES
    assert shop.said(deliveries[1]) == ["delivered: written" if is_written else "skipped: not_in_klaviyo"]
    assert shop.said(deliveries[4]) == ["failed: rejected"], "whose profile is as it was"
    assert len(shop.klaviyo.calls(LOOK)) == 2, "one for both of them"


@pytest.mark.parametrize("answer", [html(403), html(404), throttled(2), html(500), requests.exceptions.ReadTimeout()])
def test_errors_that_may_be_read_later_are_asked_for_again(shop: Shop, answer: Any) -> None:
    _, deliveries = several(shop, 6)
    failing(shop, 4)
    said = {"type": "import-error", "attributes": {"detail": "Not 4.", "source": {"pointer": at(4)}}}
    shop.klaviyo.script(ERRORS, answer, good(200, [said]))
    shop.drain(Kind.FIELDS, times=3)
    assert shop.now(deliveries.pop(4)).detail == "Not 4."
    assert shop.said(*deliveries) == ["delivered: written"] * 5
    assert len(sent(shop)) == 1


def test_whom_such_a_job_created_are_ours_and_go_on_the_list_once(engine_rows: Rows) -> None:
    shop = Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")
    people, deliveries = several(shop, 6, there=False)
    failing(shop, 4)

    shop.klaviyo.script(LOOK, *[born_now(shop)] * 20)
    shop.klaviyo.script(ERRORS, *[error(404)] * 9)
    shop.drain(Kind.FIELDS, times=9)
    assert shop.said(deliveries.pop(4)) == ["failed: rejected"]
    assert shop.said(*deliveries) == ["delivered: written"] * 5
    added = [each["id"] for asked in shop.klaviyo.calls(ADD) for each in asked.body["data"]]
    assert sorted(added) == sorted({shop.klaviyo.people[str(p.email)] for n, p in enumerate(people) if n != 4})


@pytest.mark.parametrize("answer", [error(404), error(410), error(400)], ids=["404", "410", "400"])
def test_a_job_that_is_never_told_of_is_not_sent_for_ever(shop: Shop, answer: Given) -> None:
    people, deliveries = several(shop, 12)
    shop.klaviyo.script(STATUS, *[answer] * 40)
    shop.drain(Kind.FIELDS, times=12)
    assert shop.said(*deliveries) == ["delivered: written"] * 12
    assert [len(each) for each in sent(shop)] == [12, 6, 6, 3, 3, 3, 3]
    assert all(shop.link(person).rewrite for person in people), "part of it may still be under way"


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE)
def test_a_job_whose_status_nobody_can_read_ends_like_one_that_is_not_told_of(shop: Shop, answer: Given) -> None:
    """Not at once: somebody else may have answered in Klaviyo's place for a while."""
    people, deliveries = several(shop, 12)
    shop.drain(Kind.FIELDS)
    shop.klaviyo.script(STATUS, *[answer] * UNREADABLE_LOOKS)
    drained(shop, UNREADABLE_LOOKS - 1)
    assert shop.said(*deliveries) == PROCESSING * 12
    drained(shop, 5)
    assert shop.said(*deliveries) == ["delivered: written"] * 12
    assert [len(each) for each in sent(shop)] == [12, 6, 6]
    assert len(shop.klaviyo.calls(STATUS)) == UNREADABLE_LOOKS + 2
    assert all(shop.link(person).rewrite for person in people), "part of it may still be under way"
    assert not any(shop.link(person).job_batch_id for person in people)


def test_a_job_that_was_resent_has_as_many_looks_as_any_other(shop: Shop) -> None:
    _, deliveries = several(shop, 12)
    shop.klaviyo.script(JOB, html(500))
    shop.klaviyo.script(STATUS, *[html(200)] * (UNREADABLE_LOOKS - 1))
    drained(shop, UNREADABLE_LOOKS + 3)
    assert shop.said(*deliveries) == ["delivered: written"] * 12
    assert [len(each) for each in sent(shop)] == [12, 12]


def test_whom_a_job_created_whose_status_nobody_can_read_are_not_created_again(engine_rows: Rows) -> None:
    shop = Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")
    people, deliveries = several(shop, 6, there=False)
    shop.drain(Kind.FIELDS)
    shop.klaviyo.script(LOOK, *[born_now(shop)] * 9)
    shop.klaviyo.script(STATUS, *[html(200)] * UNREADABLE_LOOKS)
    drained(shop, UNREADABLE_LOOKS + 5)
    assert shop.said(*deliveries) == ["delivered: written"] * 6
    assert [["id" in each for each in asked.profiles] for asked in shop.klaviyo.calls(JOB)[1:]] == [[True] * 3] * 2
    added = [each["id"] for asked in shop.klaviyo.calls(ADD) for each in asked.body["data"]]
    assert sorted(added) == sorted(shop.klaviyo.people[str(person.email)] for person in people)
    assert shop.again().profiles_created == 6


@pytest.mark.parametrize("answer", [html(200), good(200), good(200, {})], ids=["a page", "nothing", "no list"])
def test_errors_that_nobody_can_read_are_found_by_halves(shop: Shop, answer: Given) -> None:
    people, deliveries = several(shop, 12)
    failing(shop, 4)
    shop.drain(Kind.FIELDS)
    shop.klaviyo.script(ERRORS, *[answer] * UNREADABLE_LOOKS, *[error(404)] * 9)
    drained(shop, UNREADABLE_LOOKS - 1)
    assert shop.said(*deliveries) == PROCESSING * 12
    drained(shop, 9)
    assert shop.said(deliveries.pop(4)) == ["failed: rejected"]
    assert shop.said(*deliveries) == ["delivered: written"] * 11
    assert [len(each) for each in sent(shop)] == [12, 6, 6, 3, 3]
    assert not any(shop.link(person).rewrite or shop.link(person).job_batch_id for person in people)


@pytest.mark.parametrize("answer", [html(500), requests.exceptions.ReadTimeout()])
def test_a_job_that_is_twice_without_an_answer_goes_in_halves(shop: Shop, answer: Any) -> None:
    people, deliveries = several(shop, 12)
    shop.klaviyo.script(JOB, answer, answer)
    shop.drain(Kind.FIELDS, times=5)
    assert shop.said(*deliveries) == ["delivered: written"] * 12
    assert [len(each) for each in sent(shop)] == [12, 12, 6, 6]
    assert [batch.outcome for batch in shop.batches()][:2] == [BatchOutcome.LOST] * 2
    assert all(shop.link(person).rewrite for person in people)


@pytest.mark.parametrize("pages", [2, 4])
def test_errors_of_more_pages_than_the_budget_of_a_drain_are_found_by_halves_in_the_end(shop: Shop, pages: int) -> None:
    """Each drain begins with the first page: not for ever."""
    _, deliveries = several(shop, 12)
    failing(shop, *range(pages))
    shop.drain(Kind.FIELDS)
    account = shop.connection.klaviyo_account_id
    shop.rows.save(Budget(klaviyo_account_id=account, endpoint=ERRORS, limits={"1": 1, "60": 150}, spent=[]))

    def page(asked: Asked) -> Given:
        """One failure a page, of the job that is asked about."""
        points = sent(shop)[list(shop.klaviyo.jobs).index(asked.path.split("/")[-2])]
        bad = [place for place, one in enumerate(points) if one < pages]
        number = int(asked.query.get("page[cursor]", 0))
        said = {"attributes": {"detail": "Not valid.", "source": {"pointer": at(bad[number])}}}
        following = {"next": f"https://a.test/?page[cursor]={number + 1}"} if number + 1 < len(bad) else {}
        return good(200, [said], links=following)

    shop.klaviyo.script(ERRORS, *[page] * 200)
    drained(shop, 3 * UNREADABLE_LOOKS + 9)
    assert shop.said(*deliveries[:pages]) == ["failed: rejected"] * pages
    assert shop.said(*deliveries[pages:]) == ["delivered: written"] * (12 - pages)
