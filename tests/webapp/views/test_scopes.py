"""The scope matrix: the explanation for everybody, the evidence of each connection beside it. Both databases."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask

from tests.rows import ALL_SCOPES, Rows
from tests.webapp.views.pages import signed_in, text_of
from webapp import clock
from webapp.database import writing
from webapp.klaviyo import scopes
from webapp.models import Connection, ScopeProof
from webapp.services.connections import lifecycle
from webapp.services.oauth import scope_matrix
from webapp.services.oauth.scope_matrix import Evidence

BASE = "/w/mine/settings/integrations/klaviyo"


def test_the_explanation_is_public(any_app: Flask) -> None:
    page = any_app.test_client().get("/integrations/klaviyo/scopes")
    assert page.status_code == 200
    text = text_of(page)
    for row in scopes.MATRIX:
        assert row.required_for in text
        assert row.why in text
    for scope in scopes.ASKED:
        assert f"<code>{scope}</code>" in page.text
    assert "GET /api/lists" in text  # which call needs it, on demand
    assert "metrics:write no call of ours yet" in text


def test_every_scope_of_a_connection_is_missing_granted_proven_or_refused(any_app: Flask, rows: Rows) -> None:
    workspace = rows.workspace("mine")
    granted = ALL_SCOPES.replace(" subscriptions:write", "")
    made = rows.connection(workspace, account_name="Acme SE", scopes=granted)
    with writing() as session:
        scope_matrix.note(session, made.id, ["events:write"], "POST /api/events", proven=True)
        scope_matrix.note(session, made.id, ["lists:write"], "POST /api/lists", proven=False)
    (column,) = scope_matrix.columns(workspace.id)
    cells = [column.cell(row.scopes) for row in scopes.MATRIX]
    assert {evidence: [known.scope for known in found] for evidence, found in cells[1].items()} == {
        Evidence.PROVEN: ["events:write"],
        Evidence.GRANTED: ["metrics:read", "metrics:write", "events:read"],
    }
    assert list(cells[3]) == [Evidence.REFUSED, Evidence.GRANTED]
    assert list(cells[4]) == [Evidence.MISSING]
    owner, agent = signed_in(any_app, rows.user(workspace)), signed_in(any_app, rows.user(support=True))
    page = owner.get(f"{BASE}/scopes")
    text = text_of(page)
    assert "Missing Reconnect to grant" in text
    assert f"As of {clock.now():%-d %B %Y}" in text  # for the printed page, whose times are told from then
    for words in (r"Refused lists:write, \d+ s ago by POST /api/lists", r"Proven events:write, \d+ s ago"):
        assert re.search(words, text)
    assert "Reconnect to grant" in text
    assert f"{BASE}/connections/{made.id}/reconnect" in page.text
    assert "Reconnect to grant" not in text_of(agent.get(f"{BASE}/scopes"))
    # Disconnected ones have no column.
    rows.connection(workspace, rows.store(workspace), account_name="Gone", state="disconnected")
    assert "Gone" not in text_of(owner.get(f"{BASE}/scopes"))


def test_of_an_account_that_lets_us_in_no_more_the_scopes_are_those_of_before(any_app: Flask, rows: Rows) -> None:
    workspace = rows.workspace("mine")
    rows.connection(workspace, rows.store(workspace), account_name="Acme SE", klaviyo_account_id="ACCTSE")
    owner = signed_in(any_app, rows.user(workspace))
    assert "let us in" not in text_of(owner.get(f"{BASE}/scopes")).replace("lets", "let")
    for name, words in (
        ("NO", "Acme NO no longer lets us in. What stands below of it was so before."),
        ("DE", "Acme NO, Acme DE no longer let us in. What stands below of them was so before."),
    ):
        values = {"klaviyo_account_id": f"ACCT{name}", "state": "needs_reauthorization"}
        rows.connection(workspace, rows.store(workspace), account_name=f"Acme {name}", **values)
        page = owner.get(f"{BASE}/scopes")
        assert words in text_of(page)
        assert f'href="{BASE}?status=needs_you">See what to do<' in page.text


def test_a_connections_page_says_what_a_feature_lacks(any_app: Flask, rows: Rows) -> None:
    workspace = rows.workspace("mine")
    granted = ALL_SCOPES.replace(" subscriptions:write", "").replace(" lists:write", "")
    made = rows.connection(workspace, scopes=granted)
    text = text_of(signed_in(any_app, rows.user(workspace)).get(f"{BASE}/connections/{made.id}"))
    assert "Off lists:write is missing" in text
    assert "Off lists:write, subscriptions:write are missing" in text


@pytest.mark.parametrize("later", ["proven", "refused"])
def test_the_later_of_proof_and_refusal_counts(any_app: Flask, rows: Rows, later: str) -> None:
    made = rows.connection(rows.workspace("mine"))
    now, before = clock.now(), clock.now() - timedelta(hours=1)
    times = {"proven_at": now, "refused_at": before} if later == "proven" else {"proven_at": before, "refused_at": now}
    rows.save(ScopeProof(connection_id=made.id, scope="lists:read", proven_by="a", refused_by="b", **times))
    (column,) = scope_matrix.columns(made.workspace_id)
    assert next(iter(column.cell(["lists:read"]))) == Evidence(later)


def test_connecting_proves_the_first_scope_and_notes_are_not_written_every_second(any_app: Flask, rows: Rows) -> None:
    made = rows.connection(rows.workspace("mine"))
    for by in ("first", "second"):
        with writing() as session:
            scope_matrix.note(session, made.id, ["accounts:read"], by, proven=True)
    (column,) = scope_matrix.columns(made.workspace_id)
    assert column.proofs["accounts:read"].proven_by == "first"


def test_the_last_call_counts_also_within_the_minute(any_app: Flask, rows: Rows) -> None:
    made = rows.connection(rows.workspace("mine"))

    def known(by: str, *, proven: bool) -> tuple[Evidence, str | None]:
        with writing() as session:
            scope_matrix.note(session, made.id, ["lists:read"], by, proven=proven)
        (column,) = scope_matrix.columns(made.workspace_id)
        ((evidence, (scope,)),) = column.cell(["lists:read"]).items()
        return evidence, scope.by

    assert known("first", proven=True) == (Evidence.PROVEN, "first")
    assert known("second", proven=False) == (Evidence.REFUSED, "second")
    assert known("third", proven=True) == (Evidence.PROVEN, "third")


def test_an_account_in_anothers_place_begins_with_nothing_proven(any_app: Flask, rows: Rows) -> None:
    made = rows.connection(rows.workspace("mine"), klaviyo_account_id="ACCTSE")
    with writing() as session:
        scope_matrix.note(session, made.id, ["lists:read"], "old", proven=True, account="ACCTSE")
    with writing() as session:
        lifecycle.replace(session, session.get_one(Connection, made.id), "ACCTNO", "Acme NO", 1)
    for account in ("ACCTSE", "ACCTNO"):  # a worker's call to the old one may come to its end after that
        with writing() as session:
            scope_matrix.note(session, made.id, ["lists:read"], f"by {account}", proven=True, account=account)
    (column,) = scope_matrix.columns(made.workspace_id)
    assert column.proofs["lists:read"].proven_by == "by ACCTNO"
