"""The settings page as people use it without JavaScript: forms, 303 after a change, 422 with what was typed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.rows import Rows
from webapp.extensions import db
from webapp.models import AuditEntry, Store, User, Workspace
from webapp.services.workspaces import ingest_keys, members, sessions, users

URL = "/w/mine/settings"


@pytest.fixture
def workspace(app: Flask, rows: Rows) -> Workspace:
    app.config["WTF_CSRF_ENABLED"] = False
    return rows.workspace("mine")


@pytest.fixture
def owner(workspace: Workspace, rows: Rows) -> User:
    return rows.user(workspace, email="owner@example.com")


@pytest.fixture
def browser(app: Flask, owner: User) -> FlaskClient:
    return signed_in(app, owner)


def signed_in(app: Flask, user: User) -> FlaskClient:
    client = app.test_client()
    client.set_cookie("cevoid", sessions.begin(user, "test"))
    return client


def actions() -> list[str]:
    return list(db.session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


def assert_wrong(answer: Any, field: str) -> None:
    """422; the summary leads to the field, the field to its problem."""
    assert answer.status_code == 422
    assert f'<a href="#{field}">' in answer.text
    control = re.search(rf'<(?:input|select) id="{field}"[^>]*>', answer.text)
    assert control is not None
    assert 'aria-invalid="true"' in control.group()
    assert f"{field}-problem" in control.group()
    assert f'<p class="problem" id="{field}-problem">' in answer.text


def test_a_store_is_added_and_renamed(browser: FlaskClient, workspace: Workspace) -> None:
    added = browser.post(f"{URL}/stores", data={"name": " acme.se ", "external_id": " se "})
    assert added.status_code == 303
    assert added.headers["Location"].endswith("/w/mine/settings#stores")
    store = db.session.scalars(select(Store)).one()
    assert (store.external_id, store.name) == ("se", "acme.se")
    editing = browser.get(f"{URL}?edit=store-{store.id}").text
    assert f'<input id="store-{store.id}-name" name="name"' in editing
    renamed = browser.post(f"{URL}/stores/{store.id}", data={"name": "Acme Sweden", "external_id": "other"})
    assert renamed.status_code == 303
    db.session.rollback()
    store = db.session.scalars(select(Store)).one()
    assert (store.external_id, store.name) == ("se", "Acme Sweden"), "the external id never changes"
    assert "Acme Sweden" in browser.get(URL).text
    assert actions() == ["store.added", "store.renamed"]


def test_wrong_stores_come_back_with_what_was_typed(browser: FlaskClient, workspace: Workspace, rows: Rows) -> None:
    rows.store(workspace, "se", name="acme.se")
    taken = browser.post(f"{URL}/stores", data={"name": "Second", "external_id": "se"})
    assert_wrong(taken, "new-store-external_id")
    assert 'value="Second"' in taken.text
    assert "acme.se already" in taken.text
    assert_wrong(browser.post(f"{URL}/stores", data={"name": "", "external_id": "no"}), "new-store-name")
    assert_wrong(browser.post(f"{URL}/stores", data={"name": "x" * 201, "external_id": "no"}), "new-store-name")
    assert_wrong(browser.post(f"{URL}/stores", data={"name": "a\x07b", "external_id": "no"}), "new-store-name")
    assert actions() == []


def test_a_wrong_name_keeps_the_row_open(browser: FlaskClient, workspace: Workspace, rows: Rows) -> None:
    store = rows.store(workspace, "se", name="acme.se")
    answer = browser.post(f"{URL}/stores/{store.id}", data={"name": "  "})
    assert_wrong(answer, f"store-{store.id}-name")
    assert f'action="/w/mine/settings/stores/{store.id}"' in answer.text


def test_what_was_typed_is_never_taken_for_html(browser: FlaskClient, workspace: Workspace) -> None:
    answer = browser.post(f"{URL}/stores", data={"name": '"><script>x</script>', "external_id": ""})
    assert "<script>x" not in answer.text
    browser.post(f"{URL}/stores", data={"name": "<script>x</script>", "external_id": "se"})
    assert "<script>x" not in browser.get(URL).text


def test_a_new_members_password_is_shown_once(app: Flask, browser: FlaskClient, workspace: Workspace) -> None:
    answer = browser.post(f"{URL}/members", data={"email": "New@Example.com", "role": "support"})
    assert answer.status_code == 200
    shown = re.search(r'<input id="password" value="([^"]+)"', answer.text)
    assert shown is not None
    assert answer.headers["Cache-Control"] == "no-store"
    assert users.sign_in("new@example.com", shown.group(1), "127.0.0.1") is not None
    assert shown.group(1) not in browser.get(URL).text
    again = browser.post(f"{URL}/members", data={"email": "new@example.com", "role": "owner"})
    assert_wrong(again, "new-member-email")
    assert 'value="new@example.com"' in again.text


def test_a_typed_password_is_not_shown_again(browser: FlaskClient, workspace: Workspace) -> None:
    typed = {"email": "new@example.com", "role": "owner", "password": "ten or more"}
    assert browser.post(f"{URL}/members", data=typed).status_code == 303
    assert users.sign_in("new@example.com", "ten or more", "127.0.0.1") is not None
    wrong = browser.post(f"{URL}/members", data={**typed, "email": "nobody", "password": "short"})
    assert_wrong(wrong, "new-member-email")
    assert_wrong(wrong, "new-member-password")
    assert 'value="nobody"' in wrong.text
    assert "short" not in wrong.text
    assert_wrong(browser.post(f"{URL}/members", data={**typed, "role": "king"}), "new-member-role")


def test_a_role_is_changed_in_the_row(browser: FlaskClient, workspace: Workspace, owner: User, rows: Rows) -> None:
    second = rows.user(workspace, email="second@example.com")
    assert f'id="member-{second.id}-role"' in browser.get(f"{URL}?edit=member-{second.id}").text
    assert browser.post(f"{URL}/members/{second.id}", data={"role": "support"}).status_code == 303
    assert_wrong(browser.post(f"{URL}/members/{owner.id}", data={"role": "support"}), f"member-{owner.id}-role")
    assert_wrong(browser.post(f"{URL}/members/{second.id}", data={"role": "king"}), f"member-{second.id}-role")
    assert actions() == ["member.role_changed"]


def test_giving_up_ones_own_role_says_what_that_means(
    browser: FlaskClient, workspace: Workspace, owner: User, rows: Rows
) -> None:
    rows.user(workspace, email="second@example.com")
    answer = browser.post(f"{URL}/members/{owner.id}", data={"role": "support"}, follow_redirects=True)
    assert "another owner can change that back" in answer.text


def test_removing_is_confirmed(app: Flask, browser: FlaskClient, workspace: Workspace, rows: Rows) -> None:
    second = rows.user(workspace, email="second@example.com")
    theirs = signed_in(app, second)
    assert "Remove second@example.com?" in browser.get(f"{URL}/members/{second.id}/remove").text
    assert theirs.get(URL).status_code == 200
    assert browser.post(f"{URL}/members/{second.id}/remove").status_code == 303
    assert theirs.get(URL).status_code == 404, "it counts at once"
    assert browser.get(f"{URL}/members/{second.id}/remove").status_code == 404


def test_the_last_owner_stays(browser: FlaskClient, workspace: Workspace, owner: User) -> None:
    assert "Make somebody else an owner first" in browser.get(f"{URL}/members/{owner.id}/remove").text
    answer = browser.post(f"{URL}/members/{owner.id}/remove")
    assert answer.status_code == 422
    assert "Make somebody else an owner first" in answer.text
    assert members.one(workspace.id, owner.id) is not None


def test_one_may_leave(browser: FlaskClient, workspace: Workspace, owner: User, rows: Rows) -> None:
    rows.user(workspace)
    answer = browser.post(f"{URL}/members/{owner.id}/remove")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert browser.get(URL).status_code == 404


def test_a_key_is_shown_once_and_works_until_revoked(browser: FlaskClient, workspace: Workspace) -> None:
    answer = browser.post(f"{URL}/ingest-keys", data={"name": "shop server"})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    shown = re.search(r'<input id="key" value="(cev_[^"]+)"', answer.text)
    assert shown is not None
    key = shown.group(1)
    assert ingest_keys.workspace_of(key) == workspace.id
    page = browser.get(URL).text
    assert key not in page
    assert f"{key[:8]}…" in page
    row = ingest_keys.of(workspace.id)[0]
    assert "refused at once" in browser.get(f"{URL}/ingest-keys/{row.id}/revoke").text
    assert browser.post(f"{URL}/ingest-keys/{row.id}/revoke").status_code == 303
    assert ingest_keys.workspace_of(key) is None
    assert browser.post(f"{URL}/ingest-keys/{row.id}/revoke").status_code == 404
    assert browser.get(f"{URL}/ingest-keys/{row.id}/revoke").status_code == 404
    assert actions() == ["ingest_key.created", "ingest_key.revoked"]


def test_a_form_sent_twice_makes_one_key(browser: FlaskClient, workspace: Workspace) -> None:
    assert browser.post(f"{URL}/ingest-keys", data={"name": "shop"}).status_code == 200
    assert_wrong(browser.post(f"{URL}/ingest-keys", data={"name": "shop"}), "new-key-name")
    assert_wrong(browser.post(f"{URL}/ingest-keys", data={"name": ""}), "new-key-name")
    assert len(ingest_keys.of(workspace.id)) == 1


def test_anothers_rows_are_not_found(browser: FlaskClient, workspace: Workspace, rows: Rows) -> None:
    theirs = rows.workspace("theirs")
    store, member = rows.store(theirs, "dk", name="theirs"), rows.user(theirs)
    ingest_keys.create(theirs.id, "theirs", None)
    key = ingest_keys.of(theirs.id)[0]
    assert browser.post(f"{URL}/stores/{store.id}", data={"name": "mine now"}).status_code == 404
    assert browser.post(f"{URL}/members/{member.id}", data={"role": "support"}).status_code == 404
    assert browser.post(f"{URL}/members/{member.id}/remove").status_code == 404
    assert browser.post(f"{URL}/ingest-keys/{key.id}/revoke").status_code == 404
    assert "theirs" not in browser.get(URL).text
    assert len(actions()) == 1


def test_support_looks_and_changes_nothing(app: Flask, workspace: Workspace, owner: User, rows: Rows) -> None:
    store = rows.store(workspace, "se", name="acme.se")
    key = ingest_keys.create(workspace.id, "shop", owner.id)
    support = signed_in(app, rows.user(support=True))
    page = support.get(f"{URL}?edit=store-{store.id}").text
    assert "acme.se" in page
    assert "owner@example.com" in page
    assert f"{key[:8]}…" in page
    main = page[page.index("<main") :]
    assert "<form" not in main
    assert "<button" not in main
    refused = [
        support.post(f"{URL}/stores", data={"name": "x", "external_id": "x"}),
        support.post(f"{URL}/members", data={"email": "x@example.com", "role": "owner"}),
        support.post(f"{URL}/ingest-keys", data={"name": "x"}),
        support.post(f"{URL}/members/{owner.id}/remove"),
    ]
    assert [answer.status_code for answer in refused] == [403] * 4


def test_the_menu_leads_there(browser: FlaskClient, workspace: Workspace) -> None:
    assert 'href="/w/mine/settings"' in browser.get("/w/mine/settings/integrations/klaviyo/scopes").text
