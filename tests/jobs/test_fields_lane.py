"""A few people's fields, one by one: what every answer makes of them, creation, and the list step."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.jobs.klaviyo import error, good, html, throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import ALL_SCOPES, Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.models import BatchOutcome, Delivery, Person
from webapp.services.deliveries import attempts

PATCH, IMPORT, LOOK = "PATCH /api/profiles/{id}", "POST /api/profile-import", "GET /api/profiles"
ADD = "POST /api/lists/{id}/relationships/profiles"


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


@pytest.fixture
def creating(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01", list_name="News")


def one(shop: Shop, *answers: Any) -> tuple[Person, Delivery]:
    """A change of somebody remembered, sent into these answers."""
    person = shop.person(remembered=True)
    delivery = shop.fields(person, points=5)
    shop.klaviyo.script(PATCH, *answers)
    shop.drain(Kind.FIELDS)
    return person, delivery


def properties(shop: Shop, endpoint: str = PATCH) -> list[dict[str, Any]]:
    return [asked.body["data"]["attributes"].get("properties", {}) for asked in shop.klaviyo.calls(endpoint)]


def calls_of(shop: Shop, delivery: Delivery) -> list[str]:
    """The endpoints its page shows."""
    with reading() as session:
        return [attempt.endpoint for attempt in attempts.attempts_of(session, shop.now(delivery))]


def test_written_by_id_and_what_was_written_is_remembered(shop: Shop) -> None:
    person, delivery = one(shop)
    assert shop.said(delivery) == ["delivered: written"]
    assert shop.klaviyo.calls(PATCH)[0].path == f"/api/profiles/{shop.klaviyo.people[str(person.email)]}"
    assert shop.link(person).fields_version == 1
    second = shop.fields(person, points=5, tier_name="Gold")
    third = shop.fields(person, tier_name=None)
    shop.drain(Kind.FIELDS)
    assert shop.said(second, third) == ["delivered: written"] * 2
    assert properties(shop) == [{"Cevoid: Points": 5}, {"Cevoid: Tier Name": None}]
    unchanged = shop.fields(person, points=5)
    shop.drain(Kind.FIELDS)
    assert shop.said(unchanged) == ["skipped: unchanged"]
    assert len(shop.klaviyo.asked) == 2


@pytest.mark.parametrize(
    ("answer", "said", "detail"),
    [
        (error(400, "/data/attributes/properties", detail="Bad value."), "failed: rejected", "Bad value."),
        (error(422, detail="No."), "failed: rejected", "No."),
        (error(413, detail="Too large."), "failed: payload_too_large", "Too large."),
        (error(409, detail="Taken."), "failed: rejected", "Taken."),
        (error(403), "skipped: scope_missing", None),
    ],
)
def test_refused_for_good(shop: Shop, answer: Any, said: str, detail: str | None) -> None:
    person, delivery = one(shop, answer)
    assert shop.said(delivery) == [said]
    assert (shop.now(delivery).detail, shop.now(delivery).attempts) == (detail, 1)
    assert shop.link(person).fields_version == 0
    assert shop.link(person).rewrite is False
    assert [batch.outcome for batch in shop.batches()] == [BatchOutcome.REJECTED]


NOT_TAKEN: dict[str, tuple[list[Any], str]] = {
    "html 403": ([html(403)], "retrying"),
    "401 twice": ([error(401), error(401)], "retrying"),
    "405": ([error(405)], "retrying"),
    "410": ([error(410)], "retrying"),
    "415": ([error(415)], "retrying"),
    "429": ([throttled(20)], "rate_limited"),
    "not sent": ([requests.exceptions.ConnectTimeout()], "retrying"),
}


@pytest.mark.parametrize(("answers", "reason"), NOT_TAKEN.values(), ids=list(NOT_TAKEN))
def test_not_taken_and_tried_again(shop: Shop, answers: list[Any], reason: str) -> None:
    person, delivery = one(shop, *answers)
    assert shop.said(delivery) == [f"waiting: {reason}"]
    assert shop.lane(Kind.FIELDS).held_reason == reason
    assert shop.lane(Kind.FIELDS).failures == (0 if reason == "rate_limited" else 1)
    assert shop.link(person).rewrite is False, "it certainly was not taken: nobody is written twice for it"
    assert not shop.open_batches(Kind.FIELDS)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    assert len(shop.klaviyo.calls(PATCH)) == len(answers) + 1


@pytest.mark.parametrize(
    "answer",
    [
        html(500),
        error(503),
        html(524),
        html(200),
        requests.exceptions.ReadTimeout(),
        requests.exceptions.ConnectionError(ConnectionResetError(104, "reset")),
    ],
    ids=["500", "503", "524", "html 200", "timeout", "reset"],
)
def test_perhaps_taken_is_written_again_and_once_more_later(shop: Shop, answer: Any) -> None:
    person, delivery = one(shop, answer)
    assert shop.said(delivery) == ["waiting: retrying"]
    link = shop.link(person)
    assert link.rewrite
    assert link.unsettled_until is not None
    assert link.unsettled_until > clock.now()
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    with writing() as session:
        session.merge(shop.link(person)).unsettled_until = clock.now()
    shop.drain(Kind.FIELDS, times=2)
    assert properties(shop) == [{"Cevoid: Points": 5}] * 3
    assert shop.link(person).rewrite is False


def test_a_401_is_answered_with_a_new_token_once(shop: Shop) -> None:
    _, delivery = one(shop, error(401))
    assert shop.said(delivery) == ["delivered: written"]
    assert (shop.klaviyo.refreshed, len(shop.klaviyo.calls(PATCH))) == (1, 2)


def test_a_remembered_id_that_is_gone_is_looked_up_again_once(shop: Shop) -> None:
    person = shop.person(remembered=True)
    delivery = shop.fields(person, points=5)
    shop.klaviyo.put(str(person.email))
    shop.klaviyo.script(PATCH, error(404))
    shop.drain(Kind.FIELDS)
    assert shop.said(delivery) == ["delivered: written"]
    assert shop.klaviyo.endpoints == [PATCH, LOOK, PATCH]
    lost = shop.fields(person, points=6)
    shop.klaviyo.script(PATCH, error(404), error(404))
    shop.drain(Kind.FIELDS)
    assert shop.said(lost) == ["skipped: not_in_klaviyo"]


def test_gone_after_an_unknown_outcome_is_still_looked_up_again(shop: Shop) -> None:
    person, delivery = one(shop, html(500), error(404))
    shop.klaviyo.put(str(person.email))
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    assert shop.klaviyo.endpoints == [PATCH, PATCH, LOOK, PATCH]


def test_a_conflict_that_names_the_other_profile_writes_there(shop: Shop) -> None:
    person, delivery = one(shop, error(409, meta={"duplicate_profile_id": "01OTHER"}))
    assert shop.said(delivery) == ["delivered: written"]
    assert [asked.path for asked in shop.klaviyo.calls(PATCH)][1] == "/api/profiles/01OTHER"
    assert shop.link(person).klaviyo_id == "01OTHER"


def test_profiles_that_name_each_other_end(shop: Shop) -> None:
    turns = [error(409, meta={"duplicate_profile_id": name}) for name in ("01A", "01B") * 10]
    _, delivery = one(shop, *turns)
    assert shop.said(delivery) == ["failed: rejected"]
    assert len(shop.klaviyo.calls(PATCH)) <= 5


def test_one_refusal_of_eight_at_once_leaves_the_others_alone(shop: Shop) -> None:
    people = [shop.person(remembered=True) for _ in range(8)]
    deliveries = [shop.fields(person, points=n) for n, person in enumerate(people)]
    shop.klaviyo.script(PATCH, error(400), html(500), throttled(3))
    shop.drain(Kind.FIELDS)
    said = sorted(shop.said(*deliveries))
    assert said == ["delivered: written"] * 5 + ["failed: rejected", "waiting: rate_limited", "waiting: retrying"]
    assert sum(shop.link(person).rewrite for person in people) == 1
    shop.drain(Kind.FIELDS, times=2)
    assert sorted(shop.said(*deliveries)) == ["delivered: written"] * 7 + ["failed: rejected"]


def test_update_existing_creates_nobody(shop: Shop) -> None:
    delivery = shop.fields(shop.person(there=False), points=1)
    shop.drain(Kind.FIELDS)
    assert shop.said(delivery) == ["skipped: not_in_klaviyo"]
    assert shop.klaviyo.endpoints == [LOOK]


def test_whoever_we_created_goes_on_the_list(creating: Shop) -> None:
    person = creating.person(there=False)
    delivery = creating.fields(person, points=1)
    creating.drain(Kind.FIELDS)
    assert creating.said(delivery) == ["delivered: written"]
    assert creating.klaviyo.endpoints == [LOOK, IMPORT, ADD]
    assert creating.now(delivery).attempts == 1
    assert calls_of(creating, delivery) == [IMPORT]
    (added,) = creating.klaviyo.calls(ADD)
    assert added.body["data"] == [{"type": "profile", "id": creating.klaviyo.people[str(person.email)]}]
    link = creating.link(person)
    assert (link.created_by_us_at is not None, link.list_due, link.list_added_at is not None) == (True, False, True)
    assert creating.again().profiles_created == 1


def test_whoever_was_there_after_all_does_not(creating: Shop) -> None:
    """Born between our look-up and our call: 200 says that it was not us."""
    person = creating.person(there=False)
    delivery = creating.fields(person, points=1)
    creating.klaviyo.script(IMPORT, good(200, {"type": "profile", "id": "01ELSE"}))
    creating.drain(Kind.FIELDS)
    assert creating.said(delivery) == ["delivered: written"]
    assert creating.klaviyo.endpoints == [LOOK, IMPORT]
    assert (creating.link(person).created_by_us_at, creating.again().profiles_created) == (None, 0)


def test_whoever_was_created_by_a_call_of_unknown_outcome_is_ours(creating: Shop) -> None:
    person = creating.person(there=False)
    delivery = creating.fields(person, points=1)
    creating.klaviyo.script(IMPORT, html(500))
    creating.drain(Kind.FIELDS)
    creating.klaviyo.put(str(person.email))
    born = {"type": "profile", "id": "01BORN", "attributes": {"email": person.email, "created": clock.iso(clock.now())}}
    creating.klaviyo.script(LOOK, good(200, [born]))
    with writing() as session:
        session.merge(creating.link(person)).looked_up_at = None
    creating.drain(Kind.FIELDS, times=2)
    assert creating.said(delivery) == ["delivered: written"]
    assert creating.klaviyo.endpoints == [LOOK, IMPORT, LOOK, PATCH, ADD]
    assert creating.again().profiles_created == 1


LISTS: dict[str, tuple[Any, str, bool]] = {
    "404": (error(404, detail="A list with id LIST01 does not exist."), "delivered: list_missing", True),
    "403": (error(403), "delivered: list_scope_missing", False),
    "404 of a person": (error(404, "/data/0/id", detail="A profile does not exist."), "delivered: written", False),
    "400": (error(400, detail="No."), "delivered: list_missing", True),
}


@pytest.mark.parametrize(("answer", "said", "missing"), LISTS.values(), ids=list(LISTS))
def test_a_list_that_does_not_take_them_says_so(creating: Shop, answer: Any, said: str, missing: bool) -> None:
    person = creating.person(there=False)
    delivery = creating.fields(person, points=1)
    creating.klaviyo.script(ADD, answer)
    creating.drain(Kind.FIELDS)
    assert creating.said(delivery) == [said]
    assert (creating.again().list_missing_at is not None) is missing
    assert (creating.link(person).list_due, creating.link(person).list_added_at) == (False, None)
    assert calls_of(creating, delivery) == [IMPORT, ADD], "both calls are on its page"


@pytest.mark.parametrize("answer", [throttled(2), html(500), html(403), requests.exceptions.ReadTimeout()])
def test_a_list_that_does_not_answer_is_asked_again(creating: Shop, answer: Any) -> None:
    person = creating.person(there=False)
    delivery = creating.fields(person, points=1)
    creating.klaviyo.script(ADD, answer)
    creating.drain(Kind.FIELDS)
    assert creating.said(delivery) == ["waiting: backlog"]
    assert creating.link(person).list_due
    creating.drain(Kind.FIELDS, times=2)
    assert creating.said(delivery) == ["delivered: written"]
    assert creating.klaviyo.endpoints == [LOOK, IMPORT, ADD, ADD]
    assert calls_of(creating, delivery) == [IMPORT, ADD], "the one that did not take them"
    assert creating.link(person).list_added_at is not None


def test_without_the_lists_scopes_the_profile_is_written_all_the_same(engine_rows: Rows) -> None:
    scopes = " ".join(scope for scope in ALL_SCOPES.split() if scope != "lists:write")
    shop = Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01", scopes=scopes)
    delivery = shop.fields(shop.person(there=False), points=1)
    shop.drain(Kind.FIELDS)
    assert shop.said(delivery) == ["delivered: list_scope_missing"]
    assert shop.klaviyo.endpoints == [LOOK, IMPORT]


def test_a_batch_that_a_dead_worker_left_is_written_again(shop: Shop) -> None:
    """Its people may have been written: they are again now, and once more when that is surely over."""
    person = shop.person(remembered=True)
    delivery = shop.fields(person, points=5)
    shop.dies(Kind.FIELDS, PATCH)
    shop.drain(Kind.FIELDS)
    assert shop.said(delivery) == ["delivered: written"]
    assert shop.link(person).rewrite
    assert [batch.outcome for batch in shop.batches()] == [BatchOutcome.LOST, BatchOutcome.ACCEPTED]
