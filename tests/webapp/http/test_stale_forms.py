"""A form whose token is worth nothing any more: whoever it was made for sends it again, nobody else gets a token."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.browsing import token_in
from tests.rows import Rows
from webapp.models import User, Workspace
from webapp.services.workspaces import sessions

PAGE = "/w/mine/settings/integrations/klaviyo/events"
STALE = "a token of before"


@pytest.fixture
def mine(rows: Rows) -> Workspace:
    return rows.workspace("mine")


@pytest.fixture
def person(mine: Workspace, rows: Rows) -> User:
    return rows.user(mine)


@pytest.fixture
def browser(app: Flask, person: User) -> FlaskClient:
    """A browser in which the person is signed in."""
    client = app.test_client()
    client.set_cookie("cevoid", sessions.begin(person, "test"))
    return client


def asked(person: User, **more: str) -> dict[str, str]:
    """The headers of what our scripts send from a page made for a person."""
    return {"HX-Request": "true", "X-Person": str(person.id), "X-CSRFToken": STALE, **more}


@pytest.mark.parametrize("has_forms_cookie", [True, False])
def test_who_signed_in_again_gets_the_token_of_now_and_sends_it_again(
    browser: FlaskClient, person: User, has_forms_cookie: bool
) -> None:
    if has_forms_cookie:
        browser.get(PAGE)
    answer = browser.post(PAGE, data={"complete": "1"}, headers=asked(person))
    assert answer.status_code == 400
    assert answer.text.startswith("You signed in again since, so nothing was changed yet.")
    token = answer.headers["X-CSRFToken"]
    again = browser.post(PAGE, data={"complete": "1"}, headers=asked(person, **{"X-CSRFToken": token}))
    assert again.status_code == 303


def test_the_page_says_for_whom_it_was_made(browser: FlaskClient, person: User) -> None:
    assert f'<body data-person="{person.id}">' in browser.get(PAGE).text


def test_a_page_made_for_somebody_else_gets_none(
    browser: FlaskClient, mine: Workspace, person: User, rows: Rows
) -> None:
    answer = browser.post(PAGE, headers=asked(rows.user(mine, email="before@example.com")))
    assert (answer.status_code, "X-CSRFToken" in answer.headers) == (400, False)
    assert answer.text.startswith("Somebody else is signed in here now, so nothing was changed.")


@pytest.mark.parametrize(
    "elsewhere", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_another_site_gets_none(browser: FlaskClient, person: User, elsewhere: dict[str, str]) -> None:
    answer = browser.post(PAGE, headers=asked(person, **elsewhere))
    assert (answer.status_code, "X-CSRFToken" in answer.headers) == (403, False)


def test_a_plain_form_and_a_page_of_before_get_none(browser: FlaskClient, person: User) -> None:
    plain = browser.post(PAGE, data={"csrf_token": STALE}, headers={"X-Person": str(person.id)})
    assert (plain.status_code, "X-CSRFToken" in plain.headers) == (400, False)
    nobodys = browser.post(PAGE, headers={"HX-Request": "true"})
    assert (nobodys.status_code, "X-CSRFToken" in nobodys.headers) == (400, False)
    assert "Reload it and try again." in nobodys.text


def test_who_has_no_cookie_at_all_is_told_to_sign_in(app: Flask, person: User) -> None:
    stranger = app.test_client()
    answer = stranger.post(PAGE, headers=asked(person))
    assert (answer.status_code, "X-CSRFToken" in answer.headers) == (401, False)
    assert "You are signed out, so nothing was changed. What you typed is still here" in answer.text
    plain = stranger.post(PAGE, follow_redirects=True)
    assert "You are signed out, so nothing was changed. Sign in, then do it again." in plain.text


def test_signing_in_needs_a_token_all_the_same(app: Flask) -> None:
    stranger = app.test_client()
    pair = {"email": "a@example.com", "password": "a long password"}
    assert stranger.post("/sign-in", data=pair).status_code == 400
    token = token_in(stranger.get("/sign-in").text)
    assert stranger.post("/sign-in", data={**pair, "csrf_token": token}).status_code == 422
