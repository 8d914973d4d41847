"""One module a resource; importing this package registers every endpoint."""

from sandbox.api import (
    accounts,
    events,
    events_bulk,
    events_read,
    imports,
    list_members,
    lists,
    metrics,
    profiles,
    subscriptions,
)

__all__ = [
    "accounts",
    "events",
    "events_bulk",
    "events_read",
    "imports",
    "list_members",
    "lists",
    "metrics",
    "profiles",
    "subscriptions",
]
