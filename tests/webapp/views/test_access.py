"""Closed by default: every route states who may, and is asked as everybody."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.browsing import token_in
from tests.rows import Rows
from webapp.http.access import rule_of, safe_next
from webapp.models import Role, User, Workspace
from webapp.services import sessions


def signed_in(app: Flask, user: User) -> FlaskClient:
    client = app.test_client()
    client.set_cookie("cevoid", sessions.begin(user, "test"))
    return client


def routes(app: Flask) -> list[tuple[str, str, str]]:
    """(endpoint, method, path in the workspace `mine`) of every route of ours."""
    found = []
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static":
            continue
        path = re.sub(r"<(?:\w+:)?workspace>", "mine", rule.rule)
        path = re.sub(r"<int:\w+>", "999999", path)
        path = re.sub(r"<(?:\w+:)?\w+>", "x", path)
        found += [(rule.endpoint, method, path) for method in (rule.methods or set()) & {"GET", "POST", "PUT"}]
    return found


@pytest.fixture
def people(app: Flask, rows: Rows) -> dict[str, User]:
    app.config["WTF_CSRF_ENABLED"] = False
    mine: Workspace = rows.workspace("mine")
    return {
        "owner": rows.user(mine),
        "stranger": rows.user(rows.workspace("theirs")),
        "support": rows.user(support=True),
    }


def test_every_route_states_its_rule_and_keeps_it(app: Flask, people: dict[str, User]) -> None:
    for endpoint, method, path in routes(app):
        rule = rule_of(endpoint)
        assert rule is not None, f"{endpoint} states no access rule"
        where = f"{method} {path}"
        if rule.key:
            assert app.test_client().open(path, method=method).status_code == 401, where
        elif not rule.public:
            anonymous = app.test_client().open(path, method=method)
            assert anonymous.status_code == 303, where
            assert "/sign-in" in anonymous.headers["Location"], where
        if rule.roles:
            stranger = signed_in(app, people["stranger"]).open(path, method=method)
            assert stranger.status_code == 404, where
            support = signed_in(app, people["support"]).open(path, method=method)
            assert (support.status_code == 403) == (Role.SUPPORT not in rule.roles), where
            owner = signed_in(app, people["owner"]).open(path, method=method)
            assert owner.status_code != 403, where


def test_anothers_connection_is_not_found_by_its_id(app: Flask, rows: Rows, people: dict[str, User]) -> None:
    theirs = rows.connection(rows.workspace("elsewhere"))
    base = f"/w/mine/settings/integrations/klaviyo/connections/{theirs.id}"
    client = signed_in(app, people["owner"])
    assert client.get(base).status_code == 404
    for action in ("", "/pause", "/disconnect", "/reconnect"):
        assert client.post(base + action, data={"version": "1"}).status_code == 404


def test_a_change_needs_the_forms_token_and_our_own_site(app: Flask, rows: Rows) -> None:
    user = rows.user(rows.workspace("mine"))
    client = signed_in(app, user)
    url = "/w/mine/settings/integrations/klaviyo/events"
    assert client.post(url).status_code == 400
    token = token_in(client.get(url).text)
    elsewhere = client.post(url, data={"csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"})
    assert elsewhere.status_code == 403
    ours = client.post(url, data={"csrf_token": token}, headers={"Sec-Fetch-Site": "same-origin"})
    assert ours.status_code == 303


def test_the_headers_are_on_every_answer(app: Flask) -> None:
    for path in ("/sign-in", "/nowhere", "/healthz", "/api/v1/activities/x"):
        headers = app.test_client().get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("text", ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "", None])
def test_nobody_is_sent_elsewhere_after_signing_in(text: str | None) -> None:
    assert safe_next(text) is None


def test_an_ended_session_is_signed_out(app: Flask, rows: Rows) -> None:
    user = rows.user(rows.workspace("mine"))
    client = signed_in(app, user)
    assert client.get("/account").status_code == 200
    sessions.end(sessions.living(user.id)[0].id, user.id)
    assert client.get("/account").status_code == 303
    poll = client.get("/account", headers={"HX-Request": "true"})
    assert poll.status_code == 204
    assert "/sign-in" in poll.headers["HX-Redirect"]
