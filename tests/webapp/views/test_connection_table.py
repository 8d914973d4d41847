"""The connection table: filters in the address, polls that cost nothing, who may see what, banners. Both databases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import event, select

from tests.rows import Rows
from tests.webapp.views.connection_shop import BASE, Shop, shown, version_of
from tests.webapp.views.pages import HTMX, text_of
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.extensions import db
from webapp.models import (
    Alert,
    Connection,
    ConnectionStat,
    ConnectionState,
    Delivery,
    Lane,
)
from webapp.services.connections import lifecycle
from webapp.services.connections import table as connection_table


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    return Shop(any_app, rows)


def test_a_row_says_what_it_is_set_to_and_what_came_of_it(shop: Shop) -> None:
    activity = shop.rows.activity(shop.workspace)
    shop.rows.delivery(activity, shop.first)
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    key = {"connection_id": shop.first.id, "kind": Kind.EVENT, "workspace_id": shop.workspace.id}
    shop.rows.save(ConnectionStat(**key, hour=hour, delivered=1200, skipped=12, failed=3))
    shop.rows.save(ConnectionStat(**key, hour=hour - timedelta(hours=23), delivered=34, skipped=0, failed=0))
    shop.rows.save(ConnectionStat(**key, hour=hour - timedelta(hours=24), delivered=9999, skipped=0, failed=0))
    shop.change(shop.first, list_name="Newsletter", list_opt_in="double_opt_in", profiles_created=1284)
    page = shop.owner.get(BASE)
    text = text_of(page)
    assert "2 of 2 delivering · 1,234 delivered in 24 hours" in text
    row = text_of(shop.owner.get(shop.url(shop.first, "/row"), headers=HTMX))
    for words in ("acme.se", "Acme SE", "ACCTSE", "Delivering", "Only update existing", "1,284 created by us"):
        assert words in row
    assert "Newsletter double opt-in" in row
    assert "1,234 delivered · 12 skipped · 3 failed" in row
    assert "empty in a minute" in row
    with writing() as session:
        lane = session.scalars(select(Lane).where(Lane.connection_id == shop.first.id, Lane.kind == "events")).one()
        lane.failures, lane.held_until = 1, clock.now() + timedelta(minutes=1)
    row = text_of(shop.owner.get(shop.url(shop.first, "/row"), headers=HTMX))
    assert "Retrying" in row
    assert "empty in" not in row  # nobody knows when Klaviyo takes it again
    assert "all features on" in row
    assert page.text.count('<path class="failed"') == 1


def test_filter_search_and_sort_stand_in_the_address(shop: Shop) -> None:
    third = shop.rows.connection(shop.workspace, shop.de, klaviyo_account_id="ACCTDE", account_name="zeta DE")
    gone = shop.rows.connection(shop.workspace, None, state=ConnectionState.DISCONNECTED, account_name="Old one")
    a, b, c = shop.first.id, shop.second.id, third.id
    lifecycle.lose_grant(b, "gone")
    lifecycle.pause(shop.workspace.id, c, shop.owner_user.id, on=True)
    shop.rows.delivery(shop.rows.activity(shop.workspace), third)

    def ids(query: str) -> list[int]:
        return shown(shop.owner.get(BASE + query).text)

    assert ids("") == [a, b, c]
    assert ids("?status=disconnected") == [gone.id]
    assert ids("?status=needs_you") == [b]
    assert ids("?status=delivering") == [a]
    assert ids("?status=paused") == [c]
    assert ids("?status=waiting") == [c]
    assert ids("?search=ZETA") == [c]
    assert ids("?search=acme.no") == [b]
    assert ids("?search=ACCTS") == [a]
    assert ids("?search=%25") == []
    assert ids("?search=_") == []
    assert ids("?sort=status") == [b, c, a]
    assert ids("?sort=-account") == [c, a, b]
    assert ids("?sort=store") == [c, b, a]
    assert ids("?sort=-waiting")[0] == c
    assert "No connection fits" in text_of(shop.owner.get(f"{BASE}?search=nothing"))
    # What makes no sense is as if it were not there.
    assert ids("?status=nonsense&sort=DROP&page=-1&page=x") == [a, b, c]
    assert ids("?page=99999999999999") == [a, b, c]
    assert shop.owner.get(f"{BASE}?page=7").status_code == 303


def test_names_are_found_and_sorted_whatever_the_case_of_any_letter(shop: Shop) -> None:
    north = shop.rows.store(shop.workspace, "north", name="Övik")
    there = shop.rows.connection(shop.workspace, north, klaviyo_account_id="ACCTX", account_name="ÅRE 50%")
    south = shop.rows.store(shop.workspace, "south", name="övre")
    other = shop.rows.connection(shop.workspace, south, klaviyo_account_id="ACCTY", account_name="åsa")

    def ids(query: str) -> list[int]:
        return shown(shop.owner.get(BASE + query).text)

    assert ids("?search=övik") == ids("?search=ÖVIK") == ids("?search=åre 50%25") == [there.id]
    assert ids("?search=ÖVRE") == [other.id]
    assert ids("?search=ÅRE 5_") == []
    assert ids("?sort=-store")[:2] == [other.id, there.id]
    assert ids("?sort=-account")[:2] == [other.id, there.id]


def test_fifty_a_page(shop: Shop) -> None:
    for number in range(60):
        store = shop.rows.store(shop.workspace, f"s{number}")
        shop.rows.connection(shop.workspace, store, klaviyo_account_id=f"A{number}")
    first = shop.owner.get(f"{BASE}?sort=-added")
    assert len(shown(first.text)) == 50
    assert "Page 1 of 2 · 62 connections" in text_of(first)
    second = shop.owner.get(f"{BASE}?sort=-added&page=2")
    assert len(shown(second.text)) == 12
    assert sorted(shown(first.text) + shown(second.text), reverse=True) == shown(first.text) + shown(second.text)
    assert "62 of 62 delivering" in text_of(first)


def test_an_unchanged_poll_is_a_204_of_few_statements_and_renders_nothing(shop: Shop) -> None:
    version = version_of(shop.owner.get(BASE).text)
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    engine = db.engines["read"]
    event.listen(engine, "before_cursor_execute", note)
    try:
        answer = shop.owner.get(f"{BASE}?since={version}", headers=HTMX)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    assert len([text for text in statements if text.startswith(("SELECT", "WITH"))]) <= 2
    changed = shop.owner.get(f"{BASE}?since=none", headers=HTMX)
    assert changed.status_code == 200
    assert changed.headers["X-Version"] == version
    assert changed.text.lstrip().startswith('<div id="table"')


def test_a_poll_sees_every_change_of_the_table(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)  # no second passes between two pages
    hour = now.replace(minute=0, second=0, microsecond=0)
    delivery = shop.rows.delivery(shop.rows.activity(shop.workspace), shop.first)

    def settle() -> None:
        with writing() as session:
            settled = session.get_one(Delivery, delivery.id)
            settled.status, settled.reason = Status.DELIVERED, Reason.WRITTEN
            lane = session.scalars(select(Lane).where(Lane.connection_id == shop.first.id)).first()
            assert lane is not None
            lane.delivered += 1

    def mend() -> None:
        with writing() as session:
            lifecycle.make_move(
                session,
                session.get_one(Connection, shop.second.id),
                lifecycle.Move.RECONNECT,
                actor_id=shop.owner_user.id,
            )

    changes: dict[str, Callable[[], object]] = {
        "a delivery comes": lambda: shop.rows.delivery(shop.rows.activity(shop.workspace), shop.second),
        "one is delivered": settle,
        "a row is edited": lambda: shop.owner.post(
            shop.url(shop.first), data=shop.form(shop.first, sync_behavior="create_profile")
        ),
        "somebody pauses": lambda: shop.owner.post(shop.url(shop.first, "/pause")),
        "the app is removed": lambda: lifecycle.lose_grant(shop.second.id, "gone"),
        "it works again": mend,
        "somebody is created": lambda: shop.change(shop.first, profiles_created=1),
        "the list goes": lambda: shop.change(shop.first, list_missing_at=hour),
        "a lane is held": lambda: _hold(shop.first),
        "a connection ends": lambda: shop.owner.post(shop.url(shop.second, "/disconnect")),
    }
    version = version_of(shop.owner.get(BASE).text)
    for what, change in changes.items():
        change()
        answer = shop.owner.get(f"{BASE}?since={version}", headers=HTMX)
        assert answer.status_code == 200, what
        assert answer.headers["X-Version"] != version, what
        version = answer.headers["X-Version"]
        shop.owner.get(BASE)  # says what was done, once
        remembered = text_of(shop.owner.get(BASE))
        with shop.app.app_context():
            connection_table.forget()
        assert text_of(shop.owner.get(BASE)) == remembered, what


def test_rows_that_look_the_same_are_not_read_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Sequence[int]] = []
    really = connection_table.of

    def of(ids: Sequence[int], **kinds: bool) -> dict[int, connection_table.Row]:
        read.append(ids)
        return really(ids, **kinds)

    monkeypatch.setattr(connection_table, "of", of)
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)
    pages = [shop.owner.get(BASE).text for _ in range(3)]
    assert len(read) == 1
    assert shown(pages[0]) == shown(pages[1]) == shown(pages[2]) != []
    shop.change(shop.first, profiles_created=1)
    shop.owner.get(BASE)
    assert len(read) == 2


def _hold(connection: Connection) -> None:
    with writing() as session:
        lane = session.scalars(select(Lane).where(Lane.connection_id == connection.id)).first()
        assert lane is not None
        lane.held_until = clock.now() + timedelta(minutes=1)


def test_strangers_find_nothing_and_support_agents_look(shop: Shop) -> None:
    reads = ["", "/row", "/edit", "/lists", "/price", "/disconnect", "/replace"]
    for what in reads:
        assert shop.stranger.get(shop.url(shop.first, what), headers=HTMX).status_code == 404, what
    assert shop.support.get(shop.url(shop.first)).status_code == 200
    assert "Save changes" not in shop.support.get(shop.url(shop.first)).text
    assert "edit-" not in shop.support.get(BASE).text
    shop.change(shop.first, list_name="New people")
    settings = text_of(shop.support.get(shop.url(shop.first)))
    assert "Store acme.se Profile sync behavior Only update existing Add new profiles to list New people" in settings
    before = shop.form(shop.first)
    for what in ("", "/undo", "/lists", "/price", "/disconnect", "/replace", "/reconnect"):
        assert shop.support.post(shop.url(shop.first, what), data=before).status_code == 403, what
        assert shop.stranger.post(shop.url(shop.first, what), data=before).status_code == 404, what
    assert shop.form(shop.first) == before
    paused = shop.support.post(shop.url(shop.first, "/pause"))
    assert (paused.status_code, paused.location) == (303, shop.url(shop.first))
    assert shop.read(shop.first).is_paused
    assert "is paused. What comes waits here" in shop.support.get(shop.url(shop.first)).text
    # A connection of another workspace under one's own address.
    foreign = shop.rows.connection(shop.rows.workspace())
    for what in ("", "/undo", "/lists", "/price", "/pause", "/disconnect", "/replace", "/reconnect", "/settle"):
        assert shop.owner.post(shop.url(foreign, what), data=before).status_code == 404, what


def test_lost_access_is_told_once_and_told_again_when_it_works(shop: Shop) -> None:
    lifecycle.lose_grant(shop.first.id, "the app was removed in Klaviyo")
    lifecycle.lose_grant(shop.first.id, "the app was removed in Klaviyo")
    with reading() as session:
        alert = session.scalars(select(Alert)).one()
    page = shop.owner.get(BASE)
    assert "Acme SE no longer lets us in. The app was removed in Klaviyo" in text_of(page)
    assert page.text.count("Reconnect Acme SE</button>") == 1
    assert "An owner of this workspace can reconnect it." in text_of(shop.support.get(BASE))
    with writing() as session:
        row = session.get_one(Connection, shop.first.id)
        lifecycle.make_move(session, row, lifecycle.Move.RECONNECT, actor_id=shop.owner_user.id)
    assert "Acme SE works again" in text_of(shop.owner.get(BASE))
    dismiss = f"{BASE}/banners/{alert.id}/dismiss"
    assert shop.support.post(dismiss).status_code == 403
    assert shop.stranger.post(dismiss).status_code == 404
    assert shop.owner.post(f"{BASE}/banners/999/dismiss").status_code == 404
    assert shop.owner.post(dismiss).status_code == 303
    assert "works again" not in text_of(shop.owner.get(BASE))


def test_many_that_need_somebody_are_summed_up(shop: Shop) -> None:
    for number in range(5):
        store = shop.rows.store(shop.workspace, f"s{number}")
        made = shop.rows.connection(shop.workspace, store, klaviyo_account_id=f"A{number}")
        lifecycle.lose_grant(made.id, "gone")
    page = shop.owner.get(BASE)
    assert page.text.count("no longer lets us in") == 3
    assert "2 more need to be reconnected." in text_of(page)


def test_an_ended_connection_is_not_just_gone(shop: Shop) -> None:
    answer = shop.owner.post(shop.url(shop.first, "/disconnect"), follow_redirects=True)
    assert f"{shop.first.account_name} is disconnected. Its history stays." in text_of(answer)
    page = shop.owner.get(shop.url(shop.first)).text
    assert "Ended" in page
    assert "Settings</h2>" not in page
