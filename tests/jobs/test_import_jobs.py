"""Many people's fields: one import job, followed to its end, its errors given to the right person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import update

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
)
from tests.jobs.klaviyo import Asked, Given, error, good, html, throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.dialects import db_now
from webapp.models import Batch, BatchOutcome, Lane

pytestmark = pytest.mark.usefixtures("few_are_many")


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def test_its_people_wait_until_it_is_complete(shop: Shop) -> None:
    people, deliveries = several(shop)
    shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == PROCESSING * 6
    assert sent(shop) == [list(range(6))]
    (batch,) = shop.batches()
    assert (batch.outcome, batch.job_id) == (BatchOutcome.ACCEPTED, next(iter(shop.klaviyo.jobs)))
    assert {shop.link(person).job_batch_id for person in people} == {batch.id}
    assert shop.lane(Kind.FIELDS).next_at is not None
    with writing() as session:  # or a slow machine asks in the first of the two drains already
        session.merge(batch).job_due_at = clock.now() + timedelta(minutes=1)
    shop.klaviyo.script(STATUS, ended(shop, "processing"))
    later = shop.fields(people[0], points=99)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(later) == PROCESSING, "nobody is in two unfinished writes"
    assert shop.klaviyo.endpoints == [LOOK, JOB, STATUS]
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(*deliveries, later) == ["delivered: written"] * 7
    assert {shop.link(person).job_batch_id for person in people} == {None}
    assert shop.link(people[1]).fields_version == 1
    assert shop.klaviyo.endpoints.count(PATCH) == 1


def test_errors_go_to_the_person_they_are_about(shop: Shop) -> None:
    _, deliveries = several(shop)
    shop.drain(Kind.FIELDS)

    def said(place: int) -> dict[str, Any]:
        return {"type": "import-error", "attributes": {"detail": f"Not {place}.", "source": {"pointer": at(place)}}}

    shop.klaviyo.script(STATUS, ended(shop, failed_count=2))
    following = f"{shop.klaviyo.url}/x?page%5Bcursor%5D=two"
    shop.klaviyo.script(ERRORS, good(200, [said(1)], links={"next": following}), good(200, [said(4)]))
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(deliveries[1], deliveries[4]) == ["failed: rejected"] * 2
    assert [shop.now(deliveries[n]).detail for n in (1, 4)] == ["Not 1.", "Not 4."]
    assert shop.said(*(deliveries[n] for n in (0, 2, 3, 5))) == ["delivered: written"] * 4
    assert [asked.query.get("page[cursor]") for asked in shop.klaviyo.calls(ERRORS)] == [None, "two"]


@pytest.mark.parametrize("end", ["cancelled", "forgotten"])
def test_a_job_without_an_end_is_written_again(shop: Shop, end: str) -> None:
    people, deliveries = several(shop)
    shop.drain(Kind.FIELDS)
    shop.klaviyo.script(STATUS, ended(shop, "cancelled") if end == "cancelled" else error(404))
    shop.drain(Kind.FIELDS, times=2)
    assert [len(each) for each in sent(shop)] == [6, 3, 3]
    assert shop.said(*deliveries) == PROCESSING * 6
    assert all(shop.link(person).rewrite for person in people), "part of it may still be under way"
    shop.drain(Kind.FIELDS, times=3)
    assert shop.said(*deliveries) == ["delivered: written"] * 6


@pytest.mark.parametrize("answer", [html(403), html(500), throttled(3), requests.exceptions.ReadTimeout(), html(200)])
def test_asking_about_it_is_tried_again(shop: Shop, answer: Any) -> None:
    _, deliveries = several(shop)
    shop.drain(Kind.FIELDS)
    shop.klaviyo.script(STATUS, answer)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(*deliveries) == PROCESSING * 6
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(*deliveries) == ["delivered: written"] * 6
    assert len(shop.klaviyo.calls(JOB)) == 1


@pytest.mark.parametrize("answer", [html(500), html(200)])
def test_the_lane_goes_on_while_klaviyo_does_not_say_how_a_job_goes(shop: Shop, answer: Any) -> None:
    several(shop)
    shop.drain(Kind.FIELDS)
    shop.klaviyo.script(STATUS, *[answer] * 20)
    other = shop.fields(shop.person(remembered=True), points=9)
    shop.drain(Kind.FIELDS, times=2)
    with writing() as session:
        session.execute(update(Lane).where(Lane.id == shop.lane(Kind.FIELDS).id).values(held_until=None))
    shop.drain(Kind.FIELDS)
    assert shop.said(other) == ["delivered: written"]


def test_a_job_that_may_not_be_asked_about_is_asked_about_again(shop: Shop) -> None:
    """Reconnected without the scope, and with it again: what Klaviyo wrote is told as written, and nothing waits."""
    people, deliveries = several(shop)
    shop.drain(Kind.FIELDS)
    shop.klaviyo.script(STATUS, *[error(403)] * 2)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(*deliveries) == PROCESSING * 6
    other = shop.fields(shop.person(remembered=True), points=9)
    shop.drain(Kind.FIELDS)
    assert shop.said(other) == ["delivered: written"]
    shop.drain(Kind.FIELDS, times=3)
    assert shop.said(*deliveries) == ["delivered: written"] * 6
    assert len(shop.klaviyo.calls(JOB)) == 1
    assert all(shop.link(person).job_batch_id is None for person in people)


def test_named_ones_are_out_and_the_rest_goes_again(shop: Shop) -> None:
    _, deliveries = several(shop)
    shop.klaviyo.script(JOB, error(400, at(2), detail="Invalid email ada@example.com"))
    shop.drain(Kind.FIELDS)
    assert shop.said(deliveries[2]) == ["failed: rejected"]
    assert shop.now(deliveries[2]).detail == "Invalid email [address]"
    assert sent(shop) == [list(range(6)), [0, 1, 3, 4, 5]]
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(*deliveries[:2], *deliveries[3:]) == ["delivered: written"] * 5


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(throttled(30), "rate_limited"), (html(403), "retrying"), (requests.exceptions.ConnectTimeout(), "retrying")],
    ids=["429", "html 403", "not sent"],
)
def test_not_taken_and_tried_again_without_writing_anybody_twice(shop: Shop, answer: Any, reason: str) -> None:
    people, deliveries = several(shop)
    shop.klaviyo.script(JOB, answer)
    shop.drain(Kind.FIELDS)
    assert shop.lane(Kind.FIELDS).held_reason == reason
    assert not shop.open_batches(Kind.FIELDS)
    shop.drain(Kind.FIELDS, times=3)
    assert shop.said(*deliveries) == ["delivered: written"] * 6
    assert not any(shop.link(person).rewrite for person in people)
    assert len(shop.klaviyo.calls(JOB)) == 2


@pytest.mark.parametrize("answer", [html(500), html(524), requests.exceptions.ReadTimeout(), html(200)])
def test_perhaps_taken_is_written_again_and_once_more_later(shop: Shop, answer: Any) -> None:
    people, deliveries = several(shop)
    shop.klaviyo.script(JOB, answer)
    shop.drain(Kind.FIELDS, times=3)
    assert shop.said(*deliveries) == ["delivered: written"] * 6
    assert all(shop.link(person).rewrite for person in people)
    assert [batch.outcome for batch in shop.batches()] == [BatchOutcome.LOST, BatchOutcome.ACCEPTED]


def test_a_missing_scope_skips_them(shop: Shop) -> None:
    _, deliveries = several(shop)
    shop.klaviyo.script(JOB, error(403))
    shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == ["skipped: scope_missing"] * 6


def test_a_worker_killed_in_the_call_leaves_nobody_behind(shop: Shop) -> None:
    people, deliveries = several(shop)
    shop.dies(Kind.FIELDS, JOB)
    shop.drain(Kind.FIELDS, times=3)
    assert shop.said(*deliveries) == ["delivered: written"] * 6
    assert all(shop.link(person).rewrite for person in people)


def test_whoever_is_born_since_is_ours_and_goes_on_the_list(engine_rows: Rows) -> None:
    shop = Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")
    strangers, new = several(shop, 4, there=False)
    known, old = several(shop, 2)
    shop.drain(Kind.FIELDS)
    (asked,) = shop.klaviyo.calls(JOB)
    assert ["email" in each["attributes"] for each in asked.profiles] == [True] * 4 + [False] * 2
    born = {str(person.email) for person in strangers[:3]}

    def looked_up(asked: Asked) -> Given:
        """The last of them was made by somebody else a year ago: our look-up had missed them."""
        rows = [shop.klaviyo._profile(email) for email in shop.klaviyo._wanted(asked)]
        for row in rows:
            if row["attributes"]["email"] in born:
                row["attributes"]["created"] = clock.iso(clock.now())
        return good(200, rows)

    shop.klaviyo.script(LOOK, looked_up)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(*new, *old) == ["delivered: written"] * 6
    (added,) = shop.klaviyo.calls(ADD)
    assert {each["id"] for each in added.body["data"]} == {shop.klaviyo.people[email] for email in born}
    assert shop.again().profiles_created == 3
    assert [shop.link(person).created_by_us_at is not None for person in (*strangers, *known)] == [True] * 3 + [
        False
    ] * 3
    assert shop.klaviyo.endpoints == [LOOK, JOB, STATUS, LOOK, ADD]


def test_without_the_lists_scopes_many_go_one_by_one(engine_rows: Rows) -> None:
    shop = Shop(engine_rows, scopes="events:write profiles:read profiles:write lists:write")
    _, deliveries = several(shop)
    shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == ["delivered: written"] * 6
    assert shop.klaviyo.endpoints.count(PATCH) == 6
    assert JOB not in shop.klaviyo.endpoints


def test_what_came_during_a_job_goes_as_soon_as_it_is_over(shop: Shop) -> None:
    """Not ten minutes later, when it would have been looked at again anyway."""
    people, _ = several(shop)
    shop.drain(Kind.FIELDS)
    later = shop.fields(people[0], points=99)
    shop.drain(Kind.FIELDS)
    assert shop.said(later) == PROCESSING
    with writing() as session:
        session.execute(update(Batch).where(Batch.connection_id == shop.connection.id).values(job_due_at=db_now()))
        session.execute(update(Lane).where(Lane.id == shop.lane(Kind.FIELDS).id).values(next_at=db_now()))
    shop.drain(Kind.FIELDS)
    assert shop.said(later) == ["delivered: written"]


@pytest.mark.parametrize("is_another", [True, False])
def test_whoever_has_another_profile_when_their_job_ends_is_written_there(shop: Shop, is_another: bool) -> None:
    """A signup looked them up meanwhile: what the job wrote, it wrote to the profile of before."""
    people, deliveries = several(shop)
    shop.klaviyo.script(STATUS, lambda _: ended(shop, "processing"))
    shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == PROCESSING * len(people)
    person, email = people[3], str(people[3].email)
    if is_another:
        shop.klaviyo.put(email)
    shop.consent(person)
    shop.drain(Kind.CONSENT)
    next_second(shop)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(*deliveries) == ["delivered: written"] * len(people)
    written = [(asked.path, asked.body["data"]["attributes"]["properties"]) for asked in shop.klaviyo.calls(PATCH)]
    there = f"/api/profiles/{shop.klaviyo.people[email]}"
    assert written == ([(there, {"Cevoid: Points": 3})] if is_another else [])
    assert shop.link(person).fields_version == 1
