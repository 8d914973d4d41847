"""Who is in Klaviyo: asked a hundred at a time, remembered as long as may be, and never guessed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.jobs.klaviyo import Asked, Given, error, good, html, throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import Person

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


def age(shop: Shop, person: Person, **ago: float) -> None:
    """Pretend that the person was looked up that long ago."""
    with writing() as session:
        session.merge(shop.link(person)).looked_up_at = clock.now() - timedelta(**ago)


def test_a_hit_is_believed_for_ten_minutes(shop: Shop) -> None:
    person = shop.person()
    for _ in range(2):
        shop.event(person)
        shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK, ONE, ONE]
    assert (shop.link(person).found, shop.link(person).klaviyo_id) == (True, shop.klaviyo.people[str(person.email)])
    age(shop, person, minutes=10, seconds=1)
    shop.event(person)
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints[3:] == [LOOK, ONE]


def test_a_miss_is_believed_for_a_minute(shop: Shop) -> None:
    person = shop.person(there=False)
    for _ in range(2):
        shop.event(person)
        shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK]
    age(shop, person, seconds=61)
    shop.klaviyo.put(str(person.email))
    late = shop.event(person)
    shop.drain(Kind.EVENT)
    assert shop.said(late) == ["delivered: written"]
    assert shop.klaviyo.endpoints == [LOOK, LOOK, ONE]


def test_several_are_looked_up_in_one_call(shop: Shop) -> None:
    people = [shop.person(there=number % 2 == 0) for number in range(7)]
    deliveries = [shop.event(person) for person in people]
    shop.drain(Kind.EVENT)
    assert shop.said(*deliveries) == ["delivered: written", "skipped: not_in_klaviyo"] * 3 + ["delivered: written"]
    assert shop.klaviyo.endpoints.count(LOOK) == 1


def test_nothing_is_remembered_across_accounts(shop: Shop, engine_rows: Rows) -> None:
    person = shop.person(remembered=True)
    store = engine_rows.store(shop.workspace)
    other = Shop(engine_rows)
    other.workspace, other.connection = shop.workspace, engine_rows.connection(shop.workspace, store)
    delivery = other.event(person)
    other.drain(Kind.EVENT)
    assert other.said(delivery) == ["skipped: not_in_klaviyo"]
    assert other.klaviyo.endpoints == [LOOK]


@pytest.mark.parametrize("kind", list(Kind))
def test_without_the_scope_everything_is_skipped_and_says_so(shop: Shop, kind: Kind) -> None:
    person = shop.person()
    delivery = shop.due(kind, person)
    shop.klaviyo.script(LOOK, error(403))
    shop.drain(kind)
    assert shop.said(delivery) == ["skipped: scope_missing"]
    assert shop.klaviyo.endpoints == [LOOK]
    assert shop.lane(kind).held_until is None


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    ("answer", "reason"), [(html(403), "retrying"), (html(500), "retrying"), (throttled(9), "rate_limited")]
)
def test_nobody_is_written_to_before_the_answer_is_there(shop: Shop, kind: Kind, answer: Any, reason: str) -> None:
    person = shop.person()
    delivery = shop.due(kind, person)
    shop.klaviyo.script(LOOK, answer)
    shop.drain(kind)
    assert shop.said(delivery) == ["waiting: backlog"]
    assert shop.lane(kind).held_reason == reason
    assert shop.klaviyo.endpoints == [LOOK]
    shop.drain(kind, times=2)
    assert shop.said(delivery) == ["delivered: written"]


def test_groups_that_were_answered_are_kept_where_another_was_not(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.klaviyo.payloads.LOOKUP_ADDRESSES", 2)
    people = [shop.person() for _ in range(6)]
    for person in people:
        shop.event(person)

    def answer(asked: Asked) -> Given:
        return throttled(1) if str(people[2].email) in asked.query["filter"] else shop.klaviyo._looked_up(asked)

    shop.klaviyo.script(LOOK, answer, answer, answer)
    shop.drain(Kind.EVENT)
    assert [shop.klaviyo.endpoints.count(name) for name in (LOOK, ONE, MANY)] == [3, 0, 0]
    shop.drain(Kind.EVENT, times=2)
    assert shop.klaviyo.endpoints[3:] == [LOOK, MANY]
    assert str(people[2].email) in shop.klaviyo.calls(LOOK)[3].query["filter"]
    assert str(people[0].email) not in shop.klaviyo.calls(LOOK)[3].query["filter"]


def refuses(shop: Shop, bad: str) -> Any:
    """A Klaviyo that does not take one of the addresses."""

    def answer(asked: Asked) -> Given:
        return error(400, detail="Invalid email") if bad in asked.query["filter"] else shop.klaviyo._looked_up(asked)

    return answer


@pytest.mark.parametrize("creates", [False, True])
def test_one_address_that_klaviyo_does_not_take_keeps_nobody_else_waiting(engine_rows: Rows, creates: bool) -> None:
    shop = Shop(engine_rows, **({"sync_behavior": CREATES} if creates else {}))
    people = [shop.person(there=number != 3) for number in range(6)]
    deliveries = [shop.event(person) for person in people]
    shop.klaviyo.script(LOOK, *[refuses(shop, str(people[3].email))] * 20)
    shop.drain(Kind.EVENT)
    others = [delivery for number, delivery in enumerate(deliveries) if number != 3]
    assert shop.said(*others) == ["delivered: written"] * 5
    assert shop.said(deliveries[3]) == ["delivered: written" if creates else "skipped: not_in_klaviyo"]
    assert shop.link(people[3]).found is False
    assert shop.klaviyo.endpoints.count(LOOK) <= 1 + 2 * 3


def test_another_form_of_the_address_is_the_same_person(shop: Shop) -> None:
    person = shop.person()

    def shouting(asked: Asked) -> Given:
        status, headers, body = shop.klaviyo._looked_up(asked)
        return status, headers, body.replace(str(person.email), str(person.email).upper())

    shop.klaviyo.script(LOOK, shouting)
    delivery = shop.event(person)
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["delivered: written"]


def test_an_import_never_believes_what_was_remembered(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would create whoever was deleted since: everybody in it is looked up in the same drain."""
    monkeypatch.setattr("jobs.fields.lane.SINGLES", 2)
    people = [shop.person(remembered=True) for _ in range(4)]
    deliveries = [shop.fields(person, points=1) for person in people]
    del shop.klaviyo.people[str(people[0].email)]
    shop.drain(Kind.FIELDS)
    assert shop.klaviyo.endpoints[0] == LOOK
    assert shop.said(deliveries[0]) == ["skipped: not_in_klaviyo"]
    (asked,) = shop.klaviyo.calls("POST /api/profile-bulk-import-jobs")
    assert len(asked.profiles) == 3
    assert all("email" not in item["attributes"] for item in asked.profiles)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_profile_that_has_another_main_address_by_now_is_theirs_all_the_same(shop: Shop, kind: Kind) -> None:
    """Two profiles became one in Klaviyo: asked for either address it answers with the main one."""
    people = [shop.person() for _ in range(5)]
    stranger = shop.person(there=False)
    merged = str(people[3].email)
    profile_id = shop.klaviyo.people[merged]

    def looked_up(asked: Asked) -> Given:
        rows = [shop.klaviyo._profile(email) for email in shop.klaviyo._wanted(asked)]
        for row in rows:
            if row["id"] == profile_id:
                row["attributes"]["email"] = "main@example.com"
        return good(200, rows)

    shop.klaviyo.script(LOOK, *[looked_up] * 9)
    deliveries = [shop.due(kind, person) for person in people]
    missing = shop.due(kind, stranger)
    shop.drain(kind)
    assert shop.said(*deliveries) == ["delivered: written"] * 5
    assert shop.said(missing)[0].endswith("not_in_klaviyo")
    assert shop.link(people[3]).klaviyo_id == profile_id
    assert len(shop.klaviyo.calls(LOOK)) == 3, "only those who were not answered for are asked about once more"


@pytest.mark.parametrize("found_before", [True, False])
def test_a_second_address_is_not_lost_beside_the_main_one(shop: Shop, found_before: bool) -> None:
    """Klaviyo answers with the main address for either. Others who are not there are asked about once."""
    main, second = shop.person(), shop.person(there=False)
    strangers = [shop.person(there=False) for _ in range(3)]

    def looked_up(asked: Asked) -> Given:
        wanted = asked.query["filter"]
        is_asked = str(main.email) in wanted or str(second.email) in wanted
        return good(200, [shop.klaviyo._profile(str(main.email))] if is_asked else [])

    shop.klaviyo.script(LOOK, *[looked_up] * 9)
    if found_before:
        shop.fields(second, points=1)
        shop.drain(Kind.FIELDS)
        age(shop, second, minutes=11)
    asked = len(shop.klaviyo.calls(LOOK))
    later = [shop.fields(person, points=2) for person in (main, second, *strangers)]
    shop.drain(Kind.FIELDS)
    told = "delivered: written" if found_before else "skipped: not_in_klaviyo"
    assert shop.said(*later) == ["delivered: written", told, *["skipped: not_in_klaviyo"] * 3]
    assert len(shop.klaviyo.calls(LOOK)) - asked == 1 + found_before
