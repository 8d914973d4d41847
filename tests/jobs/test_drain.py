"""A drain that is broken off gives its lane to the next one, which knows what it may not trust."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Connection, event, text, update
from sqlalchemy.exc import OperationalError

from jobs import claim as claiming
from jobs import drain, run, sweeper
from jobs.claim import FenceLost, claim, doubt, guard, release
from tests.jobs.klaviyo import Asked, Given, error, good
from tests.jobs.shop import Shop
from tests.rows import Rows
from webapp import clock, database, queue
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.extensions import db
from webapp.klaviyo import payloads
from webapp.models import Lane
from webapp.queue import WakeUp
from webapp.services import lanes
from webapp.services.connections import lifecycle

EVENT = "POST /api/events"


def away(*_: object) -> None:
    """What a statement comes to while the database is away."""
    raise OperationalError("UPDATE", {}, Exception("server closed the connection unexpectedly"))


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def test_a_lane_in_hand_when_the_database_goes_is_free_as_soon_as_it_is_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only after its lease; and what was open then counts as sent, perhaps."""
    person = shop.person(remembered=True)
    shop.fields(person, points=1)
    delivery = shop.event(person)
    real = database.run_writing

    def goes_away(_asked: Asked) -> Given:
        monkeypatch.setattr(run, "run_writing", away)
        return good(202)

    shop.klaviyo.script(EVENT, goes_away)
    with shop.working():
        drain.drain(shop.lane(Kind.EVENT).id)
    lane = shop.lane(Kind.EVENT)
    assert lane.lease_until is None
    assert lane.owner is not None, "its next holder is told"
    monkeypatch.setattr(run, "run_writing", real)
    with shop.working():
        drain.drain(shop.lane(Kind.EVENT).id)
    assert shop.said(delivery) == ["delivered: written"]
    sent = shop.klaviyo.calls(EVENT)
    assert len(sent) == 2
    assert sent[0].event["unique_id"] == sent[1].event["unique_id"]
    assert shop.link(person).rewrite, "an earlier arrival may still set older fields"


def test_whoever_takes_a_lane_over_and_dies_at_once_leaves_the_doubt_to_the_next(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = shop.person(remembered=True)
    shop.fields(person, points=1)
    delivery = shop.event(person)
    shop.dies(Kind.EVENT, EVENT)
    with monkeypatch.context() as patch:
        patch.setattr(drain, "doubt", away)
        with shop.working():
            drain.drain(shop.lane(Kind.EVENT).id)
    assert shop.klaviyo.calls(EVENT) == [], "nothing is sent by whoever could not write that down"
    assert [batch.unknown_times for batch in shop.open_batches(Kind.EVENT)] == [0]
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["delivered: written"]
    assert len(shop.klaviyo.calls(EVENT)) == 1
    assert shop.link(person).rewrite, "what the first one sent may still set older fields"


def test_only_the_holder_of_a_lane_doubts_its_batches(shop: Shop) -> None:
    """Somebody frozen right after the claim, whose lane is another's by now, changes nothing."""
    shop.event(shop.person(remembered=True))
    shop.dies(Kind.EVENT, EVENT)
    with shop.working():
        frozen = claim(shop.lane(Kind.EVENT).id)
        assert frozen is not None
        assert frozen.taken_over
        with writing() as session:
            session.merge(shop.lane(Kind.EVENT)).lease_until = clock.now() - timedelta(seconds=1)
        assert claim(shop.lane(Kind.EVENT).id) is not None
        with pytest.raises(FenceLost):
            doubt(frozen)
    assert [batch.unknown_times for batch in shop.open_batches(Kind.EVENT)] == [0]


def test_a_claim_that_the_database_forgot_holds_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It died before the claim was durable, and gave the same fence to the next one."""
    shop.event(shop.person(remembered=True))
    lane_id = shop.lane(Kind.EVENT).id
    with shop.working():
        forgotten = claim(lane_id)
        assert forgotten is not None
        with writing() as session:
            forget = {"fence": forgotten.fence - 1, "owner": None, "lease_until": None}
            session.execute(update(Lane).where(Lane.id == lane_id).values(**forget))
        monkeypatch.setattr("jobs.claim.OWNER", "another:1:abc")
        holder = claim(lane_id)
    assert holder is not None
    assert holder.fence == forgotten.fence
    with pytest.raises(FenceLost), writing() as session:
        guard(session, forgotten)
    drain._hold(forgotten, run.Hold(seconds=60))
    release(forgotten, again=False)
    lane = shop.lane(Kind.EVENT)
    assert (lane.owner, lane.held_until) == ("another:1:abc", None)
    assert lane.lease_until is not None
    with writing() as session:
        guard(session, holder)


def test_only_what_may_be_repeated_is_not_waited_for(shop: Shop) -> None:
    """An open batch is durable before its call; its end need not be: where it is forgotten, it goes once more."""
    if db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite waits for the disk at every commit")
    waits: list[str] = []

    def noted(connection: Connection) -> None:
        waits.append(connection.exec_driver_sql("SHOW synchronous_commit").scalar_one())

    shop.event(shop.person(remembered=True))
    event.listen(db.engine, "commit", noted)
    try:
        shop.drain(Kind.EVENT)
    finally:
        event.remove(db.engine, "commit", noted)
    with reading() as session:
        assert session.execute(text("SHOW synchronous_commit")).scalar_one() == "on", "else this shows nothing"
    # The first and the last are asked after a statement that commits by itself: of these the next test tells.
    assert waits == ["on", "on", "off", "on"]


def test_a_claim_is_not_waited_for_and_the_end_of_a_lane_is(shop: Shop) -> None:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite waits for the disk at every commit")
    shop.event(shop.person(remembered=True))
    lane = shop.lane(Kind.EVENT)
    claimed = {"lane": lane.id, "holder": "somebody:1:abc", "asked_at": claiming.LAST_FENCE}
    line = {"connection": shop.connection.id, "delivery_kind": Kind.EVENT, "seen": lane.news}
    found: list[tuple[int, str]] = []
    for statement, where in (
        (claiming._CLAIM, claimed),
        (claiming._SLEEP_IN_LINE, {**claimed, **line, "held_fence": lane.fence + 1}),
        (claiming._CLAIM, claimed),
        (claiming._QUEUE_AGAIN, {**claimed, "held_fence": lane.fence + 2}),
    ):
        with db.engine.begin() as connection:
            met = connection.execute(statement, where).rowcount
            found.append((met, connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()))
    assert found == [(1, "off"), (1, "on")] * 2


def test_a_lane_goes_on_at_once_where_somebody_reconnected_meanwhile(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "lose_grant", lambda *_: None)
    shop.klaviyo.grants_ended = True
    delivery = shop.event(shop.person(remembered=True))
    shop.klaviyo.script(EVENT, error(401))
    shop.drain(Kind.EVENT)
    assert shop.lane(Kind.EVENT).lease_until is None
    shop.klaviyo.grants_ended = False
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["delivered: written"]


def test_of_two_wake_ups_the_one_that_was_asked_for_before_a_claim_is_void(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each would see the other wait, and both would go on behind each other, one call at a time."""
    monkeypatch.setattr(payloads, "BULK_EVENTS", 8)
    person = shop.person(remembered=True)
    deliveries = [shop.event(person) for _ in range(24)]
    woken: list[WakeUp] = []
    monkeypatch.setattr(queue, "wake", woken.extend)
    monkeypatch.setattr(queue, "somebody_waits", lambda *, slow: True)
    fence = shop.lane(Kind.EVENT).fence
    with shop.working():
        drain.drain(shop.lane(Kind.EVENT).id, fence)
        drain.drain(shop.lane(Kind.EVENT).id, fence)
        assert len(woken) == len(shop.klaviyo.asked) == 1
        drain.drain(woken[0].lane_id, woken[0].fence)
    assert len(shop.klaviyo.asked) == 2
    assert set(shop.said(*deliveries[:16])) == {"delivered: written"}


def test_a_lane_that_was_stopped_and_started_is_woken_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wake-up that stands in line is void by then."""
    shop.event(shop.person(remembered=True))
    monkeypatch.setattr(queue, "wake", lambda _wanted: True)
    sweeper.sweep()
    lane_id = shop.lane(Kind.EVENT).id
    assert lane_id not in sweeper.due()
    with writing() as session:
        lanes.stop(session, shop.connection.id)
        lanes.start(session, shop.connection.id)
    assert lane_id in sweeper.due()


def test_nobody_waits_in_a_redis_that_is_away() -> None:
    assert not queue.somebody_waits(slow=False)


def test_whatever_is_added_while_a_lane_is_drained_wakes_it_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own wake-up found the lane taken, and nobody looks once more after a call that took all there was."""
    woken: list[WakeUp] = []
    monkeypatch.setattr(queue, "wake", woken.extend)
    person = shop.person(remembered=True)
    shop.event(person)
    added = []

    def meanwhile(_asked: Asked) -> Given:
        added.append(shop.event(person))
        return good(202)

    shop.klaviyo.script(EVENT, meanwhile)
    shop.drain(Kind.EVENT)
    lane = shop.lane(Kind.EVENT)
    assert woken == [WakeUp(lane.id, slow=False, fence=lane.fence)]
    assert lane.next_at is not None
    shop.drain(Kind.EVENT)
    assert shop.said(*added) == ["delivered: written"]
    assert len(woken) == 1
    assert shop.lane(Kind.EVENT).next_at is None
