"""What the table and a connection's page claim: delivering, empty soon, something to resend. On both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from tests.webapp.views.connection_shop import BASE, Shop, shown
from tests.webapp.views.pages import HTMX, text_of
from webapp import clock
from webapp.catalogue.incidents import Incident
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import Connection, ConnectionStat, Lane, LaneKind, Task, TaskState
from webapp.services import alerts
from webapp.services.connections import lifecycle, settling


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    return Shop(any_app, rows)


def test_what_a_replaced_account_left_is_offered_while_the_connection_lives(shop: Shop) -> None:
    with writing() as session:
        row = session.get_one(Connection, shop.first.id)
        lifecycle.replace(session, row, "ACCTDK", "Other DK", shop.owner_user.id)
        task = session.scalars(select(Task).where(Task.kind == settling.KIND)).one()
        task.state, task.done = TaskState.DONE, 3
    assert "See and resend them" in text_of(shop.owner.get(shop.url(shop.first)))
    lifecycle.disconnect(shop.workspace.id, shop.first.id, shop.owner_user.id)
    assert "See and resend them" not in text_of(shop.owner.get(shop.url(shop.first)))


def test_the_time_until_empty_is_no_measure_of_how_little_came(shop: Shop) -> None:
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    key = {"connection_id": shop.first.id, "kind": Kind.EVENT, "workspace_id": shop.workspace.id}
    shop.rows.save(ConnectionStat(**key, hour=hour, delivered=2, skipped=0, failed=0))
    shop.rows.save(ConnectionStat(**key, hour=hour - timedelta(hours=1), delivered=2, skipped=0, failed=0))
    activity = shop.rows.activity(shop.workspace)
    shop.rows.delivery(activity, shop.first, kind=Kind.CONSENT)
    assert "empty in" not in text_of(shop.owner.get(shop.url(shop.first, "/row"), headers=HTMX))
    shop.rows.delivery(activity, shop.first)
    assert "empty in a minute" in text_of(shop.owner.get(shop.url(shop.first, "/row"), headers=HTMX))


def test_what_klaviyo_refuses_wholly_is_not_counted_as_delivering(shop: Shop) -> None:
    with writing() as session:
        alerts.open_alert(session, session.get_one(Connection, shop.first.id), Incident.FAILING, "Refused by Klaviyo")
    page = shop.owner.get(BASE)
    assert "1 of 2 delivering" in text_of(page)
    assert "1 needs you" in text_of(page)
    assert f'/deliveries?connection={shop.first.id}&amp;status=failed">See what failed' in page.text
    assert shown(shop.owner.get(f"{BASE}?status=delivering").text) == [shop.second.id]


@pytest.mark.parametrize(
    ("word", "failures", "seconds", "delivering"),
    [("Retrying", 1, 60, 1), ("Slowed by Klaviyo", 0, 60, 2), ("Delivering", 1, -1, 2)],
)
def test_what_is_only_being_retried_is_not_counted_as_delivering(
    shop: Shop, word: str, failures: int, seconds: int, delivering: int
) -> None:
    """The sentence above the table and its filter say of each connection what its row says."""
    shop.rows.delivery(shop.rows.activity(shop.workspace), shop.first)
    with writing() as session:
        mine = (Lane.connection_id == shop.first.id, Lane.kind == LaneKind.EVENTS)
        lane = session.scalars(select(Lane).where(*mine)).one()
        lane.failures, lane.held_until = failures, clock.now() + timedelta(seconds=seconds)
    assert word in text_of(shop.owner.get(shop.url(shop.first, "/row"), headers=HTMX))
    assert f"{delivering} of 2 delivering" in text_of(shop.owner.get(BASE))
    of_both = [shop.first.id, shop.second.id]
    assert shown(shop.owner.get(f"{BASE}?status=delivering").text) == of_both[-delivering:]
    with writing() as session:
        session.merge(lane).skipped = 1
    assert "2 of 2 delivering" in text_of(shop.owner.get(BASE)), "nothing waits for the next try"
