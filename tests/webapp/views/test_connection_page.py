"""A connection's own page: what works, and what is only allowed. Both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from tests.webapp.views.connection_shop import Shop
from tests.webapp.views.pages import text_of
from webapp import clock
from webapp.database import writing
from webapp.models import Lane, LaneKind
from webapp.services.connections import lifecycle

ALL_ON = "Events On Profile data On New profiles to a list On Newsletter On Reading back On"


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    return Shop(any_app, rows)


def works(shop: Shop) -> str:
    """What the page says under What works."""
    page = text_of(shop.owner.get(shop.url(shop.first)))
    return page.split("What works ", 1)[1].split(" Counters", 1)[0]


def hold(shop: Shop, kind: LaneKind, detail: str | None, reason: str | None = None) -> None:
    with writing() as session:
        lane = session.scalars(select(Lane).where(Lane.connection_id == shop.first.id, Lane.kind == kind)).one()
        lane.held_until, lane.held_detail, lane.held_reason = clock.now() + timedelta(minutes=1), detail, reason


def test_what_is_granted_and_does_not_get_through_is_not_shown_as_working(shop: Shop) -> None:
    assert works(shop) == ALL_ON
    hold(shop, LaneKind.EVENTS, "answered 500")
    hold(shop, LaneKind.CONSENTS, None, "rate_limited")
    held = ALL_ON.replace("Events On", "Events On Trying again: Klaviyo answered 500")
    assert works(shop) == held.replace("Newsletter On", "Newsletter On Klaviyo's limit reached")


def test_a_paused_connection_lets_nothing_through(shop: Shop) -> None:
    lifecycle.pause(shop.workspace.id, shop.first.id, shop.owner_user.id, on=True)
    assert works(shop).startswith(
        "Events On Paused Profile data On Paused New profiles to a list On Newsletter On Paus"
    )
