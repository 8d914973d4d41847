"""What the table and a connection's page claim: delivering, empty soon, something to resend. On both databases."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from tests.webapp.views.connection_shop import BASE, Shop, shown
from tests.webapp.views.pages import HTMX, text_of
from webapp import clock
from webapp.catalogue.incidents import Incident
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import run_writing, writing
from webapp.models import Connection, ConnectionStat, ConnectionState, Lane, LaneKind, Person, Task, TaskState
from webapp.services import alerts
from webapp.services.connections import lifecycle, settling
from webapp.services.connections import table as connection_table
from webapp.services.resends import resending
from webapp.services.sharing import choices


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    return Shop(any_app, rows)


def replaced(shop: Shop, left: int) -> None:
    """The first connection was given another account, and so much was left behind."""
    with writing() as session:
        row = session.get_one(Connection, shop.first.id)
        lifecycle.replace(session, row, "ACCTDK", "Other DK", shop.owner_user.id)
        task = session.scalars(select(Task).where(Task.kind == settling.KIND)).one()
        task.state, task.done = TaskState.DONE, left


def test_what_a_replaced_account_left_is_offered_while_the_connection_lives(shop: Shop) -> None:
    replaced(shop, 3)
    ended = {"status": Status.SKIPPED, "reason": Reason.ACCOUNT_REPLACED}
    person = shop.rows.person(shop.workspace)
    old, young = (
        shop.rows.delivery(
            shop.rows.activity(shop.workspace, person), shop.first, created_at=clock.now() - ago, **ended
        )
        for ago in (timedelta(days=7, hours=1), timedelta(days=6, hours=23))
    )
    page = shop.owner.get(shop.url(shop.first))
    assert "See and resend them" in text_of(page)
    (link,) = re.findall(r'href="([^"]+reason=account_replaced[^"]*)"', page.text)
    offered = shop.owner.get(html.unescape(link)).text
    assert (f'id="delivery-{young.id}"' in offered, f'id="delivery-{old.id}"' in offered) == (True, False)
    lifecycle.disconnect(shop.workspace.id, shop.first.id, shop.owner_user.id)
    assert "See and resend them" not in text_of(shop.owner.get(shop.url(shop.first)))


def test_what_a_replaced_account_left_is_offered_until_nothing_of_it_is_left(shop: Shop) -> None:
    replaced(shop, 5)
    ada, gone = shop.rows.person(shop.workspace), shop.rows.person(shop.workspace, erased_at=clock.now())

    def left(connection: Connection, person: Person = ada, **values: Any) -> int:
        ended = {"status": Status.SKIPPED, "reason": Reason.ACCOUNT_REPLACED}
        return shop.rows.delivery(shop.rows.activity(shop.workspace, person), connection, **ended, **values).id

    def is_offered() -> bool:
        return "See and resend them" in text_of(shop.owner.get(shop.url(shop.first)))

    left(shop.second)
    left(shop.first, kind=Kind.CONSENT)
    left(shop.first, created_at=clock.now() - timedelta(days=7, hours=1))
    left(shop.first, gone)
    assert not is_offered(), "nothing of it can be resent"
    mine = [left(shop.first), left(shop.first, kind=Kind.FIELDS)]
    assert is_offered()
    choices.choose_events(shop.workspace.id, 1, ["member_joined_program"])
    run_writing(lambda session: resending.again(session, shop.workspace.id, mine[:1]))
    assert is_offered()
    run_writing(lambda session: resending.again(session, shop.workspace.id, mine[1:]))
    assert not is_offered()


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


@pytest.mark.parametrize("query", ["", "?search=SE", "?status=disconnected", "?sort=-added"])
@pytest.mark.parametrize("page", [50, 1])
def test_what_was_delivered_is_that_of_the_live_ones_whatever_is_looked_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, query: str, page: int
) -> None:
    """In a small workspace, and in one whose connections fill more than a page."""
    monkeypatch.setattr(connection_table, "PAGE", page)
    ended = shop.rows.connection(shop.workspace, None, state=ConnectionState.DISCONNECTED, account_name="Old SE")
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    for connection, delivered in ((shop.first, 1), (shop.second, 20), (ended, 300)):
        key = {"connection_id": connection.id, "kind": Kind.EVENT, "workspace_id": shop.workspace.id}
        shop.rows.save(ConnectionStat(**key, hour=hour, delivered=delivered, skipped=0, failed=0))
    assert "2 of 2 delivering · 21 delivered in 24 hours" in text_of(shop.owner.get(BASE + query))


def test_what_was_delivered_is_as_new_in_a_filtered_table(shop: Shop) -> None:
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    key = {"connection_id": shop.first.id, "kind": Kind.EVENT, "workspace_id": shop.workspace.id}
    for kind, sum_ in ((Kind.EVENT, 1), (Kind.FIELDS, 2)):
        shop.rows.save(ConnectionStat(**{**key, "kind": kind}, hour=hour, delivered=1, skipped=0, failed=0))
        assert f"· {sum_} delivered in 24 hours" in text_of(shop.owner.get(f"{BASE}?search=SE"))
