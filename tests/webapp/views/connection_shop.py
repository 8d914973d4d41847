"""A workspace with connections, and three people looking at it, for the tests of the connection pages."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from tests.webapp.views.pages import signed_in
from webapp import clock
from webapp.database import reading, writing
from webapp.models import Authorization, Connection, Purpose, Session, Task, TaskState
from webapp.services.connections import authorizations, lists

BASE = "/w/mine/settings/integrations/klaviyo"


class Shop:
    """A workspace with three stores; se and no are connected. `owner`, `support` and `stranger` are signed in."""

    def __init__(self, app: Flask, rows: Rows) -> None:
        self.app, self.rows = app, rows
        self.workspace = rows.workspace("mine")
        self.se, self.no, self.de = (
            rows.store(self.workspace, name, name=f"acme.{name}") for name in ("se", "no", "de")
        )
        self.first = rows.connection(self.workspace, self.se, klaviyo_account_id="ACCTSE", account_name="Acme SE")
        self.second = rows.connection(self.workspace, self.no, klaviyo_account_id="ACCTNO", account_name="Acme NO")
        self.owner_user = rows.user(self.workspace)
        self.owner = signed_in(app, self.owner_user)
        self.support = signed_in(app, rows.user(support=True))
        self.stranger = signed_in(app, rows.user(rows.workspace("theirs")))

    def read(self, connection: Connection) -> Connection:
        with reading() as session:
            return session.get_one(Connection, connection.id)

    def change(self, connection: Connection, **values: object) -> None:
        with writing() as session:
            row = session.get_one(Connection, connection.id)
            for name, value in values.items():
                setattr(row, name, value)

    def fetched(self, connection: Connection, *found: tuple[str, str, str]) -> None:
        """As if a worker had fetched these lists."""
        lists.ask(self.read(connection), self.owner_user.id)
        with writing() as session:
            task = session.scalars(select(Task).order_by(Task.id.desc())).first()
            assert task is not None
            task.state, task.result, task.finished_at = (
                TaskState.DONE,
                {"lists": [list(row) for row in found]},
                clock.now(),
            )

    def form(self, connection: Connection, **changes: str) -> dict[str, str]:
        row = self.read(connection)
        return {
            "version": str(row.row_version),
            "store": str(row.store_id or ""),
            "sync_behavior": row.sync_behavior,
            "list": row.list_id or "",
            **changes,
        }

    def url(self, connection: Connection, what: str = "") -> str:
        return f"{BASE}/connections/{connection.id}{what}"


def shown(html: str) -> list[int]:
    """The rows of a table, in order."""
    return [int(found) for found in re.findall(r'<tr id="connection-(\d+)"', html)]


def version_of(html: str) -> str:
    found = re.search(r'data-version="(\w+)"', html)
    assert found, html
    return found.group(1)


def attempt(user_id: int, workspace_id: int, **values: Any) -> Authorization:
    """An attempt as it is after it was consumed."""
    with reading() as session:
        signed = session.scalars(select(Session).where(Session.user_id == user_id)).first()
    assert signed is not None
    purpose = values.pop("purpose", Purpose.CONNECT)
    url = authorizations.begin(signed, workspace_id, Purpose(str(purpose)), **values)
    found = authorizations.consume(parse_qs(urlsplit(url).query)["state"][0], signed)
    assert found is not None
    return found
