"""How long a lane goes on: for a slice, longer while nobody else waits, no longer where its worker is to stop."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import update

from jobs import context, drain
from jobs.fields import singles
from tests.jobs.klaviyo import Asked, Given, good
from tests.jobs.shop import SIZE, Shop
from tests.rows import Rows
from webapp import clock, queue
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import Grant
from webapp.queue import WakeUp
from webapp.services.oauth import grants

BULK, PATCH = "POST /api/event-bulk-create-jobs", "PATCH /api/profiles/{id}"
pytestmark = pytest.mark.usefixtures("few_fill_a_call")


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def test_a_slice_ends_as_soon_as_others_wait_for_a_worker(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call in hand is finished; whatever is left goes to the back of the line."""
    person = shop.person(remembered=True)
    deliveries = [shop.event(person) for _ in range(24)]
    woken: list[WakeUp] = []
    monkeypatch.setattr(queue, "wake", woken.extend)
    monkeypatch.setattr(queue, "somebody_waits", lambda *, slow: not slow)
    shop.drain(Kind.EVENT)
    assert len(shop.klaviyo.asked) == 1
    assert set(shop.said(*deliveries[:8])) == {"delivered: written"}
    lane = shop.lane(Kind.EVENT)
    assert woken == [WakeUp(lane.id, slow=False, fence=lane.fence)]
    monkeypatch.setattr(queue, "somebody_waits", lambda *, slow: slow)
    shop.drain(Kind.EVENT)
    assert set(shop.said(*deliveries)) == {"delivered: written"}


@pytest.mark.parametrize("kind", [Kind.EVENT, Kind.FIELDS])
def test_whoever_is_told_to_stop_finishes_the_call_in_hand_and_gives_the_lane_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, prepared: list[list[int]], kind: Kind
) -> None:
    """What was prepared behind it is not sent any more."""
    monkeypatch.setattr(singles, "AT_ONCE", 1)
    monkeypatch.setattr(context.life, "is_ending", False)
    several = [shop.person(remembered=True) for _ in range(3)]
    deliveries = [shop.due(kind, several[n % 3]) for n in range(3 * SIZE if kind is Kind.EVENT else 3)]

    def told(_asked: Asked) -> Given:
        context.life.is_ending = True
        return good(202) if kind is Kind.EVENT else good(200, {"type": "profile", "id": "01PROFILE"})

    shop.klaviyo.script(BULK if kind is Kind.EVENT else PATCH, told)
    shop.drain(kind)
    assert len(shop.klaviyo.asked) == 1
    sent = SIZE if kind is Kind.EVENT else 1
    assert shop.said(*deliveries) == ["delivered: written"] * sent + ["waiting: backlog"] * (len(deliveries) - sent)
    lane = shop.lane(kind)
    assert (lane.owner, lane.lease_until, shop.open_batches(kind)) == (None, None, [])


@pytest.mark.parametrize(("alone", "calls"), [(0, 1), (1_000_000, 3)])
def test_while_nobody_else_waits_a_lane_goes_on_beyond_its_slice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, alone: int, calls: int
) -> None:
    shop.in_turns(3 * SIZE)
    monkeypatch.setattr(queue, "somebody_waits", lambda *, slow: slow)
    monkeypatch.setattr(drain, "ALONE", alone)
    with shop.working():
        monkeypatch.setattr(drain, "SLICE_SECONDS", 0.001)
        drain.drain(shop.lane(Kind.EVENT).id)
    assert len(shop.klaviyo.asked) == calls


def test_who_is_not_answered_a_token_goes_on_behind_nobody_else(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for one may take ten seconds: like a call that takes long it is left to the slow worker."""
    monkeypatch.setattr(grants, "WAIT_SECONDS", 0.2)
    delivery = shop.event(shop.person(remembered=True))
    with writing() as session:
        session.execute(update(Grant).where(Grant.connection_id == shop.connection.id).values(expires_at=clock.now()))

    def late(_request: object) -> Given:
        time.sleep(0.3)
        return 500, {}, "{}"

    with monkeypatch.context() as patch:
        patch.setattr(shop.klaviyo, "_token", late)
        shop.drain(Kind.EVENT)
    assert shop.lane(Kind.EVENT).slow
    shop.wait_is_over()
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["delivered: written"]
    assert not shop.lane(Kind.EVENT).slow, "it is quick again"
