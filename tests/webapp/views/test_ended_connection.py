"""A connection that has ended: nothing about it is asked any more. Both databases."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.rows import Rows
from tests.webapp.views.connection_shop import Shop
from tests.webapp.views.pages import text_of
from webapp.catalogue.words import Kind
from webapp.services.connections import lifecycle


@pytest.mark.parametrize("what", ["disconnect", "replace"])
def test_what_cannot_be_done_any_more_is_not_asked(any_app: Flask, rows: Rows, what: str) -> None:
    shop = Shop(any_app, rows)
    url = shop.url(shop.first, f"/{what}")
    assert f"{what.title()} Acme SE?" in text_of(shop.owner.get(url))
    lifecycle.disconnect(shop.workspace.id, shop.first.id, shop.owner_user.id)
    asked = shop.owner.get(url)
    assert (asked.status_code, asked.location) == (303, shop.url(shop.first))
    shown = text_of(shop.owner.get(asked.location))
    assert "This connection has been disconnected. Add a new one." in shown
    assert shop.support.get(url).status_code == 403


def test_whoever_paused_it_already_is_not_told_to(any_app: Flask, rows: Rows) -> None:
    shop = Shop(any_app, rows)
    url = shop.url(shop.first, "/disconnect")
    assert "pause it instead" in text_of(shop.owner.get(url))
    lifecycle.pause(shop.workspace.id, shop.first.id, shop.owner_user.id, on=True)
    said = text_of(shop.owner.get(url))
    assert "pause it" not in said
    assert "It is paused: as long as it stays so, nothing is sent to it either" in said


def test_one_is_not_told_as_many(any_app: Flask, rows: Rows) -> None:
    shop = Shop(any_app, rows)
    activity = rows.activity(shop.workspace, rows.person(shop.workspace))

    def asked(what: str) -> str:
        return text_of(shop.owner.get(shop.url(shop.first, f"/{what}")))

    rows.delivery(activity, shop.first, kind=Kind.EVENT)
    assert "1 waiting delivery becomes skipped." in asked("disconnect")
    assert "1 delivery that waits for Acme SE becomes skipped." in asked("replace")
    rows.delivery(activity, shop.first, kind=Kind.FIELDS)
    assert "2 waiting deliveries become skipped." in asked("disconnect")
    assert "2 deliveries that wait for Acme SE become skipped." in asked("replace")
