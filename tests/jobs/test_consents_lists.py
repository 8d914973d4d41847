"""A withdrawal leaves every list that we subscribed the person to, each once, whatever comes between the calls."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests

from jobs import drain
from tests.jobs.klaviyo import Asked, Given, error, good, html, throttled
from tests.jobs.listed import (
    HOUR,
    A,
    B,
    asked_about,
    choose,
    joined,
    later,
    left,
    list_of,
    obeys,
    on_lists,
    signups,
    withdraws,
)
from tests.jobs.shop import Shop
from tests.jobs.test_consents_lane import LOOK, ON_LIST, UNSUBSCRIBE
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind

MINUTE = timedelta(minutes=1)


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, list_id=B)


def test_a_signup_to_another_list_does_not_make_forget_the_first(engine_rows: Rows) -> None:
    """They opted out by a mail's link in between, which leaves no list."""
    shop = Shop(engine_rows, list_id=A)
    person = shop.person()
    email = str(person.email)
    first = shop.consent(person, at=clock.now() - 50 * MINUTE)
    shop.drain(Kind.CONSENT)
    later(shop, person)
    shop.klaviyo.subscribed[email] = {"consent": "UNSUBSCRIBED", "last_updated": clock.iso(clock.now() - 40 * MINUTE)}
    choose(shop, B)
    second = shop.consent(person, at=clock.now() - 20 * MINUTE)
    shop.drain(Kind.CONSENT)
    shop.klaviyo.subscribed[email] = {"consent": "SUBSCRIBED"}
    shop.klaviyo.members |= {A: {email}, B: {email}}
    obeys(shop)
    withdrawal = withdraws(shop, person)
    assert shop.said(first, second, withdrawal) == ["delivered: written"] * 3
    assert (joined(shop), left(shop)) == ([A, B], [A, B])


def test_two_lists_are_left_and_read_back_and_then_forgotten(shop: Shop) -> None:
    person = on_lists(shop, A, B)
    obeys(shop)
    withdrawal = withdraws(shop, person)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert shop.klaviyo.endpoints == [LOOK, ON_LIST, ON_LIST, UNSUBSCRIBE, UNSUBSCRIBE]
    assert signups(person) == {A: (withdrawal.id, True), B: (withdrawal.id, True)}
    later(shop, person)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.klaviyo.endpoints[5:] == [LOOK, ON_LIST, ON_LIST]
    assert shop.now(withdrawal).confirmed_at is not None
    assert signups(person) == {}


def test_a_list_that_was_left_before_is_not_named(shop: Shop) -> None:
    """Unsubscribing somebody from a list they are not on unsubscribes them everywhere."""
    person = on_lists(shop, A, B)
    shop.klaviyo.members[A].clear()
    assert shop.said(withdraws(shop, person)) == ["delivered: written"]
    assert left(shop) == [B]


def test_whoever_is_on_none_of_them_any_more_is_not_on_the_list(shop: Shop) -> None:
    person = on_lists(shop, A, B)
    shop.klaviyo.members.clear()
    assert shop.said(withdraws(shop, person)) == ["skipped: not_on_list"]
    assert left(shop) == []


def test_people_on_the_same_lists_share_the_calls(shop: Shop) -> None:
    people = [*(on_lists(shop, A, B) for _ in range(3)), on_lists(shop, A), on_lists(shop, B)]
    deliveries = [shop.consent(person, "unsubscribed") for person in people]
    shop.drain(Kind.CONSENT)
    assert set(shop.said(*deliveries)) == {"delivered: written"}
    assert [len(asked.profiles) for asked in shop.klaviyo.calls(UNSUBSCRIBE)] == [4, 4]
    assert shop.klaviyo.endpoints == [LOOK, ON_LIST, ON_LIST, UNSUBSCRIBE, UNSUBSCRIBE]


BETWEEN: dict[str, Any] = {
    "429": throttled(2),
    "503": html(503),
    "500": html(500),
    "html 403": html(403),
    "timeout": requests.exceptions.ReadTimeout(),
    "not sent": requests.exceptions.ConnectTimeout(),
}


@pytest.mark.parametrize("answer", BETWEEN.values(), ids=list(BETWEEN))
def test_what_comes_between_the_lists_neither_repeats_the_first_nor_forgets_the_second(shop: Shop, answer: Any) -> None:
    """Klaviyo still shows the first list when it is looked at once more: sent again it would count for all mail."""
    person = on_lists(shop, A, B)
    shop.klaviyo.script(UNSUBSCRIBE, good(202), answer)
    withdrawal = withdraws(shop, person)
    assert shop.said(withdrawal)[0].startswith("waiting")
    assert signups(person)[A] == (withdrawal.id, True)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert left(shop) == [A, B, B]
    assert asked_about(shop) == [B, A, B]
    later(shop, person)
    shop.klaviyo.members[B].clear()
    shop.drain(Kind.CONSENT, times=2)
    assert left(shop) == [A, B, B, A], "read back like any other"


def test_a_worker_killed_between_them_goes_on_with_the_second(shop: Shop) -> None:
    person = on_lists(shop, A, B)
    withdrawal = shop.consent(person, "unsubscribed")
    shop.klaviyo.script(UNSUBSCRIBE, good(202))
    shop.dies(Kind.CONSENT, UNSUBSCRIBE)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert left(shop) == [A, B]


@pytest.mark.parametrize("place", [0, 1])
def test_one_that_arrived_though_nobody_said_so_is_left_alone_and_read_back(shop: Shop, place: int) -> None:
    person = on_lists(shop, A, B)

    def arrived(asked: Asked) -> Given:
        shop.klaviyo.members[str(list_of(asked))].clear()
        return html(500)

    obeys(shop, *[None] * place, arrived)
    withdrawal = withdraws(shop, person, times=2)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert left(shop) == [A, B]
    shop.klaviyo.members[A].add(str(person.email))
    later(shop, person)
    shop.drain(Kind.CONSENT, times=2)
    assert left(shop) == [A, B, A]


@pytest.mark.parametrize(
    ("answers", "taken"), [((error(400), None), B), ((None, error(400)), A)], ids=["first", "last"]
)
def test_one_that_is_refused_is_said_and_the_other_is_left_all_the_same(shop: Shop, answers: Any, taken: str) -> None:
    person = on_lists(shop, A, B)
    obeys(shop, *answers)
    withdrawal = withdraws(shop, person)
    assert shop.said(withdrawal) == ["failed: rejected"]
    assert left(shop) == [A, B]
    assert signups(person) == {A: (None, False), B: (None, False)} | {taken: (withdrawal.id, True)}
    assert shop.link(person).withdrawn_list_id == taken
    shop.klaviyo.asked.clear()
    attempts = len(shop.attempts())
    later(shop, person)
    with shop.working():
        shop.wait_is_over()
        drain.drain(shop.lane(Kind.CONSENT).id)
    assert asked_about(shop) == [taken]
    assert shop.now(withdrawal).confirmed_at is None
    assert len(shop.attempts()) == attempts + 2


def test_both_refused_there_is_nothing_to_read_back(shop: Shop) -> None:
    person = on_lists(shop, A, B)
    obeys(shop, error(400), error(400))
    assert shop.said(withdraws(shop, person)) == ["failed: rejected"]
    link = shop.link(person)
    assert (link.withdrawal_check_at, link.withdrawn_list_id, link.withdrawn_delivery_id) == (None, None, None)
    assert signups(person) == {A: (None, False), B: (None, False)}


def test_a_signup_that_does_not_show_yet_is_waited_for_while_the_other_list_is_left_at_once(shop: Shop) -> None:
    person = on_lists(shop, A, B, age=MINUTE)
    shop.klaviyo.members[B].clear()
    obeys(shop)
    withdrawal = withdraws(shop, person)
    assert shop.said(withdrawal) == ["waiting: klaviyo_processing"]
    assert left(shop) == [A]
    shop.klaviyo.members[B].add(str(person.email))
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert left(shop) == [A, B]


def test_an_old_signup_does_not_wait_for_the_last_ones_time(shop: Shop) -> None:
    person = on_lists(shop, A, B, age=MINUTE)
    shop.klaviyo.members[A].clear()
    assert shop.said(withdraws(shop, person)) == ["delivered: written"]
    assert left(shop) == [B]


def test_one_that_arrived_though_nobody_said_so_is_not_waited_for(shop: Shop) -> None:
    person = on_lists(shop, A, B, age=MINUTE)
    later(shop, person, -HOUR)

    def arrived(_asked: Asked) -> Given:
        shop.klaviyo.members[A].clear()
        return html(500)

    obeys(shop, arrived, html(500))
    withdrawal = withdraws(shop, person, times=3)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert left(shop) == [A, B, B]


def test_one_that_never_shows_does_not_keep_it_waiting(shop: Shop) -> None:
    person = on_lists(shop, A, B, age=MINUTE)
    shop.klaviyo.members[B].clear()
    obeys(shop)
    withdrawal = withdraws(shop, person)
    later(shop, person)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert left(shop) == [A]


def test_a_signup_without_a_list_is_withdrawn_as_a_whole_and_the_list_before_it_is_left_too(shop: Shop) -> None:
    person = on_lists(shop, A, None)
    obeys(shop)
    assert shop.said(withdraws(shop, person)) == ["delivered: written"]
    assert left(shop) == [None, A]


def test_a_later_signup_to_a_list_is_withdrawn_from_that_alone(shop: Shop) -> None:
    """What the one without a list did was over before: else nobody would have been subscribed once more."""
    person = on_lists(shop, None, B)
    assert shop.said(withdraws(shop, person)) == ["delivered: written"]
    assert left(shop) == [B]


def test_whoever_subscribed_by_another_door_since_is_asked_about_with_the_next_withdrawal(shop: Shop) -> None:
    person = on_lists(shop, A, B)
    shop.klaviyo.script(UNSUBSCRIBE, good(202), good(202))
    first = withdraws(shop, person)
    elsewhere = {"consent_timestamp": clock.iso(clock.now()), "custom_method_detail": "Footer form"}
    shop.klaviyo.subscribed[str(person.email)] = {"consent": "SUBSCRIBED", **elsewhere}
    later(shop, person)
    shop.drain(Kind.CONSENT, times=2)
    assert (left(shop), shop.link(person).withdrawal_check_at) == ([A, B], None)
    assert signups(person) == {A: (first.id, True), B: (first.id, True)}
    obeys(shop)
    withdraws(shop, person)
    assert left(shop) == [A, B] * 2


def test_a_consent_without_a_name_may_be_the_last_of_ours_of_whichever_list_is_read_back(shop: Shop) -> None:
    person = on_lists(shop, A, B, age=2 * MINUTE)
    shop.klaviyo.script(UNSUBSCRIBE, good(202), good(202))
    withdraws(shop, person)
    shop.klaviyo.subscribed[str(person.email)] = {"consent": "SUBSCRIBED", "consent_timestamp": clock.iso(clock.now())}
    later(shop, person, MINUTE)
    obeys(shop)
    shop.drain(Kind.CONSENT, times=2)
    assert (left(shop)[:2], sorted(filter(None, left(shop)[2:]))) == ([A, B], [A, B])


def test_a_signup_goes_to_the_list_that_was_chosen_while_the_person_was_read(shop: Shop) -> None:
    signup = shop.consent(shop.person())

    def meanwhile(asked: Asked) -> Given:
        choose(shop, A)
        return shop.klaviyo._looked_up(asked)

    shop.klaviyo.script(LOOK, meanwhile)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(signup) == ["delivered: written"]
    assert joined(shop) == [A]
