"""Fields at the edges: older values that arrive late, profiles that are others by now, answers nobody can read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.jobs.import_jobs import ADD, JOB, LOOK, PATCH, STATUS, several
from tests.jobs.klaviyo import Asked, Given, error, good, html
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import Person
from webapp.services.sharing import choices

IMPORT = "POST /api/profile-import"


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def minutes_until_rewritten(shop: Shop, person: Person) -> float:
    moment = shop.link(person).unsettled_until
    return 0.0 if moment is None else (moment - clock.now()).total_seconds() / 60


def test_whoever_a_job_writes_is_written_once_more_after_their_older_event(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event was accepted a moment ago: Klaviyo may set what it carried after the job is complete."""
    monkeypatch.setattr("jobs.fields.lane.SINGLES", 2)
    people, _ = several(shop, 4)
    shop.event(people[0])
    shop.drain(Kind.EVENT)
    later = [shop.fields(person, points=50) for person in people]
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(*later) == ["delivered: written"] * 4
    assert shop.link(people[0]).rewrite
    assert minutes_until_rewritten(shop, people[0]) > 4.5
    assert not any(shop.link(person).rewrite for person in people[1:])


@pytest.mark.usefixtures("few_are_many")
@pytest.mark.parametrize("how", ["not answered", "not told of", "its worker died"])
def test_a_job_that_nobody_follows_may_take_effect_for_a_quarter_of_an_hour(shop: Shop, how: str) -> None:
    """Klaviyo queues a job, unlike a PATCH: newer values are written and written once more long before it begins."""
    people, _ = several(shop, 6)
    if how == "its worker died":
        shop.dies(Kind.FIELDS, JOB)
    elif how == "not answered":
        shop.klaviyo.script(JOB, html(500))
    shop.klaviyo.script(STATUS, error(404) if how == "not told of" else html(500))
    shop.drain(Kind.FIELDS, times=4)
    newer = [shop.fields(person, points=99) for person in people]
    shop.drain(Kind.FIELDS, times=6)
    assert shop.said(*newer) == ["delivered: written"] * 6
    assert min(minutes_until_rewritten(shop, person) for person in people) > 14


@pytest.mark.parametrize("died", [False, True])
def test_a_single_write_without_an_answer_is_over_sooner(shop: Shop, died: bool) -> None:
    person = shop.person(remembered=True)
    shop.fields(person, points=1)
    if died:
        shop.dies(Kind.FIELDS, PATCH)
    else:
        shop.klaviyo.script(PATCH, html(500))
    shop.drain(Kind.FIELDS)
    assert 1 < minutes_until_rewritten(shop, person) < 2


@pytest.mark.parametrize("how", ["accepted", "in flight"])
def test_events_that_carried_the_newest_values_owe_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Of a backlog every event carries what is newest, also those of older activities; unless somebody changes then."""
    monkeypatch.setattr("jobs.fields.lane.SINGLES", 2)
    monkeypatch.setattr("jobs.events.plan.SINGLES", 1)
    people, fields = several(shop, 4)
    for person in people:
        shop.event(person)
    newest = [shop.fields(person, points=50) for person in people]
    if how == "in flight":
        shop.klaviyo.script("POST /api/event-bulk-create-jobs", html(500))
    shop.drain(Kind.EVENT)
    changed = shop.fields(people[0], points=60)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(*fields, *newest, changed) == ["delivered: written"] * 9
    assert [shop.link(person).rewrite for person in people] == [True, False, False, False]


def test_a_value_that_came_while_its_field_was_off_is_written_when_it_is_posted_again(shop: Shop) -> None:
    """What was written meanwhile did not hold it."""
    person = shop.person(remembered=True)
    shop.fields(person, points=1, tier_name="Silver")
    shop.drain(Kind.FIELDS)
    choices.choose_fields(shop.workspace.id, None, ["tier_name"])
    shop.fields(person, points=2, tier_name="Gold")
    shop.drain(Kind.FIELDS)
    choices.choose_fields(shop.workspace.id, None, ["points", "tier_name"])
    again = shop.fields(person, points=2)
    shop.drain(Kind.FIELDS)
    once_more = shop.fields(person, points=2)
    shop.drain(Kind.FIELDS)
    assert shop.said(again, once_more) == ["delivered: written", "skipped: unchanged"]
    written = [asked.body["data"]["attributes"]["properties"] for asked in shop.klaviyo.calls(PATCH)[1:]]
    assert written == [{"Cevoid: Tier Name": "Gold"}, {"Cevoid: Points": 2}]


def test_a_later_mark_is_not_made_earlier_by_another(shop: Shop) -> None:
    """An older event may take five minutes; that a call between got no answer does not make it faster."""
    person = shop.person(remembered=True)
    shop.event(person)
    shop.drain(Kind.EVENT)
    shop.fields(person, points=1)
    shop.drain(Kind.FIELDS)
    assert minutes_until_rewritten(shop, person) > 4.5
    failing = shop.fields(person, points=2)
    shop.klaviyo.script(PATCH, html(500), error(400))
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(failing) == ["failed: rejected"]
    assert minutes_until_rewritten(shop, person) > 4.5


def forgotten(shop: Shop, person: Person) -> None:
    """Nobody has looked for ten minutes."""
    with writing() as session:
        session.merge(shop.link(person)).looked_up_at = clock.now() - timedelta(minutes=11)


@pytest.mark.parametrize("how", ["put anew", "gone for a while", "named by a conflict"])
def test_another_profile_of_the_same_person_gets_everything(shop: Shop, how: str) -> None:
    """Deleted in Klaviyo and put there again, or merged: what the old one had the new one does not."""
    person = shop.person(remembered=True)
    shop.fields(person, points=1, tier_name="Gold")
    shop.drain(Kind.FIELDS)
    if how == "named by a conflict":
        shop.klaviyo.script(PATCH, error(409, meta={"duplicate_profile_id": "01OTHER"}))
    else:
        if how == "gone for a while":
            forgotten(shop, person)
            del shop.klaviyo.people[str(person.email)]
            gone = shop.fields(person, points=2)
            shop.drain(Kind.FIELDS)
            assert shop.said(gone) == ["skipped: not_in_klaviyo"]
        shop.klaviyo.put(str(person.email))
        forgotten(shop, person)
    last = shop.fields(person, points=3)
    shop.drain(Kind.FIELDS, times=2)
    assert shop.said(last) == ["delivered: written"]
    asked = shop.klaviyo.calls(PATCH)[-1]
    assert asked.body["data"]["attributes"]["properties"] == {"Cevoid: Points": 3, "Cevoid: Tier Name": "Gold"}


@pytest.mark.parametrize("answer", [good(200), good(200, {"type": "profile", "id": ""}), good(200, [])])
def test_a_patch_answered_with_something_odd_was_taken(shop: Shop, answer: Any) -> None:
    people = [shop.person(remembered=True) for _ in range(3)]
    deliveries = [shop.fields(person, points=1) for person in people]
    shop.klaviyo.script(PATCH, answer)
    shop.drain(Kind.FIELDS)
    assert shop.said(*deliveries) == ["delivered: written"] * 3
    assert [shop.link(person).klaviyo_id for person in people] == [shop.klaviyo.people[str(p.email)] for p in people]
    assert shop.link(people[0]).fields_version == 1


@pytest.mark.parametrize("answer", [good(201), good(201, {"type": "profile", "id": "x" * 500}), good(201, [])])
def test_a_creation_answered_with_something_odd_is_asked_for_again(engine_rows: Rows, answer: Any) -> None:
    """Nobody is created twice by it, its neighbours are done, and who is ours goes on the list."""
    shop = Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")
    people = [shop.person(there=False) for _ in range(3)]
    deliveries = [shop.fields(person, points=1) for person in people]

    def created(asked: Asked) -> Any:
        shop.klaviyo.put(asked.body["data"]["attributes"]["email"])
        return answer

    def there(asked: Asked) -> Any:
        profile = shop.klaviyo._profile(asked.body["data"]["attributes"]["email"])
        profile["attributes"]["created"] = clock.iso(clock.now())
        return good(200, profile)

    shop.klaviyo.script(IMPORT, created, shop.klaviyo._imported, shop.klaviyo._imported, there)
    shop.drain(Kind.FIELDS, times=3)
    assert shop.said(*deliveries) == ["delivered: written"] * 3
    assert len(shop.klaviyo.calls(IMPORT)) == 4
    added = {each["id"] for asked in shop.klaviyo.calls(ADD) for each in asked.body["data"]}
    assert added == {shop.klaviyo.people[str(person.email)] for person in people}
    assert shop.again().profiles_created == 3


def test_a_job_without_a_name_is_not_sent_for_ever(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.fields.lane.SINGLES", 2)
    _, deliveries = several(shop, 6)
    shop.klaviyo.script(JOB, *[good(202, {"type": "profile-bulk-import-job", "id": "x" * 500})] * 20)
    shop.drain(Kind.FIELDS, times=8)
    assert shop.said(*deliveries) == ["delivered: written"] * 6


@pytest.mark.parametrize("many", [False, True])
def test_what_is_turned_off_while_people_are_looked_up_is_not_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, *, many: bool
) -> None:
    """Field toggles count when something is sent, and looking up thousands takes a while."""
    monkeypatch.setattr("jobs.fields.lane.SINGLES", 2 if many else 75)
    people = [shop.person() for _ in range(4)]
    deliveries = [shop.fields(person, points=1, tier_name="Gold") for person in people]

    def meanwhile(asked: Asked) -> Given:
        choices.choose_fields(shop.workspace.id, None, ["tier_name"])
        return shop.klaviyo._looked_up(asked)

    shop.klaviyo.script(LOOK, meanwhile)
    shop.drain(Kind.FIELDS, times=2)
    assert set(shop.said(*deliveries)) == {"delivered: written"}
    written = [each["attributes"] for asked in shop.klaviyo.calls(JOB) for each in asked.profiles]
    written += [asked.body["data"]["attributes"] for asked in shop.klaviyo.calls(PATCH)]
    assert [each["properties"] for each in written] == [{"Cevoid: Tier Name": "Gold"}] * 4
