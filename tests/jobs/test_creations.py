"""Whom we created: counted and put on the list, also where the answer never came; never somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests

from jobs.fields import lane as fields_lane
from tests.jobs.creating import ADD, EVENT, EVENTS, IMPORT, JOB, LOOK, LOST, SUBSCRIBE, beside, profile
from tests.jobs.klaviyo import Asked, Given, error, good, html, throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import writing
from webapp.models import Connection, Person


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")


def ours(shop: Shop, person: Person) -> bool:
    """Whether the person is known as created by us; then they are on the list, and counted."""
    found = shop.link(person).created_by_us_at is not None
    assert (ADD in shop.klaviyo.endpoints) is found
    assert shop.again().profiles_created == int(found)
    return found


@pytest.mark.parametrize(("ago", "is_ours"), [(timedelta(), True), (timedelta(hours=1), False)])
def test_there_at_the_second_try_tells_by_its_age(shop: Shop, ago: timedelta, is_ours: bool) -> None:
    person = shop.person(there=False)
    delivery = shop.fields(person, points=1)
    shop.klaviyo.script(IMPORT, html(500), good(200, profile(person, clock.now() - ago)))
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    assert shop.klaviyo.endpoints[:3] == [LOOK, IMPORT, IMPORT]
    assert ours(shop, person) is is_ours


@pytest.mark.parametrize("answer", [error(400), error(413), error(403), throttled(1), html(403)])
def test_refused_it_created_nobody_whoever_comes_later(shop: Shop, answer: Any) -> None:
    person = shop.person(there=False)
    shop.fields(person, points=1)
    shop.klaviyo.script(IMPORT, answer)
    shop.drain(Kind.FIELDS)
    assert shop.link(person).creating_since is None
    shop.klaviyo.script(LOOK, good(200, [profile(person, clock.now())]))
    with writing() as session:
        session.merge(shop.link(person)).looked_up_at = None
    shop.fields(person, points=2)
    shop.drain(Kind.FIELDS, times=2)
    assert not ours(shop, person)


def test_born_long_after_our_call_they_came_by_another_door(shop: Shop) -> None:
    person = shop.person(there=False)
    shop.fields(person, points=1)
    shop.klaviyo.script(IMPORT, html(500))
    shop.drain(Kind.FIELDS)
    shop.klaviyo.script(LOOK, good(200, [profile(person, clock.now())]))
    with writing() as session:
        link = session.merge(shop.link(person))
        link.looked_up_at, link.creating_since = None, clock.now() - timedelta(hours=1)
    shop.drain(Kind.FIELDS, times=2)
    assert not ours(shop, person)


def gone(shop: Shop, person: Person) -> None:
    """Deleted in Klaviyo since anybody looked."""
    del shop.klaviyo.people[str(person.email)]
    with writing() as session:
        session.merge(shop.link(person)).looked_up_at = clock.now() - timedelta(hours=1)


@pytest.mark.parametrize("seen", [True, False], ids=["an event found nobody meanwhile", "at once"])
def test_whoever_is_deleted_and_created_again_is_counted_and_listed_again(shop: Shop, seen: bool) -> None:
    person = shop.person(there=False)
    shop.fields(person, points=1)
    shop.drain(Kind.FIELDS)
    gone(shop, person)
    if seen:
        shop.event(person)
        shop.klaviyo.script(EVENT, error(400))
        shop.drain(Kind.EVENT)
    again = shop.fields(person, points=2)
    shop.drain(Kind.FIELDS)
    assert shop.said(again) == ["delivered: written"]
    added = [each["id"] for asked in shop.klaviyo.calls(ADD) for each in asked.body["data"]]
    assert len(set(added)) == 2
    assert added[-1] == shop.klaviyo.people[str(person.email)]
    assert shop.again().profiles_created == 2


def test_whoever_is_deleted_and_put_there_by_others_is_not_ours_any_more(shop: Shop) -> None:
    person = shop.person(there=False)
    shop.fields(person, points=1)
    shop.drain(Kind.FIELDS)
    gone(shop, person)
    shop.klaviyo.put(str(person.email))
    shop.fields(person, points=2)
    shop.drain(Kind.FIELDS)
    assert shop.link(person).created_by_us_at is None
    assert shop.again().profiles_created == 1, "it was created all the same"


def test_whoever_an_event_created_is_ours_as_well(shop: Shop) -> None:
    """The minute was over: the event went by address, and the import that came later found them there."""
    person = shop.person(there=False)
    shop.event(person)
    shop.drain(Kind.EVENT)
    shop.fields(person, points=1)
    shop.klaviyo.script(IMPORT, good(200, profile(person, clock.now())))
    shop.drain(Kind.FIELDS)
    assert ours(shop, person)


@pytest.mark.parametrize("answer", [error(400), error(413), error(403)])
def test_a_refused_event_created_nobody_whoever_comes_later(shop: Shop, answer: Any) -> None:
    person = shop.person(there=False)
    shop.event(person)
    shop.klaviyo.script(EVENT, answer)
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK, EVENT]
    assert shop.link(person).creating_since is None


def test_who_is_named_in_a_refused_call_was_not_created_by_it(shop: Shop) -> None:
    """The others go on in the same batch, and are ours once they are born."""
    people = [shop.person(there=False) for _ in range(7)]
    for person in people:
        shop.event(person)
    shop.klaviyo.script(EVENTS, error(400, "/data/attributes/events-bulk-create/data/1"), html(500))
    shop.drain(Kind.EVENT, times=2)
    marked = [shop.link(person).creating_since is not None for person in people]
    assert marked == [True, False, True, True, True, True, True]


def test_a_refused_event_says_nothing_of_a_call_of_another_lane(shop: Shop) -> None:
    person = shop.person(there=False)
    shop.fields(person, points=1)
    shop.klaviyo.script(IMPORT, html(500))
    shop.drain(Kind.FIELDS)
    shop.event(person)
    shop.klaviyo.script(EVENT, error(400))
    shop.drain(Kind.EVENT)
    assert shop.link(person).creating_since is not None


def test_whoever_a_signup_created_is_counted_and_goes_to_the_list_by_that_alone(shop: Shop) -> None:
    person = shop.person(there=False)
    shop.consent(person)
    shop.drain(Kind.CONSENT)
    shop.klaviyo.put(str(person.email))
    shop.fields(person, points=1)
    shop.drain(Kind.FIELDS)
    assert shop.link(person).created_by_us_at is not None
    assert shop.again().profiles_created == 1
    assert ADD not in shop.klaviyo.endpoints


@pytest.mark.parametrize("answer", [html(500), requests.exceptions.ReadTimeout()], ids=["500", "timeout"])
def test_a_signup_whose_answer_never_came_may_have_created_them(shop: Shop, answer: Any) -> None:
    person = shop.person(there=False)
    shop.consent(person)
    shop.klaviyo.script(SUBSCRIBE, answer)
    shop.drain(Kind.CONSENT)
    assert shop.again().profiles_created == 0
    shop.klaviyo.script(LOOK, good(200, [profile(person, clock.now())]))
    shop.drain(Kind.CONSENT, times=2)
    assert shop.again().profiles_created == 1
    assert not shop.link(person).list_due


@pytest.mark.parametrize("answer", [error(400), throttled(1), error(403)])
def test_a_refused_signup_created_nobody(shop: Shop, answer: Any) -> None:
    person = shop.person(there=False)
    shop.consent(person)
    shop.klaviyo.script(SUBSCRIBE, answer)
    shop.drain(Kind.CONSENT)
    assert shop.link(person).creating_since is None
    assert shop.again().profiles_created == 0


@pytest.mark.parametrize("refusal", [throttled(1), error(400), error(403)], ids=["429", "400", "403"])
@pytest.mark.parametrize("first", [Kind.FIELDS, Kind.CONSENT])
def test_a_refusal_of_one_call_says_nothing_of_another_lanes(shop: Shop, first: Kind, refusal: Any) -> None:
    """Whichever began first: the one that was not answered may have created them."""
    person = shop.person(there=False)
    shop.fields(person, points=1)
    shop.consent(person)
    endpoints = {Kind.FIELDS: IMPORT, Kind.CONSENT: SUBSCRIBE}
    second = Kind.CONSENT if first is Kind.FIELDS else Kind.FIELDS
    shop.klaviyo.script(endpoints[first], beside(shop, second, refusal))
    shop.klaviyo.script(endpoints[second], LOST)
    shop.drain(first)
    shop.klaviyo.script(LOOK, good(200, [profile(person, clock.now())]))
    with writing() as session:
        session.merge(shop.link(person)).looked_up_at = None
    shop.fields(person, points=2)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.again().profiles_created == 1


@pytest.mark.parametrize(("ago", "count"), [(timedelta(), 1), (timedelta(hours=1), 0)])
def test_there_already_by_a_signup_that_began_meanwhile_tells_by_its_age(
    shop: Shop, ago: timedelta, count: int
) -> None:
    person = shop.person(there=False)
    shop.fields(person, points=1)
    shop.consent(person)
    shop.klaviyo.script(SUBSCRIBE, LOST)
    there = good(200, profile(person, clock.now() - ago))
    shop.klaviyo.script(IMPORT, beside(shop, Kind.CONSENT, there))
    shop.drain(Kind.FIELDS)
    assert shop.again().profiles_created == count


@pytest.mark.parametrize("is_there", [True, False])
def test_whoever_a_lost_call_may_have_created_is_looked_up_where_nobody_is_to_be_created_any_more(
    shop: Shop, is_there: bool
) -> None:
    """That they were missed before the call is remembered, and says nothing of them."""
    person = shop.person(there=False)
    delivery = shop.fields(person, points=1)
    shop.klaviyo.script(IMPORT, LOST)
    shop.drain(Kind.FIELDS)
    shop.klaviyo.script(LOOK, good(200, [profile(person, clock.now())] if is_there else []))
    with writing() as session:
        session.get_one(Connection, shop.connection.id).sync_behavior = SyncBehavior.UPDATE_EXISTING
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(delivery) == ["delivered: written" if is_there else "skipped: not_in_klaviyo"]
    assert ours(shop, person) is is_there
    again = shop.fields(person, points=2)
    shop.drain(Kind.FIELDS)
    assert shop.said(again) == shop.said(delivery)
    assert shop.klaviyo.endpoints.count(LOOK) == 2, "a miss after the call is remembered"


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("lost", [IMPORT, EVENT])
def test_nor_does_it_say_anything_to_their_events(shop: Shop, lost: str, is_there: bool) -> None:
    """One that was lost itself goes again, under its own id; another one goes now."""
    person = shop.person(there=False)
    event = shop.event(person)
    if lost == IMPORT:
        shop.fields(person, points=1)
    shop.klaviyo.script(lost, LOST)
    shop.drain(Kind.FIELDS if lost == IMPORT else Kind.EVENT)
    shop.klaviyo.script(LOOK, good(200, [profile(person, clock.now())] if is_there else []))
    with writing() as session:
        session.get_one(Connection, shop.connection.id).sync_behavior = SyncBehavior.UPDATE_EXISTING
    shop.wait_is_over()
    shop.drain(Kind.EVENT)
    assert shop.said(event) == ["delivered: written" if is_there else "skipped: not_in_klaviyo"]
    assert shop.again().profiles_created == int(is_there)
    assert shop.klaviyo.endpoints.count(LOOK) == 2


def changed_meanwhile(shop: Shop) -> Callable[[Asked], Given]:
    """While people are looked up, somebody saves that nobody is to be created any more."""

    def answer(asked: Asked) -> Given:
        with writing() as session:
            session.get_one(Connection, shop.connection.id).sync_behavior = SyncBehavior.UPDATE_EXISTING
        return shop.klaviyo._looked_up(asked)

    return answer


@pytest.mark.parametrize("kind", [Kind.EVENT, Kind.FIELDS])
@pytest.mark.parametrize("count", [1, 10])
def test_nobody_is_created_once_the_behavior_is_changed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, kind: Kind, count: int
) -> None:
    monkeypatch.setattr(fields_lane, "SINGLES", 2)
    deliveries = [shop.due(kind, shop.person(there=False)) for _ in range(count)]
    shop.klaviyo.script(LOOK, changed_meanwhile(shop))
    shop.drain(kind, times=2)
    assert set(shop.said(*deliveries)) == {"skipped: not_in_klaviyo"}
    assert {EVENT, EVENTS, IMPORT, JOB} & set(shop.klaviyo.endpoints) == set()
