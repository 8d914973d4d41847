"""How pages write moments."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flask import Flask

from tests.rows import Rows
from tests.webapp.views.pages import signed_in, text_of
from tests.webapp.views.troubleshooting import LIST, make_shop
from webapp import clock
from webapp.http import pages


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "1 Jan 00:00:00"),
        (datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), "31 Dec 2025 23:59:59"),
        (datetime(2027, 1, 1, tzinfo=UTC), "1 Jan 2027 00:00:00"),
    ],
)
def test_a_moment_of_another_year_says_its_year(monkeypatch: pytest.MonkeyPatch, at: datetime, words: str) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 11, 28, tzinfo=UTC))
    assert pages.dated(at) == words


def test_a_delivery_of_something_long_ago_says_when_it_happened(app: Flask, rows: Rows) -> None:
    shop = make_shop(app, rows)
    activity = rows.activity(shop.workspace, shop.person, occurred_at=datetime(2000, 1, 1, tzinfo=UTC))
    delivery = rows.delivery(activity, shop.connection)
    assert "Happened 1 Jan 2000 00:00:00" in text_of(signed_in(app, shop.owner).get(f"{LIST}/{delivery.id}"))
