"""Who is in Klaviyo: asked a hundred at a time, remembered as long as may be, and never guessed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from jobs.drain import drain
from jobs.events import shared_look_up
from tests.jobs.klaviyo import Asked, Given, error, good, html, throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.klaviyo import payloads
from webapp.models import Batch, Delivery, Lane, Person

LOOK, ONE, MANY, PATCH, JOB = (
    "GET /api/profiles",
    "POST /api/events",
    "POST /api/event-bulk-create-jobs",
    "PATCH /api/profiles/{id}",
    "POST /api/profile-bulk-import-jobs",
)


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def age(shop: Shop, person: Person, **ago: float) -> None:
    """Pretend that the person was looked up that long ago."""
    with writing() as session:
        session.merge(shop.link(person)).looked_up_at = clock.now() - timedelta(**ago)


def test_a_hit_is_believed_for_ten_minutes(shop: Shop) -> None:
    person = shop.person()
    for _ in range(2):
        shop.event(person)
        shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK, ONE, ONE]
    assert (shop.link(person).found, shop.link(person).klaviyo_id) == (True, shop.klaviyo.people[str(person.email)])
    age(shop, person, minutes=10, seconds=1)
    shop.event(person)
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints[3:] == [LOOK, ONE]


def test_a_miss_is_believed_for_a_minute(shop: Shop) -> None:
    person = shop.person(there=False)
    for _ in range(2):
        shop.event(person)
        shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK]
    age(shop, person, seconds=61)
    shop.klaviyo.put(str(person.email))
    late = shop.event(person)
    shop.drain(Kind.EVENT)
    assert shop.said(late) == ["delivered: written"]
    assert shop.klaviyo.endpoints == [LOOK, LOOK, ONE]


def test_several_are_looked_up_in_one_call(shop: Shop) -> None:
    people = [shop.person(there=number % 2 == 0) for number in range(7)]
    deliveries = [shop.event(person) for person in people]
    shop.drain(Kind.EVENT)
    assert shop.said(*deliveries) == ["delivered: written", "skipped: not_in_klaviyo"] * 3 + ["delivered: written"]
    assert shop.klaviyo.endpoints.count(LOOK) == 1


def test_nothing_is_remembered_across_accounts(shop: Shop, engine_rows: Rows) -> None:
    person = shop.person(remembered=True)
    store = engine_rows.store(shop.workspace)
    other = Shop(engine_rows)
    other.workspace, other.connection = shop.workspace, engine_rows.connection(shop.workspace, store)
    delivery = other.event(person)
    other.drain(Kind.EVENT)
    assert other.said(delivery) == ["skipped: not_in_klaviyo"]
    assert other.klaviyo.endpoints == [LOOK]


@pytest.mark.parametrize("kind", list(Kind))
def test_without_the_scope_everything_is_skipped_and_says_so(shop: Shop, kind: Kind) -> None:
    person = shop.person()
    delivery = shop.due(kind, person)
    shop.klaviyo.script(LOOK, error(403))
    shop.drain(kind)
    assert shop.said(delivery) == ["skipped: scope_missing"]
    assert shop.klaviyo.endpoints == [LOOK]
    assert shop.lane(kind).held_until is None


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    ("answer", "reason"), [(html(403), "retrying"), (html(500), "retrying"), (throttled(9), "rate_limited")]
)
def test_nobody_is_written_to_before_the_answer_is_there(shop: Shop, kind: Kind, answer: Any, reason: str) -> None:
    person = shop.person()
    delivery = shop.due(kind, person)
    shop.klaviyo.script(LOOK, answer)
    shop.drain(kind)
    assert shop.said(delivery) == ["waiting: backlog"]
    assert shop.lane(kind).held_reason == reason
    assert shop.klaviyo.endpoints == [LOOK]
    shop.drain(kind, times=2)
    assert shop.said(delivery) == ["delivered: written"]


def test_groups_that_were_answered_are_kept_where_another_was_not(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.klaviyo.payloads.LOOKUP_ADDRESSES", 2)
    people = [shop.person() for _ in range(6)]
    for person in people:
        shop.event(person)

    def answer(asked: Asked) -> Given:
        return throttled(1) if str(people[2].email) in asked.query["filter"] else shop.klaviyo._looked_up(asked)

    shop.klaviyo.script(LOOK, answer, answer, answer)
    shop.drain(Kind.EVENT)
    assert [shop.klaviyo.endpoints.count(name) for name in (LOOK, ONE, MANY)] == [3, 0, 0]
    shop.drain(Kind.EVENT, times=2)
    assert shop.klaviyo.endpoints[3:] == [LOOK, MANY]
    assert str(people[2].email) in shop.klaviyo.calls(LOOK)[3].query["filter"]
    assert str(people[0].email) not in shop.klaviyo.calls(LOOK)[3].query["filter"]


def refuses(shop: Shop, bad: str) -> Any:
    """A Klaviyo that does not take one of the addresses."""

    def answer(asked: Asked) -> Given:
        return error(400, detail="Invalid email") if bad in asked.query["filter"] else shop.klaviyo._looked_up(asked)

    return answer


@pytest.mark.parametrize("creates", [False, True])
def test_one_address_that_klaviyo_does_not_take_keeps_nobody_else_waiting(engine_rows: Rows, creates: bool) -> None:
    shop = Shop(engine_rows, **({"sync_behavior": CREATES} if creates else {}))
    people = [shop.person(there=number != 3) for number in range(6)]
    deliveries = [shop.event(person) for person in people]
    shop.klaviyo.script(LOOK, *[refuses(shop, str(people[3].email))] * 20)
    shop.drain(Kind.EVENT)
    others = [delivery for number, delivery in enumerate(deliveries) if number != 3]
    assert shop.said(*others) == ["delivered: written"] * 5
    assert shop.said(deliveries[3]) == ["delivered: written" if creates else "skipped: not_in_klaviyo"]
    assert shop.link(people[3]).found is False
    assert shop.klaviyo.endpoints.count(LOOK) <= 1 + 2 * 3


def test_another_form_of_the_address_is_the_same_person(shop: Shop) -> None:
    person = shop.person()

    def shouting(asked: Asked) -> Given:
        status, headers, body = shop.klaviyo._looked_up(asked)
        return status, headers, body.replace(str(person.email), str(person.email).upper())

    shop.klaviyo.script(LOOK, shouting)
    delivery = shop.event(person)
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["delivered: written"]


def test_an_import_never_believes_what_was_remembered(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would create whoever was deleted since: everybody in it is looked up in the same drain."""
    monkeypatch.setattr("jobs.fields.lane.SINGLES", 2)
    people = [shop.person(remembered=True) for _ in range(4)]
    deliveries = [shop.fields(person, points=1) for person in people]
    del shop.klaviyo.people[str(people[0].email)]
    shop.drain(Kind.FIELDS)
    assert shop.klaviyo.endpoints[0] == LOOK
    assert shop.said(deliveries[0]) == ["skipped: not_in_klaviyo"]
    (asked,) = shop.klaviyo.calls("POST /api/profile-bulk-import-jobs")
    assert len(asked.profiles) == 3
    assert all("email" not in item["attributes"] for item in asked.profiles)


def crowd(shop: Shop, count: int = 101) -> tuple[list[Delivery], list[Delivery]]:
    """People nobody knows, more than one look-up's, with an event and a change of fields each."""
    pairs = [(shop.event(person), shop.fields(person, points=1)) for person in (shop.person() for _ in range(count))]
    return [event for event, _ in pairs], [fields for _, fields in pairs]


def test_many_are_looked_up_once_for_both_their_events_and_their_fields(shop: Shop) -> None:
    events, fields = crowd(shop)
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [], "the fields lane looks them up in any case"
    assert shop.lane(Kind.EVENT).next_at is not None
    shop.drain(Kind.FIELDS)
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK, LOOK, JOB, MANY]
    assert set(shop.said(*events)) == {"delivered: written"}
    assert set(shop.said(*fields)) == {"waiting: klaviyo_processing"}


@pytest.mark.parametrize(
    "trouble",
    [
        {"failures": 1},
        {"stopped": True},
        {"held_until": clock.now() + timedelta(hours=1)},
    ],
    ids=lambda trouble: next(iter(trouble)),
)
def test_events_do_not_wait_for_a_fields_lane_in_trouble(shop: Shop, trouble: dict[str, Any]) -> None:
    events, _ = crowd(shop)
    with writing() as session:
        session.execute(update(Lane).where(Lane.id == shop.lane(Kind.FIELDS).id).values(**trouble))
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK, LOOK, MANY]
    assert set(shop.said(*events)) == {"delivered: written"}


def open_batch(shop: Shop, kind: Kind) -> None:
    """A call of a lane whose end nobody knows."""
    endpoint = "POST /api/profile-bulk-import-jobs"
    where = {"lane_id": shop.lane(kind).id, "connection_id": shop.connection.id}
    shop.rows.save(Batch(**where, endpoint=endpoint, size=0, members="[]", fence=1, started_at=clock.now()))


def test_events_do_not_wait_for_a_fields_lane_with_a_call_of_unknown_end(shop: Shop) -> None:
    events, _ = crowd(shop)
    open_batch(shop, Kind.FIELDS)
    shop.drain(Kind.EVENT)
    assert shop.klaviyo.endpoints == [LOOK, LOOK, MANY]
    assert set(shop.said(*events)) == {"delivered: written"}


def test_a_call_of_the_fields_lane_that_is_under_way_is_no_trouble(shop: Shop) -> None:
    """Its batch is open because somebody is sending it: the events still come right behind."""
    crowd(shop)
    open_batch(shop, Kind.FIELDS)
    hold(shop, Kind.FIELDS)
    with shop.working():
        drain(shop.lane(Kind.EVENT).id)
    assert shop.klaviyo.endpoints == []
    with writing() as session:
        died = {"lease_until": clock.now() - timedelta(seconds=1)}
        session.execute(update(Lane).where(Lane.id == shop.lane(Kind.FIELDS).id).values(**died))
    with shop.working():
        drain(shop.lane(Kind.EVENT).id)
    assert shop.klaviyo.endpoints == [LOOK, LOOK, MANY]


@pytest.mark.parametrize(("line", "held", "asks"), [(8, True, 0), (8, False, 1), (9, True, 1)])
def test_the_last_few_of_a_long_line_are_left_to_whoever_is_asking(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, line: int, held: bool, asks: int
) -> None:
    """`line`: how many fill a call; of a shorter one few are asked about at once, whoever else may do so."""
    monkeypatch.setattr(payloads, "BULK_EVENTS", line)
    crowd(shop, 8)
    if held:
        hold(shop, Kind.FIELDS)
    with shop.working():
        drain(shop.lane(Kind.EVENT).id)
    assert shop.klaviyo.endpoints.count(LOOK) == asks


def hold(shop: Shop, kind: Kind) -> None:
    """Somebody works on that lane."""
    with writing() as session:
        under_way = {"owner": "somebody", "lease_until": clock.now() + timedelta(seconds=10)}
        session.execute(update(Lane).where(Lane.id == shop.lane(kind).id).values(**under_way))


@pytest.mark.parametrize("strangers", [1, 101])
@pytest.mark.parametrize("apart", ["nothing is owed to them", "nothing yet", "in another look-up"])
def test_events_do_not_wait_for_a_fields_lane_that_asks_about_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, strangers: int, apart: str
) -> None:
    """It works at older changes, and of these events' people it knows nothing, or not yet."""
    monkeypatch.setattr(payloads, "BULK_EVENTS", strangers + 7)
    monkeypatch.setattr(shared_look_up, "FOR_IMPORTS", 5)
    for _ in range(5):
        shop.fields(shop.person(), points=1)
    people = [shop.person() for _ in range(strangers)]
    events = [shop.event(shop.person(remembered=True)) for _ in range(7)] + [shop.event(person) for person in people]
    owed = [shop.fields(person, points=1) for person in people] if apart != "nothing is owed to them" else []
    if apart == "nothing yet":
        with writing() as session:
            later = {"due_at": clock.now() + timedelta(minutes=10)}
            session.execute(update(Delivery).where(Delivery.id.in_([each.id for each in owed])).values(later))
    hold(shop, Kind.FIELDS)
    with shop.working():
        drain(shop.lane(Kind.EVENT).id)
    waits = strangers > 100 and apart == "in another look-up"  # so many are worth it
    assert set(shop.said(*events)) == {"waiting: backlog" if waits else "delivered: written"}


def test_events_do_not_wait_for_a_fields_lane_that_may_not_import(engine_rows: Rows) -> None:
    shop = Shop(engine_rows, scopes="events:write profiles:read profiles:write")
    events, _ = crowd(shop)
    shop.drain(Kind.EVENT)
    assert set(shop.said(*events)) == {"delivered: written"}


def test_events_do_not_wait_for_a_fields_lane_that_is_further_on(shop: Shop) -> None:
    events, fields = crowd(shop)
    with writing() as session:
        later = clock.now() + timedelta(minutes=10)  # as while their import job is under way
        session.execute(update(Delivery).where(Delivery.id.in_([row.id for row in fields])).values(due_at=later))
    shop.fields(shop.person(), points=2)
    shop.drain(Kind.EVENT)
    assert set(shop.said(*events)) == {"delivered: written"}


@pytest.mark.parametrize("kind", list(Kind))
def test_a_profile_that_has_another_main_address_by_now_is_theirs_all_the_same(shop: Shop, kind: Kind) -> None:
    """Two profiles became one in Klaviyo: asked for either address it answers with the main one."""
    people = [shop.person() for _ in range(5)]
    stranger = shop.person(there=False)
    merged = str(people[3].email)
    profile_id = shop.klaviyo.people[merged]

    def looked_up(asked: Asked) -> Given:
        rows = [shop.klaviyo._profile(email) for email in shop.klaviyo._wanted(asked)]
        for row in rows:
            if row["id"] == profile_id:
                row["attributes"]["email"] = "main@example.com"
        return good(200, rows)

    shop.klaviyo.script(LOOK, *[looked_up] * 9)
    deliveries = [shop.due(kind, person) for person in people]
    missing = shop.due(kind, stranger)
    shop.drain(kind)
    assert shop.said(*deliveries) == ["delivered: written"] * 5
    assert shop.said(missing)[0].endswith("not_in_klaviyo")
    assert shop.link(people[3]).klaviyo_id == profile_id
    assert len(shop.klaviyo.calls(LOOK)) == 3, "only those who were not answered for are asked about once more"
