"""Whoever is to be written once more and cannot be reached at that moment: looked up first, and not forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.fields import rewrite
from tests.jobs.creating import LOOK
from tests.jobs.klaviyo import error, good
from tests.jobs.shop import Shop
from tests.jobs.test_rewrites import PATCH, drain_fields, granted, mark, marked, minutes_asleep
from tests.rows import ALL_SCOPES, Rows
from webapp import clock
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import writing
from webapp.models import Person

MISS = good(200, [])


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def unseen(shop: Shop, ago: timedelta = timedelta(hours=1)) -> Person:
    """Somebody to be written once more whom the last look-up, so long ago, did not find."""
    (person,) = marked(shop, 1)
    with writing() as session:
        link = session.merge(shop.link(person))
        link.found, link.looked_up_at = False, clock.now() - ago
    return person


def written(shop: Shop) -> list[str]:
    """Ids of the profiles that were written, in order."""
    return [asked.path.removeprefix("/api/profiles/") for asked in shop.klaviyo.calls(PATCH)]


def gone(profile_id: str) -> Any:
    return error(404)


def named(profile_id: str) -> Any:
    return error(409, meta={"duplicate_profile_id": profile_id})


@pytest.mark.parametrize("count", [1, 3])
def test_whoever_was_missed_is_looked_up_and_written(shop: Shop, count: int) -> None:
    people = marked(shop, count)
    for person in people[1:]:
        with writing() as session:
            session.merge(shop.link(person)).found = False
    drain_fields(shop)
    assert sorted(written(shop)) == sorted(shop.klaviyo.people[str(person.email)] for person in people)
    assert not any(shop.link(person).rewrite for person in people)
    assert len(shop.klaviyo.calls(LOOK)) == (count > 1)


@pytest.mark.parametrize("answer", [gone, named])
def test_whoever_is_another_profile_by_then_is_written_there(shop: Shop, answer: Any) -> None:
    (person,) = marked(shop, 1)
    before = shop.klaviyo.people[str(person.email)]
    now = shop.klaviyo.put(str(person.email))
    shop.klaviyo.script(PATCH, answer(now))
    drain_fields(shop)
    assert written(shop) == [before, now]
    assert len(shop.klaviyo.calls(LOOK)) == (answer is gone)
    link = shop.link(person)
    assert (link.klaviyo_id, link.fields_version, link.rewrite) == (now, person.fields_version + 1, False)


@pytest.mark.parametrize("answer", [gone, named])
def test_profiles_that_are_never_there_are_not_asked_for_ever(shop: Shop, answer: Any) -> None:
    """They name each other, or are shown and yet gone. What comes of the person next goes whole."""
    (person,) = marked(shop, 1)
    before = shop.klaviyo.people[str(person.email)]
    now = shop.klaviyo.put(str(person.email))
    shop.klaviyo.script(PATCH, answer(now), answer(before))
    for _ in range(3):
        drain_fields(shop)
        shop.wait_is_over()
    assert written(shop) == [before, now]
    assert not shop.link(person).rewrite
    again = shop.fields(person, points=7)
    drain_fields(shop)
    assert shop.said(again) == ["delivered: written"]


@pytest.mark.parametrize("behavior", SyncBehavior)
def test_whoever_is_missed_is_looked_up_later_and_created_by_nobody(engine_rows: Rows, behavior: SyncBehavior) -> None:
    shop = Shop(engine_rows, sync_behavior=behavior)
    person = unseen(shop, timedelta(seconds=10))
    shop.klaviyo.script(LOOK, MISS)
    drain_fields(shop)
    assert shop.klaviyo.endpoints == [LOOK]
    assert shop.link(person).rewrite
    assert 0.5 < minutes_asleep(shop) <= 1
    mark(shop)
    drain_fields(shop)
    assert shop.klaviyo.endpoints == [LOOK, LOOK, PATCH]
    assert not shop.link(person).rewrite


@pytest.mark.parametrize(("ago", "minutes"), [(0, 1), (1, 10), (10, 60), (60, 360)])
def test_the_longer_they_were_missed_the_later_is_the_next_look(shop: Shop, ago: int, minutes: int) -> None:
    unseen(shop, timedelta(minutes=ago))
    shop.klaviyo.script(LOOK, MISS)
    drain_fields(shop)
    assert minutes - 0.5 < minutes_asleep(shop) <= minutes


def test_after_the_last_look_what_comes_next_goes_whole(shop: Shop) -> None:
    person = unseen(shop, rewrite.LOOKS[-1])
    shop.klaviyo.script(LOOK, MISS)
    drain_fields(shop)
    link = shop.link(person)
    assert (link.rewrite, link.unsettled_until, shop.lane(Kind.FIELDS).next_at) == (False, None, None)
    with writing() as session:
        session.merge(link).looked_up_at = clock.now() - timedelta(hours=1)
    again = shop.fields(person, points=7)
    drain_fields(shop)
    assert shop.said(again) == ["delivered: written"]
    assert written(shop) == [shop.klaviyo.people[str(person.email)]]


@pytest.mark.parametrize(("meant", "minutes"), [(timedelta(minutes=1), 10), (timedelta(days=2), 1)])
def test_no_look_is_used_up_while_nobody_can_be_looked_up(shop: Shop, meant: timedelta, minutes: int) -> None:
    """The account was paused for hours, or could not be asked for days."""
    person = unseen(shop, timedelta(hours=4))
    with writing() as session:
        link = session.merge(shop.link(person))
        link.looked_up_at = clock.now() - meant - timedelta(hours=4)
        link.unsettled_until = clock.now() - timedelta(hours=4)
    shop.klaviyo.script(LOOK, MISS)
    drain_fields(shop)
    assert shop.link(person).rewrite
    assert minutes - 0.5 < minutes_asleep(shop) <= minutes


@pytest.mark.parametrize("by", ["grant", "answer"])
def test_whoever_may_not_be_looked_up_stays_marked(shop: Shop, by: str) -> None:
    person = unseen(shop)
    if by == "grant":
        granted(shop, ALL_SCOPES.replace("profiles:read", ""))
    else:
        shop.klaviyo.script(LOOK, error(403))
    drain_fields(shop)
    assert shop.klaviyo.endpoints == [LOOK] * (by == "answer")
    assert minutes_asleep(shop) > 9
    granted(shop, ALL_SCOPES)
    mark(shop)
    drain_fields(shop)
    assert written(shop) == [shop.klaviyo.people[str(person.email)]]
