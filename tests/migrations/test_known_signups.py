"""What was known of signups before they had a table of their own is carried over, of each account."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask_migrate import downgrade, upgrade
from sqlalchemy import select, text

from tests import databases
from tests.apps import dispose, test_settings
from tests.migrations.test_migrations import MIGRATIONS
from webapp import create_app
from webapp.database import reading, writing
from webapp.models import Signup

EARLY, LATE = "2026-11-20 08:00:00.000000", "2026-11-21 08:00:00.000000"
WORKSPACE = "INSERT INTO workspaces (id, slug, name, version, created_at) VALUES (:id, :slug, 'W', 1, :at)"
CONNECTION = """
INSERT INTO connections (id, workspace_id, klaviyo_account_id, account_name, state, state_at, sync_behavior, created_at)
VALUES (:id, :id, :account, 'Acme', :state, :at, 'update_existing', :at)
"""
LINK = """
INSERT INTO profile_links (connection_id, person_id, subscribed_at, subscribed_list_id)
VALUES (:connection, :person, :at, :list)
"""
REPLACING = """
INSERT INTO tasks (workspace_id, connection_id, kind, name, state, arguments, cursor, result, created_at, due_at)
VALUES (1, 4, 'settle_rest', '', 'waiting', '{}', '{}', '{}', :at, :at)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """A database as it was before this migration."""
    app = create_app(test_settings(databases.new_url(request.param, tmp_path), tmp_path))
    with app.app_context():
        upgrade(directory=MIGRATIONS, revision="0005")
        yield
    dispose(app)


def connection(number: int, account: str, state: str = "active") -> None:
    with writing() as session:
        session.execute(text(WORKSPACE), {"id": number, "slug": f"w-{number}", "at": EARLY})
        values = {"id": number, "account": account, "state": state, "at": EARLY}
        session.execute(text(CONNECTION), values)


def link(connection_id: int, person: int, at: str | None, list_id: str | None) -> None:
    with writing() as session:
        values = {"connection": connection_id, "person": person, "at": at, "list": list_id}
        session.execute(text(LINK), values)


@pytest.mark.usefixtures("before")
def test_the_last_list_of_each_connection_is_carried_over_by_its_account() -> None:
    for number, account, state in [
        (1, "ACC001", "disconnected"),
        (2, "ACC001", "active"),
        (3, "ACC002", "needs_reauthorization"),
        (4, "ACC003", "active"),
    ]:
        connection(number, account, state)
    with writing() as session:
        session.execute(text(REPLACING), {"at": EARLY})
    link(1, 10, EARLY, "LIST01")
    link(1, 11, EARLY, "LIST01")
    link(2, 10, LATE, "LIST01")
    link(2, 11, LATE, "LIST02")
    link(2, 12, None, None)
    link(3, 10, EARLY, None)
    link(4, 10, EARLY, "LIST09")
    upgrade(directory=MIGRATIONS)
    with reading() as session:
        rows = [
            (row.person_id, row.klaviyo_account_id, row.list_id, row.sent_at.day, row.withdrawn_by, row.withdrawn_at)
            for row in session.scalars(
                select(Signup).order_by(Signup.klaviyo_account_id, Signup.person_id, Signup.list_id)
            )
        ]
    assert rows == [
        (10, "ACC001", "LIST01", 21, None, None),
        (11, "ACC001", "LIST01", 20, None, None),
        (11, "ACC001", "LIST02", 21, None, None),
        (10, "ACC002", "", 20, None, None),
    ], "the links of an account that is being replaced are of the one before it"
    downgrade(directory=MIGRATIONS, revision="0005")
    upgrade(directory=MIGRATIONS)
