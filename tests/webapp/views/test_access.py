"""Closed by default: every route states who may, and is asked as everybody."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.browsing import token_in
from tests.rows import Rows
from webapp import clock
from webapp.http.access import rule_of, safe_next
from webapp.models import Alert, CustomProperty, Role, Task, TaskState, User, Workspace
from webapp.services.workspaces import ingest_keys, sessions, users


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


NUMBERED = {"connection_id", "delivery_id", "person_id", "task_id", "alert_id", "activity_id", "property_id"} | {
    "key_id",
    "user_id",
    "store_id",
}


def test_nothing_of_another_tenant_is_found_by_its_number(app: Flask, rows: Rows, people: dict[str, User]) -> None:
    elsewhere = rows.workspace("elsewhere")
    ids = theirs(rows, elsewhere)
    client, asked = signed_in(app, people["owner"]), 0
    for rule in app.url_map.iter_rules():
        names = rule.arguments - {"workspace"}
        if "workspace" not in rule.arguments or not names:
            continue
        assert names <= NUMBERED, f"{rule.endpoint} takes {names}: say whose that is"
        path = re.sub(r"<(?:\w+:)?workspace>", "mine", rule.rule)
        path = re.sub(r"<int:(\w+)>", lambda match: str(ids[match[1]]), path)
        for method in (rule.methods or set()) & {"GET", "POST"}:
            answer = client.open(path, method=method, data={"version": "1", "name": "x", "role": "owner"})
            assert answer.status_code == 404, f"{method} {path}"
            asked += 1
    assert asked > 40


def theirs(rows: Rows, workspace: Workspace) -> dict[str, int]:
    """One of everything that has a number, in somebody else's workspace."""
    connection, person = rows.connection(workspace), rows.person(workspace)
    activity = rows.activity(workspace, person)
    now = clock.now()
    task = rows.save(
        Task(
            workspace_id=workspace.id,
            connection_id=connection.id,
            kind="backfill",
            name="theirs",
            arguments={},
            state=TaskState.RUNNING,
            created_at=now,
            due_at=now,
        )
    )
    alert = rows.save(
        Alert(workspace_id=workspace.id, connection_id=connection.id, cause="reconnect_needed", opened_at=now)
    )
    kept = rows.save(
        CustomProperty(workspace_id=workspace.id, key="shoe_size", label="Shoe size", type="number", created_at=now)
    )
    key = ingest_keys.create(workspace.id, "theirs", None)
    assert ingest_keys.workspace_of(key) == workspace.id
    return {
        "connection_id": connection.id,
        "delivery_id": rows.delivery(activity, connection).id,
        "person_id": person.id,
        "task_id": task.id,
        "alert_id": alert.id,
        "activity_id": activity.id,
        "property_id": kept.id,
        "key_id": ingest_keys.of(workspace.id)[0].id,
        "user_id": rows.user(workspace).id,
        "store_id": rows.store(workspace).id,
    }


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 10**40])
def test_a_number_no_row_can_have_is_not_found(any_app: Flask, rows: Rows, number: int) -> None:
    client = signed_in(any_app, rows.user(rows.workspace("mine")))
    base = "/w/mine/settings/integrations/klaviyo"
    for path in (f"/connections/{number}", f"/deliveries/{number}", f"/people/{number}", f"/backfills/{number}"):
        assert client.get(base + path).status_code == 404, path


def test_the_forms_token_of_before_is_worth_nothing_after_signing_in(app: Flask, rows: Rows) -> None:
    user = rows.user(rows.workspace("mine"), password_hash=users.hash_password("a long password"))
    client = app.test_client()
    form = {"csrf_token": token_in(client.get("/sign-in").text), "email": user.email, "password": "a long password"}
    with client.session_transaction() as kept:
        assert "csrf_token" in kept
    assert client.post("/sign-in", data=form).status_code == 303
    with client.session_transaction() as kept:
        assert "csrf_token" not in kept


def test_a_change_needs_the_forms_token_and_our_own_site(app: Flask, rows: Rows) -> None:
    user = rows.user(rows.workspace("mine"))
    client = signed_in(app, user)
    url = "/w/mine/settings/integrations/klaviyo/events"
    assert client.post(url).status_code == 400
    token = token_in(client.get(url).text)
    elsewhere = client.post(url, data={"csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"})
    assert elsewhere.status_code == 403
    form = {"csrf_token": token, "complete": "1"}
    ours = client.post(url, data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert ours.status_code == 303


def test_the_headers_are_on_every_answer(app: Flask) -> None:
    for path in ("/sign-in", "/nowhere", "/healthz", "/api/v1/activities/x", "/static/js/live.js", "/static/nothing"):
        with app.test_client().get(path) as answer:
            headers = answer.headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Request-Id"]
        assert headers["Cache-Control"] == ("no-cache" if path.endswith(".js") else "no-store")


@pytest.mark.parametrize(
    "text",
    [
        "/\t/evil.example",
        "/\r\n/evil.example",
        "/ok\r\nX: y",
        "/a\\..\\b",
        "/\x00/x",
        "/\x0b/x",
        "//",
        "\\\\evil.example",
    ],
)
def test_what_browsers_read_another_way_is_no_path_of_ours(text: str) -> None:
    assert safe_next(text) is None


@pytest.mark.parametrize("text", ["/", "/w/mine/settings?log=2", "/%2f/x"])
def test_a_path_of_ours_is_gone_back_to(text: str) -> None:
    assert safe_next(text) == text


@pytest.mark.parametrize("text", ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "", None])
def test_nobody_is_sent_elsewhere_after_signing_in(text: str | None) -> None:
    assert safe_next(text) is None


def test_signing_in_leads_back_to_what_was_asked_for(app: Flask, people: dict[str, User]) -> None:
    there = "/w/mine/settings/integrations/klaviyo/deliveries?status=failed&event=tier_earned"
    to_form = app.test_client().get(there).location
    assert parse_qs(urlsplit(to_form).query) == {"next": [there]}
    polled = app.test_client().get(there, headers={"HX-Request": "true", "HX-Current-URL": f"http://localhost{there}"})
    assert polled.headers["HX-Redirect"] == to_form
    assert signed_in(app, people["owner"]).get(to_form).location == there


@pytest.mark.parametrize("page", ["http://[::1", "http://[x]/a", "//[", "http://localhost//elsewhere.example.com"])
def test_a_page_that_is_no_address_leads_to_sign_in_all_the_same(
    app: Flask, people: dict[str, User], page: str
) -> None:
    answer = app.test_client().get("/w/mine/settings", headers={"HX-Request": "true", "HX-Current-URL": page})
    assert answer.status_code == 204
    wanted = answer.headers["HX-Redirect"]
    assert signed_in(app, people["owner"]).get(wanted).location == "/"


def test_what_is_sent_after_the_session_ended_is_said_to_be_lost(app: Flask, people: dict[str, User]) -> None:
    client, there = app.test_client(), "/w/mine/settings/integrations/klaviyo/connections"
    answer = client.post(there, headers={"HX-Request": "true"})
    assert (answer.status_code, "HX-Redirect" in answer.headers) == (401, False)
    assert "nothing was changed. What you typed is still here" in answer.text
    form = client.post(there, follow_redirects=True)
    assert "You are signed out, so nothing was changed. Sign in, then do it again." in form.text


def test_an_ended_session_is_signed_out(app: Flask, rows: Rows) -> None:
    user = rows.user(rows.workspace("mine"))
    client = signed_in(app, user)
    assert client.get("/account").status_code == 200
    sessions.end(sessions.living(user.id)[0].id, user.id)
    assert client.get("/account").status_code == 303
    poll = client.get("/account", headers={"HX-Request": "true"})
    assert poll.status_code == 204
    assert "/sign-in" in poll.headers["HX-Redirect"]


def test_a_wrong_password_is_typed_again_where_it_stood(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    assert re.search(r'id="email"[^>]*autofocus', client.get("/sign-in").text)
    again = client.post("/sign-in", data={"email": "ada@example.com", "password": "wrong"}).text
    assert re.search(r'id="password"[^>]*autofocus', again)
    assert not re.search(r'id="email"[^>]*autofocus', again)
