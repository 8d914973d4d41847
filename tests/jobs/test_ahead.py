"""The next batch is prepared while the call of the present one is under way, and goes out as things are by then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from jobs import line, pace
from jobs.events import ahead, choice
from jobs.run import Run
from tests.jobs.klaviyo import Asked, Given, error, good, html, throttled
from tests.jobs.shop import CREATES, SIZE, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import writing
from webapp.models import Connection, Delivery
from webapp.models.delivery import PRIORITY_RESEND
from webapp.services.sharing import choices
from webapp.services.tracing import erasures

ONE, MANY = "POST /api/events", "POST /api/event-bulk-create-jobs"
pytestmark = pytest.mark.usefixtures("few_fill_a_call")


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """What was chosen ahead, each time: ids."""
    found: list[list[int]] = []
    real = choice.due_events_behind

    def noted(run: Run, limit: int, behind: Any, delivered: frozenset[int]) -> Any:
        those = real(run, limit, behind, delivered)
        found.append([item.id for item in those.items])
        return those

    monkeypatch.setattr(choice, "due_events_behind", noted)
    return found


def sent(shop: Shop) -> list[list[int]]:
    return [[event["properties"]["n"] for event in asked.events] for asked in shop.klaviyo.calls(MANY)]


def first_then(news: Callable[[], object]) -> Callable[[Asked], Given]:
    """An answer of 202, before which the next batch has been prepared, and after that something happens."""

    def answer(_asked: Asked) -> Given:
        news()
        return good(202)

    return answer


def test_batches_follow_each_other_in_order(shop: Shop, chosen: list[list[int]]) -> None:
    _, deliveries = shop.in_turns()
    shop.drain(Kind.EVENT)
    assert sent(shop) == [list(range(start, start + SIZE)) for start in (0, SIZE, 2 * SIZE)]
    assert shop.said(*deliveries) == ["delivered: written"] * 3 * SIZE
    ids = [delivery.id for delivery in deliveries]
    assert chosen == [ids[SIZE : 2 * SIZE], ids[2 * SIZE :], []]


def test_nothing_is_prepared_behind_what_does_not_fill_a_call(shop: Shop, chosen: list[list[int]]) -> None:
    shop.in_turns(SIZE - 1)
    shop.drain(Kind.EVENT)
    assert len(sent(shop)) == 1
    assert chosen == []


def test_nothing_is_prepared_when_the_slice_is_over(
    shop: Shop, chosen: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.in_turns()
    monkeypatch.setattr(Run, "may_go_on", lambda _: False)
    shop.drain(Kind.EVENT)
    assert len(sent(shop)) == 1
    assert chosen == []


@pytest.mark.parametrize(("left", "prepared_with"), [(5, 1), (1, 2), (0, None)], ids=["room", "for one", "none"])
def test_it_is_begun_as_soon_as_there_is_room_for_its_call(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, left: int, prepared_with: int | None
) -> None:
    """Before the present batch is opened where that leaves room for one more, else after it; else not at all.

    Told by how many batches had been opened when the second was begun to be prepared.
    """
    shop.in_turns()
    real, begin, opened, begun = pace.reserve, ahead.start, [], []

    def reserved(*args: Any, **values: Any) -> pace.Reserved:
        opened.append(1)
        return real(*args, **values)._replace(left=left)

    def start(run: Run, behind: Any) -> None:
        begun.append(len(opened))
        begin(run, behind)

    monkeypatch.setattr(pace, "reserve", reserved)
    monkeypatch.setattr(ahead, "start", start)
    shop.drain(Kind.EVENT)
    assert begun[1:2] == ([] if prepared_with is None else [prepared_with])
    assert sent(shop) == [list(range(start, start + SIZE)) for start in (0, SIZE, 2 * SIZE)]


def test_people_nobody_remembers_are_looked_up_before_they_are_sent(shop: Shop) -> None:
    shop.in_turns(SIZE)
    unknown = [shop.person(there=there) for there in (True, False)]
    later = [shop.event(person, properties='{"n":90}') for person in unknown]
    shop.drain(Kind.EVENT)
    assert shop.said(*later) == ["delivered: written", "skipped: not_in_klaviyo"]


@pytest.mark.parametrize("answer", [html(503), throttled(3), error(400, "/data/attributes/events-bulk-create/data/1")])
def test_what_was_prepared_is_dropped_when_the_present_batch_is_not_delivered(
    shop: Shop, prepared: list[list[int]], answer: Given
) -> None:
    _, deliveries = shop.in_turns()
    shop.klaviyo.script(MANY, answer)
    shop.drain(Kind.EVENT, times=3)
    first, second = sent(shop)[:2]
    assert first == list(range(SIZE))
    assert second[0] == 0  # the same ones again before any later one
    flat = [n for asked in sent(shop)[1:] for n in asked]
    assert flat == sorted(flat)
    assert sorted({*flat, *(n for n, d in enumerate(deliveries) if shop.said(d) == ["failed: rejected"])}) == list(
        range(3 * SIZE)
    )


def test_a_person_who_is_gone_holds_their_later_events(shop: Shop, prepared: list[list[int]]) -> None:
    """An id Klaviyo does not know any more is looked up again; what was prepared with it is not sent."""
    people, deliveries = shop.in_turns()
    shop.klaviyo.people[str(people[0].email)] = "01PROFILENEW"
    gone = "/data/attributes/events-bulk-create/data/{}/attributes/profile/data/id"
    shop.klaviyo.script(MANY, error(404, *(gone.format(n) for n in range(0, SIZE, 3))))
    shop.drain(Kind.EVENT, times=2)
    events = [event for asked in shop.klaviyo.calls(MANY)[1:] for event in asked.events]
    events += [asked.event for asked in shop.klaviyo.calls(ONE)]
    mine = [event for event in events if event["properties"]["n"] % 3 == 0]
    assert {event["id"] for event in mine} == {"01PROFILENEW"}
    assert [event["properties"]["n"] for event in mine] == list(range(0, 3 * SIZE, 3))
    assert shop.said(*deliveries) == ["delivered: written"] * 3 * SIZE


def test_a_field_switched_off_meanwhile_is_not_sent(shop: Shop, prepared: list[list[int]]) -> None:
    people, _ = shop.in_turns()
    shop.fields(people[0], points=7, tier_name="Gold")
    shop.klaviyo.script(MANY, first_then(lambda: choices.choose_fields(shop.workspace.id, None, ["points"])))
    shop.drain(Kind.EVENT)
    first, second, *_ = shop.klaviyo.calls(MANY)
    assert shared(first) == {"Cevoid: Points", "Cevoid: Tier Name"}
    assert shared(second) == {"Cevoid: Points"}


def shared(asked: Asked) -> set[str]:
    """The names of all properties that a bulk call sets on profiles."""
    entries = asked.body["data"]["attributes"]["events-bulk-create"]["data"]
    profiles = [entry["attributes"]["profile"]["data"]["attributes"].get("properties", {}) for entry in entries]
    return {name for profile in profiles for name in profile}


def test_fields_that_changed_meanwhile_go_as_they_are_by_now(shop: Shop, prepared: list[list[int]]) -> None:
    people, _ = shop.in_turns()
    shop.fields(people[0], points=1)
    shop.klaviyo.script(MANY, first_then(lambda: shop.fields(people[0], points=2)))
    shop.drain(Kind.EVENT)
    entries = [asked.body["data"]["attributes"]["events-bulk-create"]["data"] for asked in shop.klaviyo.calls(MANY)]
    points = [
        [
            entry["attributes"]["profile"]["data"]["attributes"]["properties"]["Cevoid: Points"]
            for entry in batch
            if "properties" in entry["attributes"]["profile"]["data"]["attributes"]
        ]
        for batch in entries
    ]
    assert [set(batch) for batch in points] == [{1}, {2}, {2}]


def test_whoever_is_erased_meanwhile_is_not_sent(shop: Shop, prepared: list[list[int]]) -> None:
    people, deliveries = shop.in_turns()
    shop.klaviyo.script(MANY, first_then(lambda: erasures.erase(shop.workspace.id, str(people[0].email), None)))
    shop.drain(Kind.EVENT)
    assert all(n % 3 for asked in sent(shop)[1:] for n in asked)
    assert set(shop.said(*deliveries[SIZE + 1 :: 3])) == {"skipped: erased"}


def test_what_others_settled_meanwhile_is_not_sent(shop: Shop, prepared: list[list[int]]) -> None:
    _, deliveries = shop.in_turns()

    def expire() -> None:
        with writing() as session:
            statement = update(Delivery).where(Delivery.id == deliveries[SIZE].id)
            session.execute(statement.values(status=Status.FAILED, reason=Reason.EXPIRED))
            lane = shop.lane(Kind.EVENT)
            session.merge(lane).failed = lane.failed + 1

    shop.klaviyo.script(MANY, first_then(expire))
    shop.drain(Kind.EVENT)
    assert SIZE not in sent(shop)[1]
    assert shop.said(deliveries[SIZE]) == ["failed: expired"]


@pytest.mark.parametrize("front", [4_000, 3])
@pytest.mark.parametrize("place", ["before them", "among them"])
def test_an_earlier_event_that_comes_due_meanwhile_is_not_passed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, place: str, front: int
) -> None:
    """It was put off when the present batch was chosen: it stands before those in line, or among them."""
    monkeypatch.setattr(line, "FRONT", front)
    person = shop.person(remembered=True)
    before = 0 if place == "before them" else SIZE // 2
    shop.in_turns(before)
    early = shop.put_off(person)
    shop.in_turns(SIZE - before)
    later = [shop.event(person, properties=f'{{"n":{n}}}') for n in (91, 92)]
    real = ahead.start

    def comes_due(run: Run, behind: Any) -> None:
        with writing() as session:
            due = update(Delivery).where(Delivery.id == early.id)
            session.execute(due.values(due_at=clock.now() - timedelta(seconds=1)))
        real(run, behind)

    monkeypatch.setattr(ahead, "start", comes_due)
    shop.drain(Kind.EVENT)
    assert shop.said(early, *later) == ["delivered: written"] * 3
    assert [asked.event["properties"].get("n") for asked in shop.klaviyo.calls(ONE)] == [None, 91, 92]


@pytest.mark.parametrize("others", [0, SIZE], ids=["the line's end", "a long line"])
def test_nobody_passes_what_is_put_off_behind_the_present_batch(
    shop: Shop, chosen: list[list[int]], others: int
) -> None:
    """Whether all that follows is seen at once, or more than a call holds."""
    shop.in_turns(SIZE)
    person = shop.person(remembered=True)
    early, later = shop.put_off(person), shop.event(person)
    _, behind = shop.in_turns(others)
    shop.drain(Kind.EVENT)
    assert shop.said(early, later) == ["waiting: backlog"] * 2
    assert set(shop.said(*behind)) <= {"delivered: written"}
    assert chosen[0] == [each.id for each in behind][: SIZE - 1]


def test_nothing_is_prepared_where_nobody_may_be_looked_up(engine_rows: Rows, chosen: list[list[int]]) -> None:
    """Whatever was remembered while it was allowed: everybody goes by address then."""
    shop = Shop(engine_rows, sync_behavior=CREATES, scopes="events:write")
    shop.in_turns(2 * SIZE)
    shop.drain(Kind.EVENT)
    assert chosen == []
    assert all(event["id"] is None for asked in shop.klaviyo.calls(MANY) for event in asked.events)


def test_resends_are_never_prepared(shop: Shop, chosen: list[list[int]]) -> None:
    """Whatever is live goes before the next of them."""
    _, deliveries = shop.in_turns(2 * SIZE)
    with writing() as session:
        which = Delivery.id.in_([delivery.id for delivery in deliveries])
        session.execute(update(Delivery).where(which).values(priority=PRIORITY_RESEND))
    live = shop.event(shop.person(remembered=True), properties='{"n":90}')
    shop.drain(Kind.EVENT)
    assert sent(shop)[0][0] == 90
    assert chosen == []
    assert shop.said(live, *deliveries) == ["delivered: written"] * (2 * SIZE + 1)


def test_nobody_is_created_by_what_was_prepared_before_the_behavior_changed(
    engine_rows: Rows, prepared: list[list[int]]
) -> None:
    shop = Shop(engine_rows, sync_behavior=CREATES)
    shop.in_turns(SIZE)
    missing = [shop.person(there=False, remembered=True) for _ in range(SIZE)]
    later = [shop.event(person, properties='{"n":90}') for person in missing]

    def no_more() -> None:
        with writing() as session:
            which = update(Connection).where(Connection.id == shop.connection.id)
            session.execute(which.values(sync_behavior=SyncBehavior.UPDATE_EXISTING))

    shop.klaviyo.script(MANY, first_then(no_more))
    shop.drain(Kind.EVENT, times=2)
    assert len(sent(shop)) == 1
    assert set(shop.said(*later)) == {"skipped: not_in_klaviyo"}
