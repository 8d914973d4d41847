"""Being asked into a workspace: whoever made one's account elsewhere gets in nowhere by it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.rows import Rows
from tests.webapp.views.pages import signed_in, text_of
from webapp.models import User, Workspace

EMAIL, FIRST, OWN = "grace@example.com", "chosen by another", "chosen by herself"


@pytest.fixture
def brand(app: Flask, rows: Rows) -> Workspace:
    return rows.workspace("brand")


@pytest.fixture
def link(app: Flask, brand: Workspace, rows: Rows) -> str:
    """The path to join by: another workspace made the account, with a password of its choice, before."""
    elsewhere = signed_in(app, rows.user(rows.workspace("elsewhere")))
    elsewhere.post("/w/elsewhere/settings/members", data={"email": EMAIL, "role": "support", "password": FIRST})
    page = signed_in(app, rows.user(brand)).post("/w/brand/settings/members", data={"email": EMAIL, "role": "owner"})
    found = re.search(r'<input id="link" value="([^"]+)"', page.text)
    assert found is not None
    return urlsplit(found[1]).path


def browser(app: Flask, password: str) -> FlaskClient:
    client = app.test_client()
    assert client.post("/sign-in", data={"email": EMAIL, "password": password}).status_code == 303
    return client


def test_who_knows_the_first_password_sees_nothing(app: Flask, link: str) -> None:
    maker = browser(app, FIRST)
    assert maker.get("/w/brand/settings").status_code == 404
    assert "brand" not in text_of(maker.get("/")).lower()
    assert maker.post(link).status_code == 303
    assert maker.get("/w/brand/settings").status_code == 404, "also with the link"
    assert "Change your password first" in text_of(maker.get(link))


def test_who_set_their_own_joins(app: Flask, link: str) -> None:
    client = browser(app, FIRST)
    client.post("/account/password", data={"current": FIRST, "new": OWN, "again": OWN})
    assert "Join Brand?" in text_of(client.get(link))
    assert client.get("/w/brand/settings").status_code == 404, "looking is not joining"
    assert client.post(link).headers["Location"].endswith("/w/brand/settings/integrations/klaviyo")
    assert client.get("/w/brand/settings").status_code == 200


def test_it_says_so_where_it_is_for_somebody_else(app: Flask, link: str, rows: Rows) -> None:
    stranger: User = rows.user(rows.workspace())
    client = signed_in(app, stranger)
    answer = client.get(link)
    assert answer.status_code == 404
    assert "not for you" in text_of(answer)
    assert "Brand" not in text_of(answer)
    client.post("/account/password", data={})
    assert client.post(link).status_code == 303
    assert client.get("/w/brand/settings").status_code == 404


def test_somebody_signed_out_comes_back_to_it(app: Flask, link: str) -> None:
    asked = app.test_client().get(link)
    assert asked.status_code == 303
    assert asked.headers["Location"] == f"/sign-in?next={link}"
