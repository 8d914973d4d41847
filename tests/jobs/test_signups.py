"""The lists somebody was put on outlive their connection, are as before after a refusal, and go with the person."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.jobs.klaviyo import Asked, Given, error, good, html
from tests.jobs.listed import A, B, asked_about, choose, joined, later, left, obeys, on_lists, signups, withdraws
from tests.jobs.shop import Shop
from tests.jobs.tasks.place import work
from tests.jobs.test_consents_lane import LOOK, ON_LIST, SUBSCRIBE, UNSUBSCRIBE
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import run_writing, writing
from webapp.klaviyo.oauth import OAuthApp
from webapp.models import Person, Signup
from webapp.services.connections import lifecycle
from webapp.services.tracing import erasures

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def nothing_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OAuthApp, "revoke", lambda _self, _token: None)


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, list_id=B)


def connected_again(shop: Shop, list_id: str | None, account_id: str | None = None) -> None:
    """The connection is ended, and its account, or another one, connected anew."""
    lifecycle.disconnect(shop.workspace.id, shop.connection.id, 1)
    account_id = account_id or shop.connection.klaviyo_account_id
    shop.connection = shop.rows.connection(shop.workspace, klaviyo_account_id=account_id, list_id=list_id)
    shop.klaviyo.asked.clear()


def replaced(shop: Shop, account_id: str, list_id: str) -> None:
    """Another account takes the place of the connection's, and a list of it is chosen."""

    def run(session: Any) -> None:
        row = lifecycle.own(session, shop.workspace.id, shop.connection.id)
        lifecycle.replace(session, row, account_id, account_id, 1)

    run_writing(run)
    with shop.working():
        work(shop.connection)
    choose(shop, list_id)
    shop.connection = shop.again()


@pytest.mark.parametrize("list_id", [B, None])
def test_whoever_withdraws_after_a_reconnect_leaves_the_list_of_before(shop: Shop, list_id: str | None) -> None:
    person = on_lists(shop, A)
    connected_again(shop, list_id)
    obeys(shop)
    withdrawal = withdraws(shop, person)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert shop.klaviyo.endpoints == [LOOK, ON_LIST, UNSUBSCRIBE]
    assert left(shop) == [A]
    later(shop, person)
    shop.drain(Kind.CONSENT, times=2)
    assert asked_about(shop) == [A, A]
    assert shop.now(withdrawal).confirmed_at is not None
    assert signups(person) == {}


def test_what_was_subscribed_to_before_and_after_a_reconnect_is_left(shop: Shop) -> None:
    person = on_lists(shop, A)
    connected_again(shop, B)
    shop.klaviyo.subscribed.clear()
    shop.consent(person)
    shop.drain(Kind.CONSENT)
    shop.klaviyo.members[B].add(str(person.email))
    assert shop.said(withdraws(shop, person)) == ["delivered: written"]
    assert (joined(shop), left(shop)) == ([B], [A, B])


def test_a_signup_just_before_a_reconnect_is_waited_for_after_it(shop: Shop) -> None:
    """Klaviyo has not shown it yet, and drops a second one for half an hour."""
    leaves, stays = (on_lists(shop, B, age=MINUTE) for _ in range(2))
    shop.klaviyo.members.clear()
    shop.klaviyo.subscribed.clear()
    connected_again(shop, B)
    withdrawal, again = shop.consent(leaves, "unsubscribed"), shop.consent(stays)
    shop.drain(Kind.CONSENT)
    assert shop.said(withdrawal, again) == ["waiting: klaviyo_processing", "waiting: resubscribe_pause"]
    shop.klaviyo.members[B].add(str(leaves.email))
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(withdrawal) == ["delivered: written"]


def test_the_lists_of_another_account_are_nothing_to_this_one(shop: Shop) -> None:
    person = on_lists(shop, A)
    connected_again(shop, B, "ANOTHER")
    assert shop.said(withdraws(shop, person)) == ["skipped: not_on_list"]
    assert asked_about(shop) == [B]


def test_a_replaced_account_keeps_its_lists_and_lends_them_to_no_other(shop: Shop) -> None:
    account_id, person = shop.connection.klaviyo_account_id, on_lists(shop, A)
    replaced(shop, f"{account_id}-2", B)
    assert shop.said(withdraws(shop, person)) == ["skipped: not_on_list"]
    assert asked_about(shop) == [B]
    replaced(shop, account_id, B)
    assert shop.said(withdraws(shop, person)) == ["delivered: written"]
    assert left(shop) == [A]


NOT_TAKEN = {"400": [error(400)], "html 403": [html(403)], "401 twice": [error(401), error(401)]}


@pytest.mark.parametrize("answers", NOT_TAKEN.values(), ids=list(NOT_TAKEN))
@pytest.mark.parametrize("lists", [(A,), (A, B)])
def test_a_refused_signup_leaves_everything_as_it_was(shop: Shop, answers: list[Any], lists: tuple[str, ...]) -> None:
    person = on_lists(shop, *lists)
    with writing() as session:
        for list_id in lists:
            key = (person.id, shop.connection.klaviyo_account_id, list_id)
            row = session.get_one(Signup, key)
            row.withdrawn_by, row.withdrawn_at = 7, clock.now()
    before = rows(shop, person, *lists)
    shop.klaviyo.subscribed.clear()
    shop.klaviyo.script(SUBSCRIBE, *answers)
    shop.consent(person)
    shop.drain(Kind.CONSENT)
    assert len(joined(shop)) == len(answers)
    assert rows(shop, person, *lists) == before
    assert set(signups(person)) == set(lists)


def rows(shop: Shop, person: Person, *lists: str) -> list[Any]:
    """What is remembered of these lists."""
    with writing() as session:
        found = [session.get_one(Signup, (person.id, shop.connection.klaviyo_account_id, each)) for each in lists]
        return [(row.list_id, row.sent_at, row.withdrawn_by, row.withdrawn_at) for row in found]


def test_signups_that_perhaps_arrived_are_remembered(shop: Shop) -> None:
    people = [shop.person(), shop.person()]
    shop.klaviyo.script(SUBSCRIBE, html(500))
    for person in people:
        shop.consent(person)
    shop.drain(Kind.CONSENT)
    assert [signups(person) for person in people] == [{B: (None, False)}] * 2


def test_whoever_signs_up_to_the_same_list_again_has_not_withdrawn_from_it(shop: Shop) -> None:
    person = on_lists(shop, B)
    withdrawal = withdraws(shop, person)
    assert signups(person) == {B: (withdrawal.id, True)}
    later(shop, person)
    shop.klaviyo.subscribed.clear()
    shop.consent(person)
    shop.drain(Kind.CONSENT, times=2)
    assert signups(person) == {B: (None, False)}


def test_reading_back_goes_on_while_a_signup_before_the_reconnect_may_still_arrive(shop: Shop) -> None:
    person = on_lists(shop, B, age=MINUTE)
    connected_again(shop, B)
    obeys(shop)
    withdrawal = withdraws(shop, person)
    later(shop, person, 5 * MINUTE)
    shop.drain(Kind.CONSENT, times=2)
    assert signups(person) == {B: (withdrawal.id, True)}
    shop.klaviyo.members[B].add(str(person.email))
    later(shop, person, 5 * MINUTE)
    shop.drain(Kind.CONSENT, times=2)
    assert left(shop) == [B, B]
    later(shop, person, 5 * MINUTE)
    shop.drain(Kind.CONSENT, times=2)
    assert signups(person) == {}


def test_a_withdrawal_refused_once_more_may_have_arrived_the_first_time(shop: Shop) -> None:
    person = on_lists(shop, A)
    shop.klaviyo.script(UNSUBSCRIBE, html(500), html(403))
    withdrawal = withdraws(shop, person, times=2)
    assert signups(person) == {A: (withdrawal.id, False)}
    shop.klaviyo.members[A].clear()
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert shop.link(person).withdrawal_check_at is not None


def test_whoever_signs_up_to_another_list_is_not_taken_off_by_the_withdrawal_before(shop: Shop) -> None:
    """Klaviyo loses the withdrawal; the next one leaves both."""
    person = on_lists(shop, A)
    withdraws(shop, person)
    later(shop, person)
    shop.klaviyo.subscribed.clear()
    shop.consent(person)
    shop.drain(Kind.CONSENT, times=2)
    shop.klaviyo.members[B].add(str(person.email))
    assert (left(shop), joined(shop)) == ([A], [B])
    later(shop, person)
    shop.drain(Kind.CONSENT, times=2)
    assert left(shop) == [A]
    assert shop.said(withdraws(shop, person)) == ["delivered: written"]
    assert left(shop) == [A, A, B]


def test_of_two_lists_only_what_still_shows_is_left_again_and_both_are_confirmed_together(shop: Shop) -> None:
    person = on_lists(shop, A, B)
    withdrawal = withdraws(shop, person)
    later(shop, person)
    shop.klaviyo.members[B].clear()
    shop.drain(Kind.CONSENT, times=2)
    assert left(shop) == [A, B, A]
    assert shop.now(withdrawal).confirmed_at is None
    later(shop, person)
    shop.klaviyo.members[A].clear()
    shop.drain(Kind.CONSENT, times=2)
    assert asked_about(shop)[-2:] in ([A, B], [B, A])
    assert shop.now(withdrawal).confirmed_at is not None
    assert (left(shop), signups(person)) == ([A, B, A], {})


ERASED: dict[str, tuple[str, Callable[[Shop], Any], str]] = {
    "while read": (LOOK, lambda shop: shop.klaviyo._looked_up, "subscribed"),
    "in a signup": (SUBSCRIBE, lambda _shop: lambda _asked: good(202), "subscribed"),
    "in a refused signup": (SUBSCRIBE, lambda _shop: lambda _asked: error(400), "subscribed"),
    "in a withdrawal": (UNSUBSCRIBE, lambda _shop: lambda _asked: good(202), "unsubscribed"),
    "in a refused withdrawal": (UNSUBSCRIBE, lambda _shop: lambda _asked: error(400), "unsubscribed"),
}


@pytest.mark.parametrize(("endpoint", "answers", "state"), ERASED.values(), ids=list(ERASED))
def test_nothing_is_remembered_of_whoever_is_erased_meanwhile(
    shop: Shop, endpoint: str, answers: Callable[[Shop], Any], state: str
) -> None:
    person = on_lists(shop, A, B)
    if state == "subscribed":
        shop.klaviyo.subscribed.clear()
    consent = shop.consent(person, state)

    def erased(asked: Asked) -> Given:
        erasures.erase(shop.workspace.id, str(person.email), None)
        answer: Given = answers(shop)(asked)
        return answer

    shop.klaviyo.script(endpoint, erased)
    shop.drain(Kind.CONSENT, times=2)
    assert shop.said(consent) == ["skipped: erased"]
    assert signups(person) == {}
    assert len(left(shop)) <= 1
    erasures.sweep()


def test_what_was_noted_of_somebody_erased_is_swept_away(shop: Shop) -> None:
    person, other = on_lists(shop, A), on_lists(shop, A)
    erasures.erase(shop.workspace.id, str(person.email), None)
    shop.rows.signup(shop.connection, person, A)
    erasures.sweep()
    assert (signups(person), set(signups(other))) == ({}, {A})
