"""Withdrawals read back while Klaviyo does not find the person: one look-up that misses does not end anything."""

from __future__ import annotations

from typing import Any

import pytest

from tests.jobs.klaviyo import error, good
from tests.jobs.listed import choose
from tests.jobs.shop import Shop
from tests.jobs.test_consents_lane import LOOK
from tests.jobs.test_readback import looked_at_later, read_back, read_back_is_due, repeated, withdrawn
from tests.rows import Rows
from webapp.catalogue.words import Kind
from webapp.models import Delivery, Person

MISSES: dict[str, Any] = {"missed": good(200, []), "refused": error(400)}


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, list_id="LIST01")


def once_more(shop: Shop, *answers: Any) -> None:
    """The read-back is due and done, its look-up answered so."""
    shop.klaviyo.script(LOOK, *answers)
    read_back_is_due(shop)
    read_back(shop)


def withdrawn_as_a_whole(shop: Shop) -> tuple[Person, Delivery]:
    """A withdrawal without a list that Klaviyo took, and that is to be read back."""
    choose(shop, None)
    person = shop.person()
    shop.klaviyo.subscribed[str(person.email)] = {"consent": "SUBSCRIBED", "consent_timestamp": "2026-01-01T00:00:00Z"}
    delivery = shop.consent(person, "unsubscribed")
    shop.drain(Kind.CONSENT)
    assert shop.said(delivery) == ["delivered: written"]
    shop.klaviyo.asked.clear()
    return person, delivery


@pytest.mark.parametrize("missed", MISSES.values(), ids=list(MISSES))
@pytest.mark.parametrize("has_list", [True, False])
def test_one_miss_is_not_the_withdrawal_shown(shop: Shop, missed: Any, has_list: bool) -> None:
    """Nor is it sent again before it is known whether they subscribed by another door."""
    if has_list:
        (person,), (delivery,) = withdrawn(shop, 1)
    else:
        person, delivery = withdrawn_as_a_whole(shop)
    once_more(shop, missed)
    assert looked_at_later(shop, person)
    assert shop.now(delivery).confirmed_at is None
    assert repeated(shop) == []
    once_more(shop)
    assert repeated(shop) == [[person.email]]


def test_whoever_the_list_shows_and_two_look_ups_miss_leaves_it_once_more(shop: Shop) -> None:
    (person,), _ = withdrawn(shop, 1)
    once_more(shop, *MISSES.values())
    once_more(shop)
    assert repeated(shop) == [[person.email]]
    assert looked_at_later(shop, person)


def test_whoever_is_not_on_the_list_any_more_is_seen_to_have_left_it(shop: Shop) -> None:
    (person,), (delivery,) = withdrawn(shop, 1)
    shop.klaviyo.members["LIST01"].clear()
    once_more(shop, MISSES["missed"])
    assert shop.link(person).withdrawal_check_at is None
    assert shop.now(delivery).confirmed_at is not None


def test_without_a_list_whoever_two_look_ups_miss_is_gone(shop: Shop) -> None:
    """They are not unsubscribed by their address: nobody knows whether that would create them."""
    person, delivery = withdrawn_as_a_whole(shop)
    for _ in range(2):
        once_more(shop, MISSES["missed"])
    assert shop.link(person).withdrawal_check_at is None
    assert shop.now(delivery).confirmed_at is not None
    assert repeated(shop) == []


def test_of_two_misses_with_a_hit_between_them_each_is_one(shop: Shop) -> None:
    person, _ = withdrawn_as_a_whole(shop)
    once_more(shop, MISSES["missed"])
    once_more(shop)
    once_more(shop, MISSES["missed"])
    assert looked_at_later(shop, person)
