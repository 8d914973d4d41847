"""Signups of people whom a withdrawal of ours took off another list: Klaviyo shows them subscribed all the same."""

from __future__ import annotations

import pytest
import requests

from tests.jobs.klaviyo import error
from tests.jobs.listed import B, asked_about, joined, later, withdraws
from tests.jobs.shop import Shop
from tests.jobs.test_consents_edges import MINUTE, taken_off
from tests.jobs.test_consents_lane import ON_LIST, SUBSCRIBE
from tests.jobs.test_readback import read_back_is_due
from tests.jobs.test_signups import connected_again
from tests.rows import Rows
from webapp.catalogue.words import Kind
from webapp.models import Delivery, Person

LONG_AGO = 500 * MINUTE


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, list_id=B)


def tried(shop: Shop, *, again: bool) -> tuple[Person, Delivery]:
    """A signup whose call had no answer, of somebody who had left another list; `again`: they sign up once more."""
    person = taken_off(shop, LONG_AGO, 2 * LONG_AGO, 2 * LONG_AGO)
    signup = shop.consent(person)
    shop.klaviyo.script(SUBSCRIBE, requests.exceptions.ReadTimeout())
    shop.drain(Kind.CONSENT)
    assert shop.said(signup) == ["waiting: retrying"]
    return person, shop.consent(person) if again else signup


@pytest.mark.parametrize("again", [False, True])
def test_one_that_never_arrived_is_sent_again_when_klaviyo_takes_a_second(shop: Shop, again: bool) -> None:
    """Which it silently drops for half an hour."""
    person, signup = tried(shop, again=again)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(signup) == ["waiting: resubscribe_pause"]
    later(shop, person)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(signup) == ["delivered: written"]
    assert joined(shop) == [B, B]


@pytest.mark.parametrize("again", [False, True])
def test_one_that_arrived_is_not_sent_again(shop: Shop, again: bool) -> None:
    person, signup = tried(shop, again=again)
    shop.klaviyo.members[B].add(str(person.email))
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(signup) == ["delivered: already_subscribed"]
    assert (joined(shop), asked_about(shop)) == ([B], [B])


def test_where_the_list_may_not_be_read_it_is_sent_again_and_not_skipped(shop: Shop) -> None:
    """A signup needs no scope to read lists."""
    person, signup = tried(shop, again=False)
    later(shop, person)
    shop.klaviyo.script(ON_LIST, error(403))
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(signup) == ["delivered: written"]
    assert joined(shop) == [B, B]


def test_one_without_a_list_asks_for_none(engine_rows: Rows) -> None:
    """They are subscribed in general, and that is all it was to do."""
    shop = Shop(engine_rows)
    _, signup = tried(shop, again=False)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(signup) == ["delivered: already_subscribed"]
    assert asked_about(shop) == []


@pytest.mark.parametrize("list_id", [B, None])
def test_a_signup_waits_for_our_withdrawal_that_is_on_its_way(engine_rows: Rows, list_id: str | None) -> None:
    """Also of somebody whom Klaviyo does not show as subscribed: the withdrawal may be done after the signup."""
    shop = Shop(engine_rows, list_id=list_id)
    person = shop.person()
    shop.klaviyo.members[B].add(str(person.email))
    withdrawal = withdraws(shop, person)
    signup = shop.consent(person)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(withdrawal, signup) == ["delivered: written", "waiting: klaviyo_processing"]
    assert joined(shop) == []
    read_back_is_due(shop)  # five minutes later nothing shows: it is over
    shop.drain(Kind.CONSENT, times=3)
    assert shop.said(signup) == ["delivered: written"]
    assert joined(shop) == [list_id]


def test_whoever_signs_up_after_a_reconnect_is_not_subscribed_already(shop: Shop) -> None:
    """The withdrawal was the connection's of before; another account's say nothing."""
    account_id = shop.connection.klaviyo_account_id
    person = taken_off(shop, LONG_AGO, 2 * LONG_AGO, 2 * LONG_AGO)
    connected_again(shop, B, f"{account_id}-2")
    elsewhere = shop.consent(person)
    shop.drain(Kind.CONSENT)
    assert shop.said(elsewhere) == ["delivered: already_subscribed"]
    connected_again(shop, B, account_id)
    again = shop.consent(person)
    shop.drain(Kind.CONSENT)
    assert shop.said(again) == ["delivered: written"]
    assert joined(shop) == [B]
