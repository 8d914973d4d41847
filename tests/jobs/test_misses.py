"""A look-up that misses: nothing is sent to the id of before, and nothing is forgotten until another one is known."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from jobs import drain
from jobs.fields import list_step
from jobs.fields.plan import Group
from jobs.run import Run
from tests.jobs.creating import ADD, IMPORT, JOB, LOOK
from tests.jobs.klaviyo import error, good, html
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import writing
from webapp.models import Delivery, Person

PATCH, OLD = "PATCH /api/profiles/{id}", "01BEFORE"
MISSED = {"not shown": good(200, []), "address refused": error(400)}


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")


def owed(shop: Shop) -> tuple[Person, Delivery]:
    """Somebody we created, whom the list did not take yet."""
    person = shop.person(there=False)
    delivery = shop.fields(person, points=1)
    shop.klaviyo.script(ADD, html(500))
    shop.drain(Kind.FIELDS)
    assert shop.link(person).list_due
    long_ago(shop, person)
    return person, delivery


def long_ago(shop: Shop, *people: Person) -> None:
    """What is remembered of them is not believed any more."""
    with writing() as session:
        for person in people:
            session.merge(shop.link(person)).looked_up_at = clock.now() - timedelta(hours=1)


def missed(shop: Shop, person: Person, answer: Any = MISSED["not shown"]) -> None:
    """An event's look-up does not find them."""
    delivery = shop.event(person)
    shop.klaviyo.script(LOOK, answer)
    shop.klaviyo.script("POST /api/events", error(400))
    shop.drain(Kind.EVENT)
    assert (shop.said(delivery), shop.link(person).found) == (["failed: rejected"], False)


def added(shop: Shop) -> list[str]:
    """Who was put on the list, in order. Twice for somebody whom it did not take at first."""
    return [each["id"] for asked in shop.klaviyo.calls(ADD) for each in asked.body["data"]]


def remembered_miss(shop: Shop, count: int = 1) -> list[Person]:
    people = [shop.person(there=False) for _ in range(count)]
    for person in people:
        known = {"klaviyo_id": OLD, "fields_version": 1, "list_due": True, "created_by_us_at": clock.now()}
        shop.rows.link(shop.connection, person, found=False, **known)
    return people


@pytest.mark.parametrize("answer", MISSED.values(), ids=MISSED)
def test_whoever_we_created_is_ours_and_owed_to_the_list_after_it(shop: Shop, answer: Any) -> None:
    person, delivery = owed(shop)
    missed(shop, person, answer)
    long_ago(shop, person)
    shop.wait_is_over()
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    assert added(shop) == [shop.klaviyo.people[str(person.email)]] * 2
    assert shop.link(person).created_by_us_at is not None
    assert shop.again().profiles_created == 1


def test_whoever_turns_out_to_be_there_when_they_are_created_is_owed_to_the_list_all_the_same(shop: Shop) -> None:
    person, delivery = owed(shop)
    missed(shop, person)
    shop.wait_is_over()
    shop.drain(Kind.FIELDS)
    assert shop.said(delivery) == ["delivered: written"]
    assert [endpoint for endpoint in shop.klaviyo.endpoints if endpoint != ADD][-1] == IMPORT, "it is believed a minute"
    assert added(shop) == [shop.klaviyo.people[str(person.email)]] * 2
    assert shop.again().profiles_created == 1


def test_a_conflict_that_names_the_profile_of_before_forgets_nothing_of_it(shop: Shop) -> None:
    person, delivery = owed(shop)
    profile_id = shop.klaviyo.people[str(person.email)]
    missed(shop, person)
    shop.klaviyo.script(IMPORT, error(409, meta={"duplicate_profile_id": profile_id}))
    shop.wait_is_over()
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    assert [asked.path for asked in shop.klaviyo.calls(PATCH)] == [f"/api/profiles/{profile_id}"]
    assert added(shop) == [profile_id] * 2
    assert shop.again().profiles_created == 1


def test_what_was_written_before_it_is_not_written_again(shop: Shop) -> None:
    person = shop.person()
    shop.fields(person, points=1)
    shop.drain(Kind.FIELDS)
    long_ago(shop, person)
    missed(shop, person)
    long_ago(shop, person)
    shop.fields(person, tier_name="Gold")
    shop.drain(Kind.FIELDS)
    properties = [asked.body["data"]["attributes"]["properties"] for asked in shop.klaviyo.calls(PATCH)]
    assert [list(each) for each in properties] == [["Cevoid: Points"], ["Cevoid: Tier Name"]]


@pytest.mark.parametrize("by", ["us", "an import job of ours", "others"])
def test_another_profile_after_it_is_owed_nothing_of_the_one_before(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    person, _ = owed(shop)
    with writing() as session:
        session.merge(shop.link(person)).list_added_at = clock.now()
    before = shop.klaviyo.people.pop(str(person.email))
    missed(shop, person)
    if by == "others":
        shop.klaviyo.put(str(person.email))
        long_ago(shop, person)
    elif by == "an import job of ours":
        monkeypatch.setattr("jobs.fields.lane.SINGLES", 0)
        born = {"email": person.email, "created": clock.iso(clock.now())}
        profile = {"type": "profile", "id": "01NEW", "attributes": born}
        shop.klaviyo.script(LOOK, good(200, []), *[good(200, [profile])] * 3)
    later = shop.fields(person, points=2)
    shop.wait_is_over()
    shop.drain(Kind.FIELDS, times=4)
    assert shop.said(later) == ["delivered: written"]
    ours = by != "others"
    assert shop.link(person).klaviyo_id not in {None, before}
    assert (JOB in shop.klaviyo.endpoints) is (by == "an import job of ours")
    assert added(shop) == ([before, shop.link(person).klaviyo_id] if ours else [before])
    assert (shop.link(person).created_by_us_at is not None, shop.link(person).list_due) == (ours, False)
    assert (shop.link(person).list_added_at is not None) is ours
    assert shop.again().profiles_created == 1 + ours


@pytest.mark.parametrize("then", ["looked up", "imported"])
@pytest.mark.parametrize("by", ["late", "our signup"])
def test_a_signup_after_it_decides_nothing_until_it_is_known_who_is_there(shop: Shop, by: str, then: str) -> None:
    """The profile of before, shown late, is ours and owed; one that the signup created is, and goes by that alone."""
    person, _ = owed(shop)
    email = str(person.email)
    before = shop.klaviyo.people[email] if by == "late" else shop.klaviyo.people.pop(email)
    shop.consent(person)
    shop.klaviyo.script(LOOK, good(200, []))
    shop.drain(Kind.CONSENT)
    assert shop.again().profiles_created == 1
    born = {"email": email, "created": clock.iso(clock.now())}
    profile = {"type": "profile", "id": "01NEW", "attributes": born}
    if by == "our signup":
        shop.klaviyo.script(LOOK, *[good(200, [profile])] * 9)
        shop.klaviyo.script(IMPORT, good(200, profile))
    if then == "looked up":
        long_ago(shop, person)
    later = shop.fields(person, points=2)
    shop.wait_is_over()
    shop.drain(Kind.FIELDS, times=3)
    assert shop.said(later) == ["delivered: written"]
    assert shop.klaviyo.endpoints.count(IMPORT) == 1 + (then == "imported")
    assert added(shop) == ([before, before] if by == "late" else [before])
    assert shop.link(person).created_by_us_at is not None
    assert shop.again().profiles_created == 1 + (by == "our signup")


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("behavior", SyncBehavior)
@pytest.mark.parametrize("kind", Kind)
def test_nothing_is_sent_to_the_id_of_before(
    engine_rows: Rows, few_are_many: None, kind: Kind, behavior: SyncBehavior, count: int
) -> None:
    shop = Shop(engine_rows, sync_behavior=behavior, list_id="LIST01")
    people = remembered_miss(shop, count)
    for person in people:
        shop.due(kind, person)
    shop.drain(kind, times=3)
    sent = [f"{asked.path} {asked.query} {json.dumps(asked.body)}" for asked in shop.klaviyo.asked]
    assert not [each for each in sent if OLD in each]
    assert sent or behavior is not CREATES


def test_nobody_is_written_once_more_by_the_id_of_before(shop: Shop) -> None:
    (person,) = remembered_miss(shop)
    shop.fields(person, points=1)
    shop.drain(Kind.FIELDS)
    with writing() as session:
        link = session.merge(shop.link(person))
        link.found, link.klaviyo_id = False, OLD
        link.rewrite, link.unsettled_until = True, clock.now() - timedelta(minutes=1)
    shop.wait_is_over()
    shop.drain(Kind.FIELDS)
    assert [asked.path for asked in shop.klaviyo.calls(PATCH)] == [f"/api/profiles/{shop.link(person).klaviyo_id}"]
    assert shop.link(person).klaviyo_id == shop.klaviyo.people[str(person.email)]
    assert not shop.link(person).rewrite


def test_one_between_the_plan_and_the_list_keeps_them_owed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another lane. Whoever is not known to be there is not added by an id, and not forgotten either."""
    person, delivery = owed(shop)
    real = list_step._some

    def beside(run: Run, groups: list[Group]) -> None:
        with writing() as session:
            session.merge(shop.link(person)).found = False
        real(run, groups)

    with monkeypatch.context() as patch:
        patch.setattr(list_step, "_some", beside)
        shop.wait_is_over()
        with shop.working():
            patch.setattr(drain, "SLICE_SECONDS", 0)
            drain.drain(shop.lane(Kind.FIELDS).id)
    assert (shop.said(delivery), len(added(shop))) == (["waiting: backlog"], 1)
    assert shop.link(person).list_due
    shop.wait_is_over()
    shop.drain(Kind.FIELDS)
    assert shop.said(delivery) == ["delivered: written"]
    assert added(shop) == [shop.klaviyo.people[str(person.email)]] * 2


def test_a_second_address_that_was_missed_alone_is_not_asked_about_alone_again(shop: Shop) -> None:
    main, second = shop.person(), shop.person(there=False)
    shop.rows.link(shop.connection, second, found=False, klaviyo_id=shop.klaviyo.people[str(main.email)])
    long_ago(shop, second)
    for person in (main, second):
        shop.event(person)
    shop.drain(Kind.EVENT)
    assert len(shop.klaviyo.calls(LOOK)) == 1
