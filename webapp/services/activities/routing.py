"""Choosing the connection of an activity. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.catalogue.reasons import Reason
from webapp.services.workspaces.snapshot import WorkspaceSettings


@dataclass(frozen=True, slots=True)
class Route:
    """The connection, or the reason there is none; `how` says in one word how it was found."""

    connection_id: int | None
    reason: Reason | None
    how: str


def route(settings: WorkspaceSettings, store_id: int | None, home_store_id: int | None) -> Route:
    """A store's own connection, else the one without a store; never another store's.

    Without a store the person's home store counts; without that the only connection, else the one without a store.
    """
    if not settings.connections:
        return Route(None, Reason.NOT_CONNECTED, "not_connected")
    for wanted, how in ((store_id, "store"), (home_store_id, "home_store")):
        if wanted is not None:
            return _of_store(settings, wanted, how)
    if len(settings.connections) == 1:
        return Route(settings.connections[0].id, None, "only_connection")
    return _without_store(settings)


def _of_store(settings: WorkspaceSettings, store_id: int, how: str) -> Route:
    for connection in settings.connections:
        if connection.store_id == store_id:
            return Route(connection.id, None, how)
    return _without_store(settings)


def _without_store(settings: WorkspaceSettings) -> Route:
    for connection in settings.connections:
        if connection.store_id is None:
            return Route(connection.id, None, "storeless")
    return Route(None, Reason.NO_ROUTE, "no_route")
