"""Consents: read before every subscribe, and every answer leaves neither a lost signup nor a revived opt-out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests

from tests.jobs.klaviyo import Asked, Given, error, good, html, throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.klaviyo import payloads
from webapp.models import Delivery, Person

LOOK, ON_LIST = "GET /api/profiles", "GET /api/lists/{id}/profiles"
SUBSCRIBE = "POST /api/profile-subscription-bulk-create-jobs"
UNSUBSCRIBE = "POST /api/profile-subscription-bulk-delete-jobs"


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, list_id="LIST01")


def one(shop: Shop, *answers: Any) -> tuple[Person, Delivery]:
    """A signup of somebody who is there, sent into these answers."""
    person = shop.person()
    delivery = shop.consent(person)
    shop.klaviyo.script(SUBSCRIBE, *answers)
    shop.drain(Kind.CONSENT)
    return person, delivery


def test_a_signup_goes_to_the_list_and_is_remembered(shop: Shop) -> None:
    person, delivery = one(shop)
    assert shop.said(delivery) == ["delivered: written"]
    assert shop.klaviyo.endpoints == [LOOK, SUBSCRIBE]
    assert shop.klaviyo.calls(LOOK)[0].query["additional-fields[profile]"] == "subscriptions"
    (asked,) = shop.klaviyo.calls(SUBSCRIBE)
    assert asked.body["data"]["relationships"]["list"]["data"]["id"] == "LIST01"
    assert [each["attributes"]["email"] for each in asked.profiles] == [person.email]
    assert "historical_import" not in asked.body["data"]["attributes"], "double opt-in is the list's to decide"
    link = shop.link(person)
    assert (link.subscribed_at is not None, link.subscribed_list_id) == (True, "LIST01")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (error(400, detail="Invalid."), "failed: rejected"),
        (error(409, detail="Conflict."), "failed: rejected"),
        (error(404, detail="A list does not exist."), "failed: rejected"),
        (error(413, detail="Too large."), "failed: rejected"),
        (error(403), "skipped: scope_missing"),
    ],
)
def test_refused_for_good_it_never_happened(shop: Shop, answer: Any, said: str) -> None:
    person, delivery = one(shop, answer)
    assert shop.said(delivery) == [said]
    assert (shop.link(person).subscribed_at, shop.link(person).subscribed_list_id) == (None, None)


def test_a_list_that_is_gone_is_named(shop: Shop) -> None:
    _, delivery = one(shop, error(404))
    assert shop.now(delivery).detail == "The chosen list no longer exists in Klaviyo."


def test_nobody_is_on_a_list_that_is_deleted_while_it_is_asked_about(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was found on it before the others' answer is off it as well."""
    monkeypatch.setattr(payloads, "LOOKUP_ADDRESSES", 1)
    people = [shop.person(), shop.person()]
    deliveries = [shop.consent(person, "unsubscribed") for person in people]
    found = str(people[0].email)

    def answer(asked: Asked) -> Given:
        on_it = [{"type": "profile", "id": "P1", "attributes": {"email": found}}]
        return good(200, on_it) if found in asked.query["filter"] else error(404)

    shop.klaviyo.script(ON_LIST, answer, answer)
    shop.drain(Kind.CONSENT)
    assert set(shop.said(*deliveries)) == {"skipped: not_on_list"}


NOT_TAKEN: dict[str, tuple[list[Any], str]] = {
    "429": ([throttled(20)], "rate_limited"),
    "html 403": ([html(403)], "retrying"),
    "401 twice": ([error(401), error(401)], "retrying"),
    "410": ([error(410)], "retrying"),
    "not sent": ([requests.exceptions.ConnectTimeout()], "retrying"),
}


@pytest.mark.parametrize(("answers", "reason"), NOT_TAKEN.values(), ids=list(NOT_TAKEN))
def test_not_taken_it_is_tried_again_at_once_and_not_in_half_an_hour(
    shop: Shop, answers: list[Any], reason: str
) -> None:
    person, delivery = one(shop, *answers)
    assert shop.said(delivery) == ["waiting: backlog"]
    assert shop.lane(Kind.CONSENT).held_reason == reason
    assert shop.link(person).subscribed_at is None
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(delivery) == ["delivered: written"]


def test_without_a_token_to_ask_again_it_never_happened(shop: Shop) -> None:
    """The app was removed in Klaviyo: whoever reconnects in ten minutes does not wait half an hour for the signup."""
    shop.klaviyo.grants_ended = True
    person, delivery = one(shop, error(401))
    assert shop.said(delivery) == ["waiting: backlog"]
    assert (shop.link(person).subscribed_at, shop.link(person).subscribed_list_id) == (None, None)
    assert shop.attempts()[-1][1] == 401


def test_over_budget_nothing_is_noted(shop: Shop) -> None:
    """The note is made in the commit of the reservation: without one neither is."""
    shop.klaviyo.script(SUBSCRIBE, throttled(600))
    one(shop)
    with writing() as session:
        session.merge(shop.lane(Kind.CONSENT)).held_until = None
    second = shop.person()
    shop.consent(second)
    shop.drain(Kind.CONSENT)
    assert len(shop.klaviyo.calls(SUBSCRIBE)) == 1
    assert shop.link(second).subscribed_at is None


PERHAPS = [html(500), html(524), html(200), requests.exceptions.ReadTimeout(), requests.exceptions.ConnectionError()]


@pytest.mark.parametrize("answer", PERHAPS, ids=["500", "524", "html 200", "timeout", "reset"])
def test_perhaps_taken_is_settled_by_reading(shop: Shop, answer: Any) -> None:
    person, delivery = one(shop, answer)
    assert shop.said(delivery) == ["waiting: retrying"]
    assert shop.lane(Kind.CONSENT).held_reason == "retrying", "the next call would hang as well"
    assert shop.link(person).subscribed_list_id == "LIST01"
    shop.klaviyo.subscribed[str(person.email)] = {"consent": "SUBSCRIBED", "consent_timestamp": clock.iso(clock.now())}
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(delivery) == ["delivered: already_subscribed"]
    assert len(shop.klaviyo.calls(SUBSCRIBE)) == 1


def test_perhaps_taken_and_not_there_waits_half_an_hour(shop: Shop) -> None:
    """Klaviyo drops a second subscribe within thirty minutes of one that it took, and says nothing."""
    person, delivery = one(shop, html(500))
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(delivery) == ["waiting: resubscribe_pause"]
    with writing() as session:
        session.merge(shop.link(person)).subscribed_at = clock.now() - timedelta(minutes=31)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(delivery) == ["delivered: written"]


def test_an_opt_out_since_is_never_overruled_by_trying_again(shop: Shop) -> None:
    person, delivery = one(shop, html(403))
    out = {"consent": "UNSUBSCRIBED", "last_updated": clock.iso(clock.now())}
    shop.klaviyo.subscribed[str(person.email)] = out
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(delivery) == ["skipped: newer_opt_out"]
    assert len(shop.klaviyo.calls(SUBSCRIBE)) == 1


@pytest.mark.parametrize(
    ("pointer", "calls"), [("/data/attributes/profiles/data/2/attributes/email", [5, 4]), ("", [])]
)
def test_a_bad_one_among_several_fails_alone(shop: Shop, pointer: str, calls: list[int]) -> None:
    people = [shop.person() for _ in range(5)]
    deliveries = [shop.consent(person) for person in people]

    def answer(asked: Asked) -> Given:
        bad = any(each["attributes"]["email"] == people[2].email for each in asked.profiles)
        return error(400, pointer) if bad else good(202)

    shop.klaviyo.script(SUBSCRIBE, *[answer] * 10)
    shop.drain(Kind.CONSENT)
    assert shop.said(deliveries[2]) == ["failed: rejected"]
    assert shop.said(*deliveries[:2], *deliveries[3:]) == ["delivered: written"] * 4
    assert [len(asked.profiles) for asked in shop.klaviyo.calls(SUBSCRIBE)] == (calls or [5, 2, 3, 1, 2])
    assert shop.link(people[2]).subscribed_at is None


def test_a_401_is_answered_with_a_new_token_once(shop: Shop) -> None:
    _, delivery = one(shop, error(401))
    assert shop.said(delivery) == ["delivered: written"]
    assert shop.klaviyo.refreshed == 1


def test_strangers_are_held_and_looked_at_as_soon_as_they_are_found(shop: Shop) -> None:
    person = shop.person(there=False)
    delivery = shop.consent(person)
    shop.drain(Kind.CONSENT)
    assert shop.said(delivery) == ["waiting: not_in_klaviyo"]
    assert shop.klaviyo.endpoints == [LOOK]
    shop.klaviyo.put(str(person.email))
    with writing() as session:
        session.merge(shop.link(person)).looked_up_at = clock.now() - timedelta(minutes=2)
    shop.event(person)
    shop.drain(Kind.EVENT)
    shop.drain(Kind.CONSENT)
    assert shop.said(delivery) == ["delivered: written"]


def test_create_profile_subscribes_strangers(engine_rows: Rows) -> None:
    shop = Shop(engine_rows, sync_behavior=CREATES)
    person = shop.person(there=False)
    delivery = shop.consent(person)
    shop.drain(Kind.CONSENT)
    assert shop.said(delivery) == ["delivered: written"]
    (asked,) = shop.klaviyo.calls(SUBSCRIBE)
    assert "relationships" not in asked.body["data"]


def withdraw(shop: Shop, *answers: Any, on_list: bool = True) -> tuple[Person, Delivery]:
    person = shop.person()
    shop.klaviyo.subscribed[str(person.email)] = {"consent": "SUBSCRIBED"}
    if on_list:
        shop.klaviyo.members["LIST01"].add(str(person.email))
    delivery = shop.consent(person, "unsubscribed")
    shop.klaviyo.script(UNSUBSCRIBE, *answers)
    shop.drain(Kind.CONSENT)
    return person, delivery


def test_a_withdrawal_leaves_the_list_and_is_read_back(shop: Shop) -> None:
    person, delivery = withdraw(shop)
    assert shop.said(delivery) == ["delivered: written"]
    assert shop.klaviyo.endpoints == [LOOK, ON_LIST, UNSUBSCRIBE]
    link = shop.link(person)
    assert (link.withdrawn_list_id, link.withdrawn_delivery_id) == ("LIST01", delivery.id)
    assert link.withdrawal_check_at is not None
    with writing() as session:
        session.merge(shop.link(person)).withdrawal_check_at = clock.now()
    shop.drain(Kind.CONSENT, times=2)
    assert shop.klaviyo.endpoints[3:] == [LOOK, ON_LIST, UNSUBSCRIBE], "it does not show yet: once more"
    shop.klaviyo.members["LIST01"].clear()
    with writing() as session:
        session.merge(shop.link(person)).withdrawal_check_at = clock.now()
    shop.drain(Kind.CONSENT, times=2)
    assert shop.klaviyo.endpoints[6:] == [LOOK, ON_LIST]
    assert shop.now(delivery).confirmed_at is not None
    assert shop.link(person).withdrawal_check_at is None


def test_whoever_is_not_on_the_list_is_not_unsubscribed_everywhere(shop: Shop) -> None:
    _, delivery = withdraw(shop, on_list=False)
    assert shop.said(delivery) == ["skipped: not_on_list"]
    assert UNSUBSCRIBE not in shop.klaviyo.endpoints


@pytest.mark.parametrize("answer", [throttled(2), html(403), html(500), requests.exceptions.ReadTimeout()])
def test_a_withdrawal_is_tried_until_it_is_taken(shop: Shop, answer: Any) -> None:
    _, delivery = withdraw(shop, answer)
    assert shop.said(delivery)[0].startswith("waiting")
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    assert len(shop.klaviyo.calls(UNSUBSCRIBE)) == 2


def test_the_newest_word_wins_and_the_older_is_superseded(shop: Shop) -> None:
    person = shop.person()
    now = clock.now()
    signup = shop.consent(person, "subscribed", now - timedelta(minutes=2))
    withdrawal = shop.consent(person, "unsubscribed", now - timedelta(minutes=1))
    shop.klaviyo.members["LIST01"].add(str(person.email))
    shop.drain(Kind.CONSENT)
    assert shop.said(signup, withdrawal) == ["skipped: superseded", "delivered: written"]
    assert SUBSCRIBE not in shop.klaviyo.endpoints


def test_a_worker_killed_in_a_subscribe_leaves_it_to_be_read(shop: Shop) -> None:
    person = shop.person()
    delivery = shop.consent(person)
    shop.dies(Kind.CONSENT, SUBSCRIBE)
    assert shop.link(person).subscribed_at is not None, "noted before the call"
    shop.klaviyo.subscribed[str(person.email)] = {"consent": "SUBSCRIBED"}
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(delivery) == ["delivered: already_subscribed"]
    assert SUBSCRIBE not in shop.klaviyo.endpoints, "never blindly a second time"


@pytest.mark.parametrize("lacking", ["subscriptions:write", "lists:write", "profiles:write", "profiles:read"])
def test_without_its_scopes_nothing_is_asked(engine_rows: Rows, lacking: str) -> None:
    needed = {"subscriptions:write", "lists:write", "profiles:write", "profiles:read"} - {lacking}
    shop = Shop(engine_rows, scopes=" ".join(sorted(needed)))
    delivery = shop.consent(shop.person())
    shop.drain(Kind.CONSENT)
    assert shop.said(delivery) == ["skipped: scope_missing"]
    assert shop.klaviyo.asked == []
