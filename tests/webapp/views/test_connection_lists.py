"""What Klaviyo said of its lists and says no more: lists that are gone, refusals of a lost grant. Both databases."""

from __future__ import annotations

import time

import pytest
from flask import Flask
from sqlalchemy import delete, update

from tests.rows import ALL_SCOPES, Rows
from tests.webapp.views.connection_shop import Shop
from tests.webapp.views.pages import HTMX, text_of
from webapp import clock
from webapp.database import writing
from webapp.klaviyo.oauth import TokenSet
from webapp.models import Task, TaskState
from webapp.services.oauth import grants

GONE, OTHER = ("L1", "Newsletter", "double_opt_in"), ("L2", "Members", "single_opt_in")
NO_ACCESS = "Klaviyo no longer accepts our access. Reconnect first."


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    """Where the first connection's list was found missing after both had been read."""
    shop = Shop(any_app, rows)
    shop.fetched(shop.first, GONE, OTHER)
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L1"))
    shop.change(shop.first, list_missing_at=clock.now())
    return shop


@pytest.mark.parametrize("instead", ["L2", ""])
def test_a_list_found_missing_cannot_be_chosen_again(shop: Shop, instead: str) -> None:
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list=instead))
    assert 'data-name="Newsletter"' not in shop.owner.get(shop.url(shop.first, "/edit"), headers=HTMX).text
    again = shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L1"), headers=HTMX)
    assert (again.status_code, "not in the Klaviyo account any more" in text_of(again)) == (422, True)
    assert shop.read(shop.first).list_id == (instead or None)
    shop.fetched(shop.first, GONE, OTHER)
    shown = shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L1"), headers=HTMX)
    assert (shown.status_code, shop.read(shop.first).list_id) == (200, "L1")


def test_undoing_does_not_go_back_to_a_list_found_missing(shop: Shop) -> None:
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L2"))
    for _ in ("remembered", "forgotten"):
        undone = _undo(shop)
        assert (undone[0], "is gone in Klaviyo, so this cannot be undone" in undone[1]) == (422, True)
        assert shop.read(shop.first).list_id == "L2"
        with writing() as session:
            session.execute(delete(Task))
    shop.fetched(shop.first, GONE, OTHER)
    assert _undo(shop)[0] == 200
    assert shop.read(shop.first).list_id == "L1"


def test_undoing_does_not_go_back_to_a_list_that_a_later_reading_lacks(shop: Shop) -> None:
    shop.change(shop.first, list_missing_at=None)
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L2"))
    shop.fetched(shop.first, OTHER)
    assert _undo(shop)[0] == 422
    assert shop.read(shop.first).list_id == "L2"


def test_undoing_another_change_keeps_the_missing_list_and_says_so_still(shop: Shop) -> None:
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, store=str(shop.de.id)))
    assert _undo(shop)[0] == 200
    now = shop.read(shop.first)
    assert (now.store_id, now.list_id, now.list_missing_at is not None) == (shop.se.id, "L1", True)


def test_what_went_wrong_before_the_account_was_connected_again_is_not_said_any_more(
    any_app: Flask, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of its lists nor of who would be added: both are asked for anew."""
    shop = Shop(any_app, rows)
    chosen = {"sync_behavior": "create_profile", "store": str(shop.se.id)}
    shop.owner.post(shop.url(shop.first, "/lists"), headers=HTMX)
    shop.owner.post(shop.url(shop.first, "/price"), data=chosen, headers=HTMX)
    with writing() as session:
        failed = {"state": TaskState.FAILED, "error": NO_ACCESS, "finished_at": clock.now()}
        session.execute(update(Task).values(failed))

    def said() -> tuple[str, str]:
        edit = shop.owner.get(shop.url(shop.first, "/edit"), headers=HTMX)
        price = shop.owner.get(shop.url(shop.first, "/price"), query_string=chosen, headers=HTMX)
        return text_of(edit), text_of(price)

    assert all(NO_ACCESS in text for text in said())
    with writing() as session:
        grants.store(session, shop.first.id, TokenSet("access", "refresh", 3600, frozenset(ALL_SCOPES.split())))
    assert not any(NO_ACCESS in text for text in said())
    assert "Asking Klaviyo for its lists" in said()[0]
    assert "How many would that be?" in said()[1]

    def sleep(_seconds: float) -> None:
        shop.fetched(shop.first, OTHER)

    monkeypatch.setattr(time, "sleep", sleep)
    assert shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L2")).status_code == 303


def _undo(shop: Shop) -> tuple[int, str]:
    version = str(shop.read(shop.first).row_version)
    answer = shop.owner.post(shop.url(shop.first, "/undo"), data={"version": version}, headers=HTMX)
    return answer.status_code, text_of(answer)
