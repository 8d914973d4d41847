"""Changing the key of stored tokens: everything under the newest, the old key no longer needed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from webapp import clock
from webapp.crypto import CannotDecrypt, KeyRing, key_id_of, new_key
from webapp.database import writing
from webapp.extensions import db, key_ring
from webapp.models import AuditEntry, Authorization, Grant, Purpose, User, Workspace
from webapp.services.oauth import grants, token_keys


def use_keys(app: Flask, *keys: str) -> None:
    app.extensions["cevoid.key_ring"] = KeyRing(keys)


@pytest.fixture
def keys(any_app: Flask) -> tuple[str, str]:
    """(new, old); the app knows only the old one yet."""
    new, old = new_key(), new_key()
    use_keys(any_app, old)
    return new, old


def attempt(rows: Rows, workspace: Workspace, user: User, state: str) -> None:
    now = clock.now()
    rows.save(
        Authorization(
            state_hash=state,
            session_id=1,
            user_id=user.id,
            workspace_id=workspace.id,
            purpose=Purpose.CONNECT,
            verifier=key_ring().encrypt("verifier", row=f"authorization:{state}", field="verifier"),
            created_at=now,
            expires_at=now + timedelta(minutes=10),
        )
    )


def test_the_old_key_may_go_afterwards(any_app: Flask, rows: Rows, keys: tuple[str, str]) -> None:
    new, old = keys
    workspace = rows.workspace()
    user = rows.user(workspace)
    before = [rows.connection(rows.workspace()) for _ in range(5)]
    attempt(rows, workspace, user, "old")
    versions = list(db.session.scalars(select(Grant.version).order_by(Grant.id)))
    use_keys(any_app, new, old)
    after = rows.connection(rows.workspace())
    attempt(rows, workspace, user, "new")

    done = token_keys.rotate(bite=2)

    assert (done.grants, done.kept, done.authorizations, done.unreadable) == (5, 1, 1, [])
    use_keys(any_app, new)
    for connection in [*before, after]:
        assert grants.usable(connection.id).access_token == f"access-{connection.id}"
        grant = db.session.scalars(select(Grant).where(Grant.connection_id == connection.id)).one()
        assert grants.refresh_token(grant) == f"refresh-{connection.id}"
    assert list(db.session.scalars(select(Grant.version).order_by(Grant.id)))[:5] == versions
    assert list(db.session.scalars(select(Authorization.state_hash))) == ["new"]
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "token_keys.rotated")).one()
    assert entry.after == {"grants": 5, "authorizations": 1}


def test_a_second_run_finds_nothing_to_do(any_app: Flask, rows: Rows, keys: tuple[str, str]) -> None:
    rows.connection(rows.workspace())
    use_keys(any_app, *keys)
    assert token_keys.rotate().grants == 1
    again = token_keys.rotate()
    assert (again.grants, again.kept) == (0, 1)


def test_one_that_no_key_opens_is_named_and_the_others_go_on(any_app: Flask, rows: Rows, keys: tuple[str, str]) -> None:
    new, old = keys
    use_keys(any_app, new_key())
    lost = rows.connection(rows.workspace())
    use_keys(any_app, old)
    fine = rows.connection(rows.workspace())
    use_keys(any_app, new, old)
    done = token_keys.rotate()
    assert (done.grants, done.unreadable) == (1, [lost.id])
    use_keys(any_app, new)
    assert grants.usable(fine.id).access_token == f"access-{fine.id}"
    with pytest.raises(CannotDecrypt):
        grants.usable(lost.id)


def test_only_one_of_two_tokens_under_the_old_key(any_app: Flask, rows: Rows, keys: tuple[str, str]) -> None:
    new, old = keys
    connection = rows.connection(rows.workspace())
    use_keys(any_app, new, old)
    sealed = key_ring().encrypt("fresh", row=f"grant:{connection.id}", field="access_token")
    with writing() as session:
        session.scalars(select(Grant)).one().access_token = sealed
    assert token_keys.rotate().grants == 1
    grant = db.session.scalars(select(Grant)).one()
    assert grant.access_token == sealed
    assert key_id_of(grant.refresh_token) == key_ring().newest_id


def test_the_command_says_how_many(app: Flask, rows: Rows, tmp_path: Path) -> None:
    new, old = new_key(), new_key()
    use_keys(app, old)
    connection = rows.connection(rows.workspace())
    use_keys(app, new, old)
    said = app.test_cli_runner().invoke(args=["rotate-keys"])
    assert said.exit_code == 0, said.output
    assert "1 grants" in said.output
    assert new not in said.output
    use_keys(app, new_key())
    refused = app.test_cli_runner().invoke(args=["rotate-keys"])
    assert refused.exit_code == 1
    assert f"these connections: {connection.id}" in refused.output
