"""The buttons that mend a cause: where they lead, and whether this person may press them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flask import g, url_for

from webapp.catalogue.causes import BUTTONS, OWNERS_ONLY, Cause
from webapp.extensions import db
from webapp.models import Connection, Role
from webapp.services.connections import lifecycle
from webapp.services.deliveries.causes import Group

OFFERED = 3


@dataclass(frozen=True, slots=True)
class Button:
    """`posts`: a form with these hidden fields; else a link. `allowed`: this person may press it."""

    label: str
    url: str
    posts: bool
    allowed: bool
    fields: dict[str, str] = field(default_factory=dict)


def button(cause: Cause, connection: Connection | None) -> Button | None:
    """The button of a cause; None where none helps, or where it is about a connection and there is no live one."""
    name = cause.button
    if not name:
        return None
    live = connection if connection is not None and connection.is_live else None
    allowed = g.role is Role.OWNER or name not in OWNERS_ONLY
    slug = g.workspace.slug
    if name in {"reconnect", "resume", "edit_connection"}:
        if live is None:
            return None
        endpoint, posts, fields = {
            "reconnect": ("authorizations.reconnect", True, {}),
            "resume": ("connections.pause", True, {"on": "0"}),
            "edit_connection": ("connections.show", False, {}),
        }[name]
        return Button(BUTTONS[name], url_for(endpoint, workspace=slug, connection_id=live.id), posts, allowed, fields)
    endpoint = {
        "add_connection": "connections.new",
        "enable": "connections.index",
        "events": "events.index",
        "profile_data": "fields.index",
    }[name]
    return Button(BUTTONS[name], url_for(endpoint, workspace=slug), False, allowed)


def of_groups(causes: Mapping[Group, Cause]) -> dict[Group, list[Button]]:
    """The buttons of each cause: one, or one for each of the first few connections it is about, by their names."""
    live = {each.id: each for each in lifecycle.live(db.session(), g.workspace.id)}
    found = {}
    for group, cause in causes.items():
        mine: list[Connection | None] = [live[each] for each in group.connections if each in live]
        pairs = [(each, button(cause, each)) for each in (mine[:OFFERED] or [None])]
        made = {each.url: (connection, each) for connection, each in pairs if each is not None}
        named = len(mine) > 1 and len(made) > 1
        found[group] = [
            replace(each, label=f"{each.label}: {connection.account_name}") if named and connection else each
            for connection, each in made.values()
        ]
    return found
