"""Seven days: whatever waits ends then, with the reason that it waited for, also while its connection is paused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from jobs import expiry
from tests.jobs.shop import Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import Delivery
from webapp.models.delivery import PRIORITY_RESEND
from webapp.services.connections import lifecycle


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def its_week_is_over(*deliveries: Delivery) -> None:
    with writing() as session:
        mine = update(Delivery).where(Delivery.id.in_([delivery.id for delivery in deliveries]))
        session.execute(mine.values(expires_at=clock.now() - timedelta(seconds=1)))


@pytest.mark.parametrize("paused", [True, False])
def test_everything_ends(shop: Shop, paused: bool) -> None:
    people = [shop.person() for _ in range(5)]
    waiting = [
        shop.event(people[0]),
        shop.fields(people[1], points=1),
        shop.consent(people[2]),
        shop.consent(people[3]),
    ]
    young = shop.event(people[4])
    with writing() as session:
        session.merge(shop.now(waiting[3])).reason = Reason.NOT_IN_KLAVIYO
    if paused:
        lifecycle.pause(shop.workspace.id, shop.connection.id, None, on=True)
    its_week_is_over(*waiting)
    expiry.run()
    assert shop.said(*waiting) == ["failed: expired"] * 3 + ["skipped: not_in_klaviyo"]
    assert shop.said(young) == ["waiting: backlog"]
    shop.check_counters()
    assert shop.klaviyo.asked == []


def test_what_is_sent_again_ends_also_behind_younger_ones(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resend gives old rows new ends: the oldest of them may be the last to be over."""
    monkeypatch.setattr(expiry, "BITE", 2)
    waiting = [shop.event(shop.person()) for _ in range(5)]
    with writing() as session:
        mine = update(Delivery).where(Delivery.id.in_([delivery.id for delivery in waiting]))
        session.execute(mine.values(priority=PRIORITY_RESEND))
    its_week_is_over(*waiting[2:])
    expiry.run()
    assert shop.said(*waiting) == ["waiting: backlog"] * 2 + ["failed: expired"] * 3


def test_a_drain_ends_what_it_finds_without_asking_klaviyo(shop: Shop) -> None:
    people = [shop.person(remembered=True) for _ in range(4)]
    waiting = [
        shop.event(people[0]),
        shop.fields(people[1], points=1),
        shop.consent(people[2]),
        shop.consent(people[3]),
    ]
    with writing() as session:
        session.merge(shop.now(waiting[3])).reason = Reason.NOT_IN_KLAVIYO
    its_week_is_over(*waiting)
    for kind in Kind:
        shop.drain(kind)
    assert shop.said(*waiting) == ["failed: expired"] * 3 + ["skipped: not_in_klaviyo"]
    assert shop.klaviyo.asked == []
