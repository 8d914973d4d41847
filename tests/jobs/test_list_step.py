"""Going on the list: one profile that the list does not take keeps none of the others, however few calls a second."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.jobs.klaviyo import Asked, Given, error, good
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import Budget, Connection, Delivery, Person

ADD, PATCH = "POST /api/lists/{id}/relationships/profiles", "PATCH /api/profiles/{id}"


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")


def owed(shop: Shop, count: int) -> tuple[list[Person], list[Delivery]]:
    """People we created who are not on the list yet. Nothing is in the order of anything."""
    people = [shop.person(remembered=False) for _ in range(count)]
    for person in reversed(people):
        known = {"klaviyo_id": shop.klaviyo.people[str(person.email)], "list_due": True, "fields_version": 1}
        shop.rows.link(shop.connection, person, **known)
    return people, [shop.fields(person, points=1) for person in people]


def ids(asked: Asked) -> list[str]:
    return [each["id"] for each in asked.body["data"]]


def refusing(shop: Shop, *people: Person, named: bool) -> None:
    bad = {shop.klaviyo.people[str(person.email)] for person in people}

    def answer(asked: Asked) -> Given:
        pointers = [f"/data/{place}/id" for place, each in enumerate(ids(asked)) if each in bad]
        if not pointers:
            return good(204)
        return error(404, *(pointers if named else []), detail="A profile does not exist.")

    shop.klaviyo.script(ADD, *[answer] * 99)


def so_many_a_second(shop: Shop, calls: int) -> None:
    account = shop.connection.klaviyo_account_id
    shop.rows.save(Budget(klaviyo_account_id=account, endpoint=ADD, limits={"1": calls, "60": 150}, spent=[]))


def added(shop: Shop, people: list[Person]) -> list[bool]:
    return [shop.link(person).list_added_at is not None for person in people]


@pytest.mark.parametrize("named", [True, False])
def test_whoever_is_not_there_any_more_is_left_out_and_the_list_is_not_said_to_be_missing(
    shop: Shop, named: bool
) -> None:
    people, deliveries = owed(shop, 7)
    refusing(shop, people[2], people[5], named=named)
    so_many_a_second(shop, 100)
    shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == ["delivered: written"] * 7
    assert added(shop, people) == [number not in (2, 5) for number in range(7)]
    assert shop.again().list_missing_at is None
    assert len(shop.klaviyo.calls(ADD)) == 2 or not named


def test_it_gets_on_with_few_calls_a_second(shop: Shop) -> None:
    """Three are fewer than it takes to find one of 32."""
    people, deliveries = owed(shop, 32)
    refusing(shop, people[0], named=False)
    so_many_a_second(shop, 3)
    for _ in range(40):
        with writing() as session:
            session.execute(update(Budget).values(spent=[]))
        shop.wait_is_over()
        shop.drain(Kind.FIELDS)
        if added(shop, people)[1:] == [True] * 31 and not shop.link(people[0]).list_due:
            break
    assert shop.said(*deliveries[1:]) == ["delivered: written"] * 31
    assert added(shop, people) == [False] + [True] * 31


def test_a_list_that_takes_nobody_is_missing(shop: Shop) -> None:
    people, deliveries = owed(shop, 3)
    refusing(shop, *people, named=False)
    shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == ["delivered: list_missing"] * 3
    assert shop.again().list_missing_at is not None


def test_another_list_chosen_meanwhile_is_not_said_to_be_missing(shop: Shop) -> None:
    people, deliveries = owed(shop, 1)

    def answer(_asked: Asked) -> Given:
        with writing() as session:
            session.get_one(Connection, shop.connection.id).list_id = "LIST02"
        return error(404, detail="A list with id LIST01 does not exist.")

    shop.klaviyo.script(ADD, answer)
    shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == ["delivered: list_missing"]
    assert added(shop, people) == [False]
    assert shop.again().list_missing_at is None


@pytest.mark.parametrize("how", ["found", "named by a conflict"])
def test_another_profile_of_somebody_we_created_is_not_added(shop: Shop, how: str) -> None:
    """Deleted by the merchant, and put there by them, before the list step: they were there before us."""
    (person,), (delivery,) = owed(shop, 1)
    with writing() as session:
        session.merge(shop.link(person)).looked_up_at = clock.now() - timedelta(hours=1)
    if how == "found":
        shop.klaviyo.put(str(person.email))
    else:
        shop.fields(person, points=2)
        shop.klaviyo.script(PATCH, error(409, meta={"duplicate_profile_id": "01OTHER"}))
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    assert ADD not in shop.klaviyo.endpoints
    assert not shop.link(person).list_due


def test_whoever_was_just_created_goes_to_the_list_that_was_chosen_meanwhile(shop: Shop) -> None:
    """The list counts when they are added: never to one that the owner has taken back."""
    person = shop.person(there=False)
    delivery = shop.fields(person, points=1)

    def meanwhile(asked: Asked) -> Given:
        with writing() as session:
            session.execute(update(Connection).where(Connection.id == shop.connection.id).values(list_id="LIST02"))
        return shop.klaviyo._imported(asked)

    shop.klaviyo.script("POST /api/profile-import", meanwhile)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    assert [asked.path.split("/")[3] for asked in shop.klaviyo.calls(ADD)] == ["LIST02"]
