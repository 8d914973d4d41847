"""Consents at the edges: seven days later, by the thousand, and what happens while the person is being read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobs import expiry
from tests.jobs.klaviyo import Asked, Given, error
from tests.jobs.shop import CREATES, Shop
from tests.jobs.test_consents_lane import LOOK, ON_LIST, PERHAPS, SUBSCRIBE, UNSUBSCRIBE, one, withdraw
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import writing
from webapp.models import Connection, Delivery, Person
from webapp.models.delivery import PRIORITY_WITHDRAWAL
from webapp.services.tracing import erasures


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, list_id="LIST01")


def held(shop: Shop, state: str) -> Delivery:
    """Somebody's consent who is not in Klaviyo, looked for once."""
    delivery = shop.consent(shop.person(there=False), state)
    shop.drain(Kind.CONSENT)
    assert shop.said(delivery) == ["waiting: not_in_klaviyo"]
    return delivery


def seven_days_later(*deliveries: Delivery) -> None:
    with writing() as session:
        for delivery in deliveries:
            session.get_one(Delivery, delivery.id).expires_at = clock.now() - timedelta(seconds=1)


@pytest.mark.parametrize("by", ["the lane", "housekeeping"])
def test_after_seven_days_a_held_one_is_skipped_and_another_is_expired(shop: Shop, by: str) -> None:
    """Housekeeping ends them where the lane may not run: in a paused connection, or one to be reconnected."""
    waited = [held(shop, "subscribed"), held(shop, "unsubscribed")]
    other = shop.consent(shop.person())
    with writing() as session:
        session.get_one(Delivery, waited[1].id).priority = PRIORITY_WITHDRAWAL
    seven_days_later(*waited, other)
    before = len(shop.klaviyo.asked)
    if by == "housekeeping":
        expiry.run()
        shop.check_counters()
    else:
        shop.drain(Kind.CONSENT, times=2)
    assert shop.said(*waited, other) == ["skipped: not_in_klaviyo"] * 2 + ["failed: expired"]
    assert len(shop.klaviyo.asked) == before


def test_a_thousand_signups_are_one_call_and_a_withdrawal_overtakes_them(shop: Shop) -> None:
    deliveries = [shop.consent(shop.person()) for _ in range(130)]
    leaver = shop.person()
    shop.klaviyo.members["LIST01"].add(str(leaver.email))
    withdrawal = shop.consent(leaver, "unsubscribed")
    with writing() as session:
        session.get_one(Delivery, withdrawal.id).priority = PRIORITY_WITHDRAWAL
    shop.drain(Kind.CONSENT)
    assert set(shop.said(withdrawal, *deliveries)) == {"delivered: written"}
    assert shop.klaviyo.endpoints == [LOOK, ON_LIST, UNSUBSCRIBE, LOOK, LOOK, SUBSCRIBE]
    assert [len(asked.profiles) for asked in shop.klaviyo.calls(SUBSCRIBE)] == [130]


def test_a_hundred_withdrawals_are_a_call(shop: Shop) -> None:
    for _ in range(130):
        person = shop.person()
        shop.klaviyo.members["LIST01"].add(str(person.email))
        shop.consent(person, "unsubscribed")
    shop.drain(Kind.CONSENT)
    assert [len(asked.profiles) for asked in shop.klaviyo.calls(UNSUBSCRIBE)] == [100, 30]


def meanwhile(shop: Shop, happens: Callable[[], None]) -> None:
    """While the person is being read, something else happens."""

    def answer(asked: Asked) -> Given:
        happens()
        return shop.klaviyo._looked_up(asked)

    shop.klaviyo.script(LOOK, answer)


def test_a_withdrawal_that_comes_while_the_person_is_read_stops_the_subscribe(shop: Shop) -> None:
    person = shop.person()
    signup = shop.consent(person, at=clock.now() - timedelta(minutes=1))
    later: list[Delivery] = []
    meanwhile(shop, lambda: later.append(shop.consent(person, "unsubscribed")))
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(signup, *later) == ["skipped: superseded", "skipped: not_on_list"]
    assert SUBSCRIBE not in shop.klaviyo.endpoints


def test_somebody_erased_while_being_read_is_not_subscribed(shop: Shop) -> None:
    person = shop.person()
    signup = shop.consent(person)

    def erased() -> None:
        erasures.erase(shop.workspace.id, str(person.email), None)

    meanwhile(shop, erased)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(signup) == ["skipped: erased"]
    assert SUBSCRIBE not in shop.klaviyo.endpoints


def test_a_change_of_the_behavior_counts_for_the_very_next_call(engine_rows: Rows) -> None:
    shop = Shop(engine_rows, sync_behavior=CREATES)
    person = shop.person(there=False)
    signup = shop.consent(person)

    def back() -> None:
        with writing() as session:
            session.get_one(Connection, shop.connection.id).sync_behavior = SyncBehavior.UPDATE_EXISTING

    meanwhile(shop, back)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(signup) == ["waiting: not_in_klaviyo"]
    assert SUBSCRIBE not in shop.klaviyo.endpoints


def left_the_list(shop: Shop, person: Person, ago: timedelta) -> None:
    """Subscribed in general, but no longer to the chosen list."""
    left = {"list_id": "LIST01", "reason": "UNSUBSCRIBE", "timestamp": clock.iso(clock.now() - ago)}
    shop.klaviyo.subscribed[str(person.email)] = {"consent": "SUBSCRIBED", "list_suppressions": [left]}


def test_whoever_left_the_list_signs_up_to_it_again_and_is_not_put_back_by_an_older_consent(shop: Shop) -> None:
    again, before = shop.person(), shop.person()
    left_the_list(shop, again, timedelta(hours=1))
    left_the_list(shop, before, timedelta(minutes=1))
    signups = [shop.consent(person, at=clock.now() - timedelta(minutes=10)) for person in (again, before)]
    shop.drain(Kind.CONSENT)
    assert shop.said(*signups) == ["delivered: written", "skipped: newer_opt_out"]
    (asked,) = shop.klaviyo.calls(SUBSCRIBE)
    assert [each["attributes"]["email"] for each in asked.profiles] == [again.email]


@pytest.mark.parametrize(
    ("consent", "reason", "minutes", "said"),
    [
        ("SUBSCRIBED", "USER_SUPPRESSED", 1, "skipped: newer_opt_out"),
        ("SUBSCRIBED", "USER_SUPPRESSED", 60, "delivered: written"),
        ("SUBSCRIBED", "HARD_BOUNCE", 1, "delivered: already_subscribed"),
        ("NEVER_SUBSCRIBED", "HARD_BOUNCE", 1, "delivered: written"),
        ("NEVER_SUBSCRIBED", "SPAM_COMPLAINT", 1, "skipped: newer_opt_out"),
    ],
)
def test_a_suppression_counts_by_what_it_means_and_when_it_came(
    shop: Shop, consent: str, reason: str, minutes: int, said: str
) -> None:
    person, at = shop.person(), clock.now() - timedelta(minutes=minutes)
    row = {"reason": reason, "timestamp": clock.iso(at)}
    shop.klaviyo.subscribed[str(person.email)] = {"consent": consent, "suppression": [row]}
    signup = shop.consent(person, at=clock.now() - timedelta(minutes=10))
    shop.drain(Kind.CONSENT)
    assert shop.said(signup) == [said]
    assert len(shop.klaviyo.calls(SUBSCRIBE)) == (said == "delivered: written")


def test_an_opt_out_of_unknown_time_wins_also_beside_a_list_that_was_left(shop: Shop) -> None:
    person = shop.person()
    left_the_list(shop, person, timedelta(hours=1))
    shop.klaviyo.subscribed[str(person.email)]["suppression"] = [{"reason": "UNSUBSCRIBE"}]
    signup = shop.consent(person)
    shop.drain(Kind.CONSENT)
    assert shop.said(signup) == ["skipped: newer_opt_out"]


MINUTE = timedelta(minutes=1)


def taken_off(shop: Shop, ago: timedelta, subscribed_ago: timedelta, consented_ago: timedelta) -> Person:
    """Somebody whom a withdrawal of ours took off LIST01, and when we and any door last subscribed them."""
    person, now = shop.person(), clock.now()
    left_the_list(shop, person, ago)
    shop.klaviyo.subscribed[str(person.email)]["consent_timestamp"] = clock.iso(now - consented_ago)
    shop.rows.link(
        shop.connection,
        person,
        subscribed_at=now - subscribed_ago,
        subscribed_list_id="LIST01",
        withdrawn_list_id="LIST01",
        withdrawn_delivery_id=1,
    )
    return person


@pytest.mark.parametrize("list_id", ["LIST02", None])
def test_whoever_we_took_off_another_list_is_not_subscribed_already(engine_rows: Rows, list_id: str | None) -> None:
    shop = Shop(engine_rows, list_id=list_id)
    again = taken_off(shop, 60 * MINUTE, 120 * MINUTE, 120 * MINUTE)
    left_since = taken_off(shop, 5 * MINUTE, 120 * MINUTE, 120 * MINUTE)
    subscribed_by_us = taken_off(shop, 60 * MINUTE, 40 * MINUTE, 120 * MINUTE)
    shop.klaviyo.members["LIST01"].add(str(subscribed_by_us.email))
    by_another_door = taken_off(shop, 60 * MINUTE, 120 * MINUTE, 40 * MINUTE)
    left_by_another_door = shop.person()
    left_the_list(shop, left_by_another_door, 60 * MINUTE)
    people = (again, left_since, subscribed_by_us, by_another_door, left_by_another_door)
    signups = [shop.consent(person, at=clock.now() - 10 * MINUTE) for person in people]
    shop.drain(Kind.CONSENT)
    already = ["delivered: already_subscribed"] * 3
    assert shop.said(*signups) == ["delivered: written", "skipped: newer_opt_out", *already]
    (asked,) = shop.klaviyo.calls(SUBSCRIBE)
    assert [each["attributes"]["email"] for each in asked.profiles] == [again.email]


def test_the_connection_says_that_its_list_is_gone(shop: Shop) -> None:
    one(shop, error(404))
    assert shop.again().list_missing_at is not None


@pytest.mark.parametrize("answer", PERHAPS, ids=["500", "524", "html 200", "timeout", "reset"])
def test_a_withdrawal_that_arrived_though_nobody_said_so_is_delivered(shop: Shop, answer: Any) -> None:
    person = shop.person()
    shop.klaviyo.members["LIST01"].add(str(person.email))
    withdrawal = shop.consent(person, "unsubscribed")

    def arrived(_asked: Asked) -> Any:
        shop.klaviyo.members["LIST01"].clear()
        if isinstance(answer, Exception):
            raise answer
        return answer

    shop.klaviyo.script(UNSUBSCRIBE, arrived)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert len(shop.klaviyo.calls(UNSUBSCRIBE)) == 1
    assert shop.link(person).withdrawal_check_at is not None, "read back like any other"


def test_a_refused_withdrawal_is_not_read_back(shop: Shop) -> None:
    person, delivery = withdraw(shop, error(400))
    assert shop.said(delivery) == ["failed: rejected"]
    assert shop.link(person).withdrawal_check_at is None


def test_reading_back_goes_on_while_a_signup_before_it_may_still_arrive(shop: Shop) -> None:
    """Klaviyo takes its time over the signup, and does the withdrawal first."""
    person, _ = withdraw(shop)
    email = str(person.email)

    def read_back(minutes: int) -> None:
        with writing() as session:
            link = session.merge(shop.link(person))
            link.withdrawal_check_at = clock.now()
            link.subscribed_at = clock.now() - timedelta(minutes=minutes)
        shop.drain(Kind.CONSENT, times=2)

    shop.klaviyo.members["LIST01"].discard(email)
    read_back(6)
    assert shop.link(person).withdrawal_check_at is not None
    shop.klaviyo.members["LIST01"].add(email)
    read_back(9)
    assert len(shop.klaviyo.calls(UNSUBSCRIBE)) == 2
    shop.klaviyo.members["LIST01"].discard(email)
    read_back(11)
    assert shop.link(person).withdrawal_check_at is None


def test_a_signup_just_after_a_withdrawal_does_not_believe_what_klaviyo_still_shows(engine_rows: Rows) -> None:
    shop = Shop(engine_rows)
    person = shop.person(remembered=True)
    address = str(person.email)
    shop.klaviyo.subscribed[address] = {"consent": "SUBSCRIBED", "consent_timestamp": "2026-01-01T00:00:00Z"}
    left = shop.consent(person, "unsubscribed", clock.now() - timedelta(minutes=2))
    shop.drain(Kind.CONSENT)
    back = shop.consent(person, "subscribed", clock.now() - timedelta(minutes=1))
    shop.drain(Kind.CONSENT)
    assert shop.said(left, back) == ["delivered: written", "waiting: klaviyo_processing"]
    shop.klaviyo.subscribed[address] = {"consent": "UNSUBSCRIBED", "consent_timestamp": clock.iso(clock.now())}
    shop.wait_is_over()
    shop.drain(Kind.CONSENT)
    assert shop.said(back) == ["skipped: newer_opt_out"]
    assert shop.klaviyo.calls(SUBSCRIBE) == []
