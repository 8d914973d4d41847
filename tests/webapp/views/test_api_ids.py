"""The ingest API with ids and names that are odd: taken where they can be kept, refused in words where not."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from webapp.extensions import db
from webapp.models import AuditEntry, IngestKey, Workspace
from webapp.services.workspaces import ingest_keys

KEY = "test-ingest-key"
AUTH = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def workspace(any_app: Flask, rows: Rows) -> Workspace:
    made = rows.workspace("demo")
    ingest_keys.create(made.id, "test", None, key=KEY)
    return made


def put_store(app: Flask, external_id: str, name: Any) -> Any:
    return app.test_client().put(f"/api/v1/stores/{quote(external_id, safe='')}", json={"name": name}, headers=AUTH)


@pytest.mark.parametrize("identity", ["a//b", "/a", "a/", "a b", "a%2Fb", "?&#", "x" * 200])
def test_an_activity_is_found_by_whatever_id_it_was_given(any_app: Flask, workspace: Workspace, identity: str) -> None:
    item = {"id": identity, "type": "profile", "occurred_at": "2026-11-23T10:00:00Z"}
    client = any_app.test_client()
    assert client.post("/api/v1/activities", json={"activities": [item]}, headers=AUTH).status_code == 202
    answer = client.get(f"/api/v1/activities/{quote(identity, safe='')}", headers=AUTH)
    assert answer.status_code == 200
    assert answer.get_json()["id"] == identity


@pytest.mark.parametrize("identity", ["nothing", "a\x00b", "ä", "x" * 201])
def test_an_id_nobody_could_have_given_is_not_found(any_app: Flask, workspace: Workspace, identity: str) -> None:
    answer = any_app.test_client().get(f"/api/v1/activities/{quote(identity, safe='')}", headers=AUTH)
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"


def test_a_store_is_added_renamed_and_left_alone(any_app: Flask, workspace: Workspace) -> None:
    assert put_store(any_app, "shop/1", "First").status_code == 201
    assert put_store(any_app, "shop/1", "Second").status_code == 200
    assert put_store(any_app, "shop/1", "Second").status_code == 200
    entries = db.session.scalars(select(AuditEntry).where(AuditEntry.subject_type == "store").order_by(AuditEntry.id))
    assert [(row.action, row.actor_id, row.before, row.after) for row in entries] == [
        ("store.added", None, None, {"external_id": "shop/1", "name": "First"}),
        ("store.renamed", None, {"name": "First"}, {"name": "Second"}),
    ]


@pytest.mark.parametrize(
    ("external_id", "name"),
    [("se", ""), ("se", "  "), ("se", None), ("se", "a\x00b"), ("se", "x" * 201), ("x" * 201, "a"), ("a\x00b", "a")],
)
def test_a_store_that_cannot_be_kept_is_refused(
    any_app: Flask, workspace: Workspace, external_id: str, name: str | None
) -> None:
    assert put_store(any_app, external_id, name).status_code == 422


@pytest.mark.parametrize("email", [None, 5, "ada", "a\x00@example.com", "\ud800@example.com"])
def test_an_erasure_needs_an_address(any_app: Flask, workspace: Workspace, email: Any) -> None:
    answer = any_app.test_client().post("/api/v1/erasures", json={"email": email}, headers=AUTH)
    assert answer.status_code == 422


def test_a_refused_key_is_told_how_to_come_in(any_app: Flask, workspace: Workspace) -> None:
    answer = any_app.test_client().get("/api/v1/activities/x", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_last_use_of_a_key_is_noted(any_app: Flask, workspace: Workspace) -> None:
    assert db.session.execute(select(IngestKey.last_used_at)).scalar_one() is None
    any_app.test_client().get("/api/v1/activities/x", headers=AUTH)
    first = db.session.execute(select(IngestKey.last_used_at)).scalar_one()
    assert first is not None
    any_app.test_client().get("/api/v1/activities/x", headers=AUTH)
    assert db.session.execute(select(IngestKey.last_used_at)).scalar_one() == first
