"""Fields end at the newest: whoever may hold an older value is written once more, whatever comes in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import func, select, text, update

from jobs import drain, lookup
from jobs.events import choice
from jobs.fields import converge, rewrite
from tests.jobs.klaviyo import error, html, throttled
from tests.jobs.shop import Shop
from tests.rows import ALL_SCOPES, Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.dialects import is_sqlite
from webapp.models import BatchOutcome, Budget, Grant, Person, ProfileLink
from webapp.services.sharing import choices
from webapp.services.tracing import erasures

PATCH, EVENT = "PATCH /api/profiles/{id}", "POST /api/events"


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def marked(shop: Shop, count: int) -> list[Person]:
    """People whose older write is over, so that they are to be written once more."""
    people = [shop.person(remembered=True) for _ in range(count)]
    for person in people:
        shop.fields(person, points=7)
    shop.drain(Kind.FIELDS)
    shop.klaviyo.asked.clear()
    mark(shop)
    return people


def mark(shop: Shop) -> None:
    """Everybody's older writes are over now."""
    with writing() as session:
        mine = update(ProfileLink).where(ProfileLink.connection_id == shop.connection.id)
        session.execute(mine.values(rewrite=True, unsettled_until=clock.now() - timedelta(seconds=1)))
    shop.wait_is_over()


def drain_fields(shop: Shop) -> None:
    with shop.working():
        drain.drain(shop.lane(Kind.FIELDS).id)


@pytest.mark.parametrize(
    "answer",
    [throttled(2), html(403), html(500), requests.exceptions.ConnectTimeout(), requests.exceptions.ReadTimeout()],
)
def test_one_that_was_not_taken_is_tried_again(shop: Shop, answer: Any) -> None:
    (person,) = marked(shop, 1)
    shop.klaviyo.script(PATCH, answer)
    drain_fields(shop)
    assert shop.link(person).rewrite, "still to be written once more"
    with writing() as session:
        session.merge(shop.link(person)).unsettled_until = clock.now() - timedelta(seconds=1)
    shop.wait_is_over()
    drain_fields(shop)
    assert len(shop.klaviyo.calls(PATCH)) == 2
    assert not shop.link(person).rewrite


def test_whoever_the_budget_leaves_out_stays_marked(shop: Shop) -> None:
    people = marked(shop, 5)
    with writing() as session:
        account = shop.connection.klaviyo_account_id
        small = update(Budget).where(Budget.klaviyo_account_id == account, Budget.endpoint == PATCH)
        session.execute(small.values(limits={"1": 3, "60": 3}, spent=[]))
    drain_fields(shop)
    assert len(shop.klaviyo.calls(PATCH)) == 3
    assert [shop.link(person).rewrite for person in people].count(True) == 2
    with writing() as session:
        session.execute(small.values(spent=[]))
    shop.wait_is_over()
    drain_fields(shop)
    assert len({asked.path for asked in shop.klaviyo.calls(PATCH)}) == 5
    assert not any(shop.link(person).rewrite for person in people)


def minutes_asleep(shop: Shop) -> float:
    """Until the lane looks again."""
    moment = shop.lane(Kind.FIELDS).next_at
    return 0.0 if moment is None else (moment - clock.now()).total_seconds() / 60


def granted(shop: Shop, scopes: str) -> None:
    with writing() as session:
        session.execute(update(Grant).where(Grant.connection_id == shop.connection.id).values(scopes=scopes))


def test_whoever_may_not_be_written_stays_marked_until_the_scope_is_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrite, "PUT_OFF", 4)
    people = marked(shop, 10)
    granted(shop, ALL_SCOPES.replace("profiles:write", ""))
    drain_fields(shop)
    assert shop.klaviyo.asked == []
    assert all(shop.link(person).rewrite for person in people)
    assert minutes_asleep(shop) > 9, "nobody asks for it all the time"
    granted(shop, ALL_SCOPES)
    mark(shop)
    drain_fields(shop)
    assert len({asked.path for asked in shop.klaviyo.calls(PATCH)}) == 10
    assert not any(shop.link(person).rewrite for person in people)


def test_whom_klaviyo_refuses_for_a_scope_stays_marked_too(shop: Shop) -> None:
    (person,) = marked(shop, 1)
    shop.klaviyo.script(PATCH, error(403))
    drain_fields(shop)
    assert len(shop.klaviyo.calls(PATCH)) == 1
    assert minutes_asleep(shop) > 9
    mark(shop)
    drain_fields(shop)
    assert len(shop.klaviyo.calls(PATCH)) == 2
    assert not shop.link(person).rewrite


@pytest.mark.parametrize("off", [("points",), ("points", "tier_name")], ids=["one of them", "all"])
def test_what_is_off_at_that_moment_goes_with_the_next_change_once_it_is_on(shop: Shop, off: tuple[str, ...]) -> None:
    """The older value is what Klaviyo has by then."""
    (person,) = marked(shop, 1)
    shop.fields(person, tier_name="Silver")
    drain_fields(shop)
    shop.klaviyo.asked.clear()
    choices.choose_fields(shop.workspace.id, None, {"points", "tier_name"} - set(off))
    mark(shop)
    drain_fields(shop)
    assert not any("Points" in str(asked.body) for asked in shop.klaviyo.calls(PATCH))
    assert not shop.link(person).rewrite
    choices.choose_fields(shop.workspace.id, None, ["points", "tier_name"])
    shop.fields(person, tier_name="Gold")
    drain_fields(shop)
    written = shop.klaviyo.calls(PATCH)[-1].body["data"]["attributes"]["properties"]
    assert written == {"Cevoid: Points": 7, "Cevoid: Tier Name": "Gold"}


@pytest.mark.parametrize("sooner", [True, False], ids=["before that moment", "after it"])
@pytest.mark.parametrize("news", [{"points": 7}, {"tier_name": "Silver"}, {"tier_name": "Gold"}], ids=str)
def test_what_is_off_at_that_moment_goes_though_something_else_was_written_meanwhile(
    shop: Shop, news: dict[str, Any], *, sooner: bool
) -> None:
    (person,) = marked(shop, 1)
    choices.choose_fields(shop.workspace.id, None, ["tier_name"])
    if sooner:
        shop.fields(person, tier_name="Silver")
    mark(shop)
    drain_fields(shop)
    changed = [] if sooner else [shop.fields(person, tier_name="Silver")]
    drain_fields(shop)
    again = shop.fields(person, tier_name="Silver")
    drain_fields(shop)
    assert shop.said(*changed, again) == ["delivered: written"] * len(changed) + ["skipped: unchanged"]
    assert not any("Points" in str(asked.body) for asked in shop.klaviyo.calls(PATCH))
    choices.choose_fields(shop.workspace.id, None, ["points", "tier_name"])
    goes = shop.fields(person, **news)
    drain_fields(shop)
    once = shop.fields(person, **news)
    drain_fields(shop)
    assert shop.said(goes, once) == ["delivered: written", "skipped: unchanged"]
    written = shop.klaviyo.calls(PATCH)[-1].body["data"]["attributes"]["properties"]
    changes = {"Cevoid: Tier Name": "Gold"} if news == {"tier_name": "Gold"} else {}
    assert written == {"Cevoid: Points": 7, **changes}


def test_a_field_that_was_never_on_is_no_reason_to_write_anybody_again(shop: Shop) -> None:
    (person,) = marked(shop, 1)
    shop.fields(person, tier_id="t-1")
    drain_fields(shop)
    again = shop.fields(person, points=7)
    drain_fields(shop)
    assert shop.said(again) == ["skipped: unchanged"]


def test_an_event_carries_what_was_written_while_its_person_was_looked_up(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its person's points change, and are written, between the choosing of the event and its call."""
    person = shop.person(remembered=True)
    shop.fields(person, points=1)
    shop.drain(Kind.FIELDS)
    shop.event(person)
    real = lookup.links_of

    def slow(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(lookup, "links_of", real)
        shop.fields(person, points=2)
        drain.drain(shop.lane(Kind.FIELDS).id)
        return real(*arguments, **options)

    monkeypatch.setattr(lookup, "links_of", slow)
    shop.drain(Kind.EVENT)
    (event,) = shop.klaviyo.calls(EVENT)
    carried = event.body["data"]["attributes"]["profile"]["data"]["attributes"]["properties"]
    assert carried == {"Cevoid: Points": 2}
    assert [a.endpoint for a in shop.klaviyo.asked] == [PATCH, PATCH, EVENT]


@pytest.mark.parametrize("when", ["while somebody is looked up", "just before the call"])
def test_whoever_is_erased_meanwhile_is_neither_sent_nor_remembered(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    person = shop.person(remembered=when == "just before the call")
    delivery = shop.event(person)
    owner, name = (lookup, "_remember") if when == "while somebody is looked up" else (choice, "as_known_now")
    real = getattr(owner, name)

    def erased_before(*arguments: Any, **options: Any) -> Any:
        erasures.erase(shop.workspace.id, str(person.email), None)
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, erased_before)
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["skipped: erased"]
    assert shop.klaviyo.calls(EVENT) == []
    with reading() as session:
        assert session.get(ProfileLink, (shop.connection.id, person.id)) is None
    assert [batch.outcome for batch in shop.batches()] == [BatchOutcome.REJECTED] * (when == "just before the call")


def test_whoever_something_slower_is_under_way_for_is_not_written_sooner_for_an_event(shop: Shop) -> None:
    person = shop.person(remembered=True)
    delivery = shop.event(person)
    shop.klaviyo.script(EVENT, html(500))
    shop.drain(Kind.EVENT)
    settles_at = clock.now() + converge.JOB_SETTLES_IN
    with writing() as session:
        session.merge(shop.link(person)).unsettled_until = settles_at
    shop.drain(Kind.EVENT, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    link = shop.link(person)
    assert (link.rewrite, link.unsettled_until) == (True, settles_at)


def test_the_fields_lane_hears_in_its_sleep_of_whom_an_event_may_have_set_back(shop: Shop) -> None:
    """The event goes again when all that its first sending was known to need is over: it is another sending."""
    person = shop.person(remembered=True)
    shop.event(person)
    shop.klaviyo.script(EVENT, html(500))
    shop.drain(Kind.EVENT)
    shop.fields(person, points=7)
    shop.wait_is_over()
    drain_fields(shop)
    mark(shop)
    drain_fields(shop)
    assert shop.lane(Kind.FIELDS).next_at is None
    shop.drain(Kind.EVENT)
    assert shop.link(person).rewrite
    drain_fields(shop)
    assert 5 < minutes_asleep(shop) <= 6


def test_who_is_marked_is_found_by_their_index(engine_rows: Rows) -> None:
    """Asked at the end of every drain: an account may have millions of people, and hardly one who is marked."""
    question = select(func.min(ProfileLink.unsettled_until)).where(ProfileLink.connection_id == 1, rewrite.MARKED)
    with reading() as session:
        sql = str(question.compile(session.connection(), compile_kwargs={"literal_binds": True}))
        explained = "EXPLAIN QUERY PLAN " if is_sqlite(session) else "EXPLAIN "
        plan = str(session.execute(text(explained + sql)).all())
    assert "ix_profile_links_rewrite" in plan
