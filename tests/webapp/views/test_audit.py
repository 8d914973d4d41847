"""The audit log: in words, by filter, page by page, and as CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import html
import io
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.rows import Rows
from webapp import clock
from webapp.models import AuditEntry, Role, User, Workspace
from webapp.services import audit_log
from webapp.services.sharing import choices
from webapp.services.workspaces import ingest_keys, members, sessions, stores

URL = "/w/mine/settings/audit"


@pytest.fixture
def workspace(any_app: Flask, rows: Rows) -> Workspace:
    return rows.workspace("mine")


@pytest.fixture
def owner(workspace: Workspace, rows: Rows) -> User:
    return rows.user(workspace, email="owner@example.com")


@pytest.fixture
def browser(any_app: Flask, owner: User) -> FlaskClient:
    client = any_app.test_client()
    client.set_cookie("cevoid", sessions.begin(owner, "test"))
    return client


def note(rows: Rows, workspace: Workspace, action: str = "person.erased", actor_id: int | None = None) -> AuditEntry:
    values = {"action": action, "actor_id": actor_id, "subject_type": "person", "subject_id": "7"}
    made: AuditEntry = rows.save(AuditEntry(workspace_id=workspace.id, at=clock.now(), **values))
    return made


def cells(page: str) -> list[list[str]]:
    """The text of every row's cells."""
    table = re.findall(r"<tr>\s*(<td.*?)</tr>", page, re.S)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in table]
    return [[html.unescape(re.sub(r"\s*<[^>]+>\s*", " ", cell)).strip() for cell in row[1:]] for row in found]


def test_it_says_who_did_what_with_before_and_after(
    browser: FlaskClient, workspace: Workspace, owner: User, rows: Rows
) -> None:
    second = rows.user(workspace, email="second@example.com")
    store = rows.store(workspace, "se", name="acme.se")
    stores.rename(workspace.id, store.id, "Acme Sweden", owner.id)
    members.change_role(workspace.id, second.id, Role.SUPPORT, owner.id)
    choices.choose_events(workspace.id, None, ["tier_earned"])
    assert cells(browser.get(URL).text) == [
        ["Automatic", "Chose which events are sent", "Turned on: Tier Earned"],
        ["owner@example.com", "Changed a member's role  second@example.com", "Role: from owner to support"],
        ["owner@example.com", "Renamed a store  Acme Sweden", "Name: from acme.se to Acme Sweden"],
    ]


def test_ids_are_shown_by_name(browser: FlaskClient, workspace: Workspace, owner: User, rows: Rows) -> None:
    store = rows.store(workspace, "se", name="acme.se")
    connection = rows.connection(workspace, store, account_name="Acme SE")
    about = {"actor_id": owner.id, "subject_type": "connection", "subject_id": str(connection.id), "at": clock.now()}
    before, after = {"store_id": None}, {"store_id": store.id}
    action = "connection.edited"
    rows.save(AuditEntry(workspace_id=workspace.id, action=action, before=before, after=after, **about))
    gone = {"connection": 999}
    rows.save(AuditEntry(workspace_id=workspace.id, action="backfill.started", after=gone, **about))
    assert [row[1:] for row in cells(browser.get(URL).text)] == [
        ["Started a sync of existing people  Acme SE", "Klaviyo account: connection 999"],
        ["Changed a connection's settings  Acme SE", "Store: from none to acme.se"],
    ]


def test_filters_stand_in_the_query(browser: FlaskClient, workspace: Workspace, owner: User, rows: Rows) -> None:
    note(rows, workspace)
    note(rows, workspace, actor_id=owner.id)
    note(rows, workspace, "connection.paused", owner.id)
    assert len(cells(browser.get(URL).text)) == 3
    assert len(cells(browser.get(f"{URL}?action=person.erased").text)) == 2
    assert len(cells(browser.get(f"{URL}?person={owner.id}").text)) == 2
    assert len(cells(browser.get(f"{URL}?person={owner.id}&action=connection.paused").text)) == 1
    assert len(cells(browser.get(f"{URL}?person=automatic").text)) == 1
    assert len(cells(browser.get(f"{URL}?action=&person=").text)) == 3
    assert len(cells(browser.get(f"{URL}?person=nobody&before=x").text)) == 3
    nothing = browser.get(f"{URL}?action=never.happened").text
    assert "No entry fits" in nothing
    assert "never.happened" in nothing


@pytest.mark.parametrize(
    ("query", "said", "shown"),
    [
        ("action=bogus", "There is no “bogus” in this log, so no entry fits.", 0),
        ("person=abc", "“abc” is no number for person. It was left out.", 1),
        ("person=999", "Nobody with the number 999 has changed anything here, so no entry fits.", 0),
        ("connection=999", "There is no Klaviyo account with the number 999 here, so no entry fits.", 0),
        ("connection=x", "“x” is no number for connection. It was left out.", 1),
        ("from=yesterday", "“yesterday” is no time for from; write it like 2026-11-23T10:00 (UTC).", 1),
        ("to=2026-02-30", "“2026-02-30” is no time for to; write it like 2026-11-23T10:00 (UTC). It was left out.", 1),
        ("before=x", "“x” is no number for before. It was left out.", 1),
    ],
)
def test_a_filter_that_is_none_is_said_and_nothing_is_exported(
    browser: FlaskClient, workspace: Workspace, rows: Rows, query: str, said: str, shown: int
) -> None:
    note(rows, workspace)
    page = browser.get(f"{URL}?{query}")
    assert (page.status_code, len(cells(page.text))) == (422, shown)
    assert said in html.unescape(page.text)
    assert "Nothing was exported" not in page.text
    export = browser.get(f"{URL}.csv?{query}")
    assert (export.status_code, export.mimetype) == (422, "text/html")
    assert "Content-Disposition" not in export.headers
    assert "Nothing was exported." in export.text
    assert said in html.unescape(export.text)
    if shown:  # and what leads on from here is without it
        assert browser.get(html.unescape(re.findall(r'href="([^"]+)">Export', page.text)[0])).status_code == 200


def test_an_action_that_has_no_words_yet_is_a_filter_where_it_was_done(
    browser: FlaskClient, workspace: Workspace, rows: Rows
) -> None:
    note(rows, workspace, "thing.done")
    assert browser.get(f"{URL}?action=thing.done").status_code == 200
    assert browser.get(f"{URL}.csv?action=thing.done").text.count("\r\n") == 2


def test_pages_follow_each_other_without_gap_or_repetition(
    browser: FlaskClient, workspace: Workspace, owner: User, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "PAGE", 3)
    for number in range(7):
        note(rows, workspace, f"thing.number_{number}", owner.id)
        note(rows, workspace)
    url: str | None = f"{URL}?person={owner.id}"
    found = []
    while url:
        page = browser.get(url).text
        found.append([row[1].split("  ")[0] for row in cells(page)])
        older = re.search(r'href="([^"]+)">Older<', page)
        url = older.group(1).replace("&amp;", "&") if older else None
        note(rows, workspace, "thing.later", owner.id)  # what comes meanwhile moves no page
    numbers = [f"Thing number {number}" for number in range(6, -1, -1)]
    assert found == [numbers[:3], numbers[3:6], numbers[6:]]


def test_another_workspaces_entries_are_not_here(browser: FlaskClient, workspace: Workspace, rows: Rows) -> None:
    theirs = rows.workspace("theirs")
    note(rows, theirs, actor_id=rows.user(theirs, email="stranger@example.com").id)
    assert "stranger@example.com" not in browser.get(URL).text
    assert browser.get(f"{URL}.csv").text.count("\r\n") == 1


def test_the_export_is_the_whole_log_that_fits(
    browser: FlaskClient, workspace: Workspace, owner: User, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "BITE", 2)
    for _ in range(5):
        note(rows, workspace, actor_id=owner.id)
    note(rows, workspace)
    store = rows.store(workspace, "se", name="acme.se")
    stores.rename(workspace.id, store.id, "Acme, Sweden", owner.id)
    answer = browser.get(f"{URL}.csv?person={owner.id}")
    assert answer.mimetype == "text/csv"
    assert re.fullmatch(r"attachment; filename=audit-mine-\d{4}-\d\d-\d\d\.csv", answer.headers["Content-Disposition"])
    read = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["action"] for row in read] == ["store.renamed"] + ["person.erased"] * 5
    assert read[0]["person"] == "owner@example.com"
    assert read[0]["what"] == "Renamed a store"
    assert (read[0]["before"], read[0]["after"]) == ('{"name":"acme.se"}', '{"name":"Acme, Sweden"}')
    assert read[0]["at"].endswith("Z")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "＝1"])
def test_no_cell_of_the_export_is_a_formula(browser: FlaskClient, workspace: Workspace, owner: User, name: str) -> None:
    ingest_keys.create(workspace.id, name, owner.id)
    read = list(csv.DictReader(io.StringIO(browser.get(f"{URL}.csv").text)))
    assert read[0]["subject"] == f"'{name}"


def test_the_export_ends_early_without_harm(any_app: Flask, browser: FlaskClient, workspace: Workspace) -> None:
    answer = browser.get(f"{URL}.csv", buffered=False)
    first = next(answer.iter_encoded())
    assert first.startswith(b"at,person,action")
    answer.close()


def test_support_may_read_it(any_app: Flask, workspace: Workspace, rows: Rows) -> None:
    client = any_app.test_client()
    client.set_cookie("cevoid", sessions.begin(rows.user(support=True), "test"))
    assert client.get(URL).status_code == 200
    assert client.get(f"{URL}.csv").status_code == 200
