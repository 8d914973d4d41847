"""Names that other people chose, in Klaviyo and on the platform: text on every page, whatever stands in them."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

import pytest
from flask import Flask

from tests.rows import Rows
from tests.webapp.views.connection_shop import BASE, Shop
from tests.webapp.views.pages import HTMX
from webapp.catalogue.reasons import Reason, Status
from webapp.klaviyo.parse import LONGEST_NAME, shown_name

ODD = shown_name("""<img src=x onerror=alert(1)> " onmouseover="x" 'O' & {{ 7*7 }} {0} %s · Söhne """ + "W" * 400)
OF_OURS = {"svg", "path", "circle", "rect", "line", "polyline", "use", "g"}


class Tags(HTMLParser):
    """The pictures and handlers that a page would bring."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        handlers = [name for name, _ in attrs if name.startswith("on")]
        is_ours = dict(attrs).get("src", "x") != "x"
        if handlers or (tag == "img" and not is_ours):
            self.bad.append(f"{tag} {attrs}")


@pytest.fixture
def shop(app: Flask, rows: Rows) -> Shop:
    made = Shop(app, rows)
    made.change(made.first, account_name=ODD, list_id="L1", list_name=ODD, list_opt_in="single_opt_in")
    made.fetched(made.first, ("L1", ODD, "single_opt_in"), ("L2", ODD, "single_opt_in"))
    made.owner.post("/w/mine/settings/stores", data={"external_id": "odd", "name": ODD})
    person = rows.person(made.workspace, "ada@example.com", first_name=ODD)
    activity = rows.activity(made.workspace, person)
    rows.delivery(activity, made.first, status=Status.FAILED, reason=Reason.REJECTED, detail=ODD)
    made.owner.post(made.url(made.first), data=made.form(made.first, list="L2"))  # an audit entry with it
    return made


PAGES = (
    "",
    "/connections/new",
    "/connections/1",
    "/connections/1/edit",
    "/connections/1/disconnect",
    "/connections/1/replace",
    "/backfills",
    "/events",
    "/profile-data",
    "/scopes",
    "/deliveries",
    "/deliveries/1",
    "/people/1",
    "/operations",
)


def test_the_longest_name_fits_its_column() -> None:
    assert len(ODD) == LONGEST_NAME


@pytest.mark.parametrize("page", [*PAGES, "settings", "home"])
def test_a_name_is_text_wherever_it_stands(shop: Shop, page: str) -> None:
    address = {"settings": "/w/mine/settings", "home": "/"}.get(page, f"{BASE}{page}")
    for client in (shop.owner, shop.support):
        for headers in ({}, HTMX):
            answer = client.get(address, headers=headers, follow_redirects=True)
            assert answer.status_code in {200, 403}, (address, answer.status_code)
            assert Tags(answer.text).bad == []
            assert "<img src=x" not in answer.text


def test_it_is_there_as_it_is(shop: Shop) -> None:
    pages = (BASE, shop.url(shop.first), shop.url(shop.first, "/disconnect"))
    for address in (*pages, f"{BASE}/deliveries/1", "/w/mine/settings"):
        assert escape(ODD, quote=False)[:28] in shop.owner.get(address).text


def test_stores_of_one_name_are_told_apart_where_one_is_chosen(app: Flask, rows: Rows) -> None:
    shop = Shop(app, rows)
    same = rows.store(shop.workspace, "se-2", name="acme.se")
    row = shop.url(shop.second, "/edit")
    for address in (row, shop.url(shop.second), f"{BASE}/connections/new"):
        page = shop.owner.get(address, headers=HTMX if address == row else {}).text
        assert "acme.se (se)" in page, address
        assert f'<option value="{same.id}">acme.se (se-2)</option>' in page, address
        assert "acme.de (de)" not in page, "whose name is no other's needs no id"
