"""What happens to a connection while somebody edits it: no conflict unless its settings changed. Both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from tests.rows import Rows
from tests.webapp.views.connection_shop import BASE, Shop, version_of
from tests.webapp.views.pages import HTMX, text_of
from webapp.catalogue.words import SyncBehavior
from webapp.database import writing
from webapp.models import Connection
from webapp.services.connections import lifecycle
from webapp.services.connections.lifecycle import Move


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    return Shop(any_app, rows)


def lose(shop: Shop) -> None:
    lifecycle.lose_grant(shop.first.id, "gone")


def reconnect(shop: Shop) -> None:
    with writing() as session:
        row = session.get_one(Connection, shop.first.id)
        lifecycle.make_move(session, row, Move.RECONNECT, actor_id=shop.owner_user.id)


def pause(shop: Shop) -> None:
    shop.support.post(shop.url(shop.first, "/pause"))


def pause_failing(shop: Shop) -> None:
    with writing() as session:
        lifecycle.pause_failing(session, session.get_one(Connection, shop.first.id))


MEANWHILE = [pause, pause_failing, lose, reconnect]


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize(("headers", "status"), [(HTMX, 200), ({}, 303)])
def test_what_nobody_saved_is_no_conflict(
    shop: Shop, meanwhile: Callable[[Shop], None], headers: dict[str, str], status: int
) -> None:
    form = shop.form(shop.first, sync_behavior="create_profile")
    meanwhile(shop)
    assert shop.owner.post(shop.url(shop.first), data=form, headers=headers).status_code == status
    assert shop.read(shop.first).sync_behavior is SyncBehavior.CREATE_PROFILE
    form = {"version": str(shop.read(shop.first).row_version)}
    reconnect(shop)
    undone = shop.owner.post(shop.url(shop.first, "/undo"), data=form, headers=HTMX)
    assert (undone.status_code, shop.read(shop.first).sync_behavior) == (200, SyncBehavior.UPDATE_EXISTING)


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_the_table_shows_it_all_the_same(shop: Shop, meanwhile: Callable[[Shop], None]) -> None:
    if meanwhile is reconnect:
        lose(shop)
    version = version_of(shop.owner.get(BASE).text)
    meanwhile(shop)
    answer = shop.owner.get(f"{BASE}?since={version}", headers=HTMX)
    assert (answer.status_code, answer.headers["X-Version"] != version) == (200, True)


def test_an_account_replaced_meanwhile_is_a_conflict(shop: Shop) -> None:
    form = shop.form(shop.first, sync_behavior="create_profile")
    with writing() as session:
        row = session.get_one(Connection, shop.first.id)
        lifecycle.replace(session, row, "ACCTDK", "Other DK", shop.owner_user.id)
    refused = shop.owner.post(shop.url(shop.first), data=form, headers=HTMX)
    assert (refused.status_code, "saved this connection meanwhile" in text_of(refused)) == (409, True)
    assert shop.read(shop.first).sync_behavior is SyncBehavior.UPDATE_EXISTING
