"""Withdrawals read back: one that Klaviyo does not take, or does not let us see, keeps none of the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from jobs import drain
from tests.jobs.klaviyo import Asked, Given, error, good, html
from tests.jobs.shop import Shop
from tests.jobs.test_consents_lane import LOOK, ON_LIST, SUBSCRIBE, UNSUBSCRIBE
from tests.jobs.test_rewrites import granted
from tests.rows import ALL_SCOPES, Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import run_writing, writing
from webapp.klaviyo import payloads
from webapp.models import Delivery, Person, ProfileLink
from webapp.services import lanes
from webapp.services.people import consents
from webapp.services.people.consents import Place
from webapp.services.tracing import erasures

POINTER = "/data/attributes/profiles/data/{}/attributes/email"


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, list_id="LIST01")


def withdrawn(shop: Shop, count: int) -> tuple[list[Person], list[Delivery]]:
    """Withdrawals that Klaviyo took and does not show, and that are to be read back now."""
    people = [shop.person() for _ in range(count)]
    for person in people:
        shop.klaviyo.members["LIST01"].add(str(person.email))
    deliveries = [shop.consent(person, "unsubscribed") for person in people]
    shop.drain(Kind.CONSENT)
    assert set(shop.said(*deliveries)) == {"delivered: written"}
    read_back_is_due(shop)
    shop.klaviyo.asked.clear()
    return people, deliveries


def read_back_is_due(shop: Shop) -> None:
    with writing() as session:
        mine = ProfileLink.connection_id == shop.connection.id
        due = update(ProfileLink).where(mine, ProfileLink.withdrawal_check_at.is_not(None))
        session.execute(due.values(withdrawal_check_at=clock.now()))


def read_back(shop: Shop) -> None:
    shop.wait_is_over()
    with shop.working():
        drain.drain(shop.lane(Kind.CONSENT).id)


def repeated(shop: Shop) -> list[list[str]]:
    return [[each["attributes"]["email"] for each in asked.profiles] for asked in shop.klaviyo.calls(UNSUBSCRIBE)]


def looked_at_later(shop: Shop, *people: Person) -> bool:
    """Whether all of them are to be read back once more, and not now."""
    moments = [shop.link(person).withdrawal_check_at for person in people]
    return all(moment is not None and moment > clock.now() for moment in moments)


def refusing(bad: str, *, named: bool) -> Callable[[Asked], Given]:
    def answer(asked: Asked) -> Given:
        emails = [each["attributes"]["email"] for each in asked.profiles]
        if bad not in emails:
            return good(202)
        return error(400, POINTER.format(emails.index(bad))) if named else error(400)

    return answer


@pytest.mark.parametrize("named", [True, False])
def test_one_that_is_refused_does_not_keep_its_neighbours(shop: Shop, named: bool) -> None:
    people, _ = withdrawn(shop, 5)
    emails = [str(person.email) for person in people]
    shop.klaviyo.script(UNSUBSCRIBE, *[refusing(emails[2], named=named)] * 9)
    read_back(shop)
    taken = [call for call in repeated(shop) if emails[2] not in call]
    assert sorted(email for call in taken for email in call) == sorted({*emails} - {emails[2]})
    assert looked_at_later(shop, *people)


def test_a_repeat_without_an_answer_holds_the_lane_once_and_not_for_ever(shop: Shop) -> None:
    (person,), _ = withdrawn(shop, 1)
    shop.klaviyo.script(UNSUBSCRIBE, html(500))
    read_back(shop)
    assert shop.lane(Kind.CONSENT).held_until is not None
    assert looked_at_later(shop, person)


def test_a_signup_that_comes_while_it_is_read_back_is_not_withdrawn(shop: Shop) -> None:
    """Klaviyo would show an opt-out that is newer than the signup, and the signup would be lost."""
    (person, other), _ = withdrawn(shop, 2)
    later: list[Delivery] = []

    def meanwhile(asked: Asked) -> Given:
        later.append(shop.consent(person))
        return shop.klaviyo._on_list(asked)

    shop.klaviyo.script(ON_LIST, meanwhile)
    read_back(shop)
    assert repeated(shop) == [[other.email]]
    shop.klaviyo.subscribed[str(person.email)] = {"consent": "UNSUBSCRIBED", "consent_timestamp": "2026-01-01T00:00Z"}
    read_back_is_due(shop)
    read_back(shop)
    read_back(shop)
    assert len(shop.klaviyo.calls(SUBSCRIBE)) == 1
    assert shop.said(*later) == ["delivered: written"]


def test_whoever_is_erased_while_it_is_read_back_is_not_sent(shop: Shop) -> None:
    (person, other), _ = withdrawn(shop, 2)

    def meanwhile(asked: Asked) -> Given:
        erasures.erase(shop.workspace.id, str(person.email), None)
        return shop.klaviyo._on_list(asked)

    shop.klaviyo.script(ON_LIST, meanwhile)
    read_back(shop)
    assert repeated(shop) == [[other.email]]


@pytest.mark.parametrize("endpoint", [LOOK, ON_LIST])
def test_where_it_may_not_be_read_signups_go_on(shop: Shop, endpoint: str) -> None:
    people, _ = withdrawn(shop, 2)
    shop.klaviyo.script(endpoint, error(403))
    read_back(shop)
    assert shop.lane(Kind.CONSENT).held_until is None
    assert looked_at_later(shop, *people)


@pytest.mark.parametrize("lacking", ["subscriptions:write", "lists:write", "profiles:write", "profiles:read"])
def test_while_a_scope_is_missing_the_lane_sleeps_and_reads_back_once_it_is_granted(shop: Shop, lacking: str) -> None:
    (person,), _ = withdrawn(shop, 1)
    granted(shop, " ".join(set(ALL_SCOPES.split()) - {lacking}))
    read_back(shop)
    lane = shop.lane(Kind.CONSENT)
    assert lane.next_at is not None
    assert lane.next_at > clock.now() + timedelta(minutes=1)
    assert shop.klaviyo.asked == []
    granted(shop, ALL_SCOPES)
    run_writing(lambda session: lanes.start(session, shop.connection.id))  # as a reconnect does
    with shop.working():
        drain.drain(lane.id)
    assert repeated(shop) == [[person.email]]


def test_whoever_is_erased_and_noted_once_more_is_not_asked_about(shop: Shop) -> None:
    (person,), _ = withdrawn(shop, 1)
    erasures.erase(shop.workspace.id, str(person.email), None)
    shop.rows.link(shop.connection, person, withdrawal_check_at=clock.now(), withdrawn_list_id="LIST01")
    read_back(shop)
    assert shop.klaviyo.asked == []
    assert shop.link(person).withdrawal_check_at is None


def test_a_withdrawal_whose_list_may_not_be_read_is_skipped_for_it(shop: Shop) -> None:
    """Unsubscribing somebody who is not on it would unsubscribe them everywhere; signups go on."""
    person = shop.person()
    withdrawal, signup = shop.consent(person, "unsubscribed"), shop.consent(shop.person())
    shop.klaviyo.script(ON_LIST, error(403))
    shop.drain(Kind.CONSENT)
    assert shop.said(withdrawal, signup) == ["skipped: scope_missing", "delivered: written"]
    assert UNSUBSCRIBE not in shop.klaviyo.endpoints


def test_whoever_is_on_the_list_by_another_main_address_leaves_it(shop: Shop) -> None:
    people = [shop.person() for _ in range(3)]
    shop.klaviyo.members["LIST01"] |= {str(person.email) for person in people[:2]}
    deliveries = [shop.consent(person, "unsubscribed") for person in people]

    def answer(asked: Asked) -> Given:
        status, headers, body = shop.klaviyo._on_list(asked)
        return status, headers, body.replace(str(people[1].email), "main@example.com")

    shop.klaviyo.script(ON_LIST, *[answer] * 9)
    shop.drain(Kind.CONSENT)
    assert shop.said(*deliveries) == ["delivered: written", "delivered: written", "skipped: not_on_list"]


def test_whoever_may_not_be_asked_about_is_not_on_the_list_and_keeps_nobody(shop: Shop) -> None:
    people = [shop.person() for _ in range(5)]
    shop.klaviyo.members["LIST01"] |= {str(person.email) for person in people}
    deliveries = [shop.consent(person, "unsubscribed") for person in people]

    def answer(asked: Asked) -> Given:
        return error(400) if str(people[2].email) in asked.query["filter"] else shop.klaviyo._on_list(asked)

    shop.klaviyo.script(ON_LIST, *[answer] * 9)
    shop.drain(Kind.CONSENT)
    assert shop.said(deliveries.pop(2)) == ["skipped: not_on_list"]
    assert shop.said(*deliveries) == ["delivered: written"] * 4


def said_elsewhere(shop: Shop, person: Person, state: str) -> None:
    """The person says something in a store whose account is another one."""
    with writing() as session:
        row = session.get_one(Person, person.id)
        place, now = Place(shop.connection.id + 1, 99), clock.now()
        said = {"channel": "email", "state": state}
        row.consents, superseded = consents.merged(row.consents, said, now, now, 1_000_000, place)
        assert not superseded


def test_a_signup_in_another_store_does_not_end_the_withdrawal(shop: Shop) -> None:
    (person,), _ = withdrawn(shop, 1)

    def meanwhile(asked: Asked) -> Given:
        said_elsewhere(shop, person, "subscribed")
        return shop.klaviyo._on_list(asked)

    shop.klaviyo.script(ON_LIST, meanwhile)
    read_back(shop)
    assert repeated(shop) == [[person.email]]


def test_a_signup_in_another_store_does_not_cancel_a_withdrawal_that_waits(shop: Shop) -> None:
    """Neither before it is looked at nor while it is."""
    person = shop.person(remembered=True)
    shop.klaviyo.members["LIST01"].add(str(person.email))
    withdrawal = shop.consent(person, "unsubscribed")
    said_elsewhere(shop, person, "subscribed")

    def meanwhile(asked: Asked) -> Given:
        said_elsewhere(shop, person, "subscribed")
        return shop.klaviyo._on_list(asked)

    shop.klaviyo.script(ON_LIST, meanwhile)
    shop.drain(Kind.CONSENT)
    assert shop.said(withdrawal) == ["delivered: written"]
    assert repeated(shop) == [[person.email]]


def test_a_withdrawal_in_another_store_does_not_end_the_signup(shop: Shop) -> None:
    person = shop.person(remembered=True)
    signup = shop.consent(person)
    said_elsewhere(shop, person, "unsubscribed")
    shop.drain(Kind.CONSENT)
    assert shop.said(signup) == ["delivered: written"]


SUBSCRIBED_NOW = {"consent": "SUBSCRIBED"}


@pytest.mark.parametrize(("source", "again"), [("", 0), ("Footer form", 0), ("other workspace", 0), ("ours", 1)])
@pytest.mark.parametrize("signed_up", [False, True])
def test_whoever_subscribed_by_another_door_since_is_let_be(
    shop: Shop, source: str, again: int, signed_up: bool
) -> None:
    """A consent that carries our name is a subscribe of ours that took its time; one without may be, of just now."""
    (person,), (withdrawal,) = withdrawn(shop, 1)
    if signed_up:
        with writing() as session:
            session.merge(shop.link(person)).subscribed_at = clock.now()
        again = again or int(source == "")
    names = {"ours": shop.workspace.id, "other workspace": shop.workspace.id + 1}
    source = payloads.consent_source(names[source]) if source in names else source
    now = {"consent_timestamp": clock.iso(clock.now()), "custom_method_detail": source}
    shop.klaviyo.subscribed[str(person.email)] = SUBSCRIBED_NOW | now
    read_back(shop)
    assert len(repeated(shop)) == again
    assert (shop.link(person).withdrawal_check_at is None) == (again == 0)
    assert shop.now(withdrawal).confirmed_at is None, "Klaviyo does not show it"


def test_whoever_was_subscribed_before_the_withdrawal_is_withdrawn_again(shop: Shop) -> None:
    (person,), (withdrawal,) = withdrawn(shop, 1)
    before = clock.iso(shop.now(withdrawal).created_at - timedelta(seconds=1))
    shop.klaviyo.subscribed[str(person.email)] = SUBSCRIBED_NOW | {"consent_timestamp": before}
    read_back(shop)
    assert len(repeated(shop)) == 1


def test_where_it_is_not_known_any_more_when_they_withdrew_it_is_sent_again(shop: Shop) -> None:
    """A delivery is pruned after its time."""
    (person,), _ = withdrawn(shop, 1)
    shop.klaviyo.subscribed[str(person.email)] = SUBSCRIBED_NOW | {"consent_timestamp": clock.iso(clock.now())}
    with writing() as session:
        session.merge(shop.link(person)).withdrawn_delivery_id = 1_000_000
    read_back(shop)
    assert len(repeated(shop)) == 1
