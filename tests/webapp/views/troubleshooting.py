"""What the troubleshooting pages' tests share: a workspace whose deliveries they make, and what a list shows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flask import Flask

from tests.rows import Rows
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.models import Connection, Delivery, Person, User, Workspace
from webapp.services.sharing import choices

BASE = "/w/mine/settings/integrations/klaviyo"
LIST = f"{BASE}/deliveries"


@dataclass
class Shop:
    """A workspace `mine` with one connected store, one person, an owner and a support agent."""

    rows: Rows
    workspace: Workspace
    connection: Connection
    person: Person
    owner: User
    support: User

    def delivery(self, status: Status, reason: Reason, kind: Kind = Kind.EVENT, **values: object) -> Delivery:
        """A delivery of a new activity of the person."""
        activity = self.rows.activity(self.workspace, self.person)
        return self.rows.delivery(activity, self.connection, status=status, reason=reason, kind=kind, **values)


def make_shop(app: Flask, rows: Rows) -> Shop:
    """The shop; forms need no token in its tests."""
    app.config["WTF_CSRF_ENABLED"] = False
    workspace = rows.workspace("mine")
    choices.choose_events(workspace.id, None, ["member_joined_program"])
    choices.choose_fields(workspace.id, None, ["points"])
    connection = rows.connection(workspace, rows.store(workspace, "se"), account_name="Acme SE")
    person = rows.person(workspace, "ada@example.com", fields='{"points":{"v":120,"at":"2026-11-23T10:00:00Z","n":1}}')
    owner = rows.user(workspace)
    return Shop(rows, workspace, connection, person, owner, rows.user(support=True))


def shown(html: str) -> list[int]:
    """The deliveries of a list, in order."""
    return [int(found) for found in re.findall(r'id="delivery-(\d+)"', html)]
