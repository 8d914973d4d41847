"""A form whose token is worth nothing any more: whoever it was made for sends it again, nobody else gets a token."""

from __future__ import annotations

import re

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


def test_a_plain_form_of_ours_is_kept_to_be_sent_again(browser: FlaskClient, person: User) -> None:
    """Without scripts nothing else keeps what was typed: these pages are not kept by the browser."""
    ours = {"Sec-Fetch-Site": "same-origin"}
    form = {"csrf_token": STALE, "complete": "1", "event": ["tier_earned", "<post_created>"]}
    page = browser.post(f"{PAGE}?x=1", data=form, headers=ours)
    assert page.status_code == 400
    assert f"nothing was changed yet. You are {person.email} now." in page.text
    assert f'<form method="post" action="{PAGE}?x=1"' in page.text
    kept = re.findall(r'<input type="hidden" name="(complete|event)" value="([^"]*)">', page.text)
    assert kept == [("complete", "1"), ("event", "tier_earned"), ("event", "&lt;post_created&gt;")]
    assert STALE not in page.text
    again = browser.post(PAGE, data={**form, "csrf_token": token_in(page.text)}, headers=ours)
    assert again.status_code == 303


@pytest.mark.parametrize("vouched", [{}, {"Sec-Fetch-Site": "none"}])
def test_nothing_is_kept_of_a_form_that_may_be_somebody_elses(browser: FlaskClient, vouched: dict[str, str]) -> None:
    """An older browser does not say whose page sent it: one press would send what another site had chosen."""
    page = browser.post(PAGE, data={"csrf_token": STALE, "complete": "1"}, headers=vouched)
    assert page.status_code == 400
    assert "Go back, reload the page" in page.text
    assert 'name="complete"' not in page.text


@pytest.mark.parametrize("name", ["password", "current"])
def test_no_password_is_written_into_a_page(browser: FlaskClient, name: str) -> None:
    form = {"csrf_token": STALE, "email": "new@example.com", name: "a long secret"}
    page = browser.post("/w/mine/settings/members", data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert page.status_code == 400
    assert "a long secret" not in page.text
    assert "new@example.com" not in page.text, "sent without its password it would mean something else"
    assert "Go back, reload the page" in page.text


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
