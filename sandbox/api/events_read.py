"""GET /api/events: reading back what was recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from sandbox import filters
from sandbox.answers import iso, page, resource, words
from sandbox.api import metrics, profiles
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import invalid
from sandbox.limits import XL
from sandbox.state.records import Event

_FILTERS = {
    "metric_id": ("equals",),
    "profile_id": ("equals",),
    "profile": ("has",),
    "metric": ("has",),
    "datetime": filters.COMPARED,
    "timestamp": filters.COMPARED,
}


def _shown(call: Call, event: Event) -> dict[str, Any]:
    properties = orjson.loads(event.properties)
    properties["$event_id"] = event.unique_id
    if event.value is not None:
        properties["$value"] = event.value
    attributes = {
        "timestamp": event.time,
        "event_properties": properties,
        "datetime": iso(event.time),
        "uuid": event.id,
    }
    relationships = {
        "profile": {"data": {"type": "profile", "id": event.profile_id}},
        "metric": {"data": {"type": "metric", "id": event.metric_id}},
        "attributions": {"data": []},
    }
    found = resource(call, "event", event.id, attributes, relationships)
    found["relationships"] = relationships
    return found


def _found(call: Call, clauses: list[filters.Clause]) -> list[Event]:
    account = call.account
    rows: Iterable[Event] = account.events
    for clause in clauses:
        if clause.field == "profile_id":
            rows = account.events_of.get(str(clause.values[0]), [])
    for clause in clauses:
        if clause.field in {"metric_id", "profile_id"}:
            rows = [row for row in rows if getattr(row, clause.field) == clause.values[0]]
        elif clause.operator in filters.COMPARED:
            rows = [row for row in rows if filters.compares(clause, row.time)]
    return list(rows)


def _included(call: Call, shown: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    account = call.account
    found: dict[str, dict[str, Any]] = {}
    for row in shown:
        profile = account.profiles.get(row["relationships"]["profile"]["data"]["id"])
        metric = account.metrics[row["relationships"]["metric"]["data"]["id"]]
        if "profile" in names and profile is not None:
            found[profile.id] = profiles.shown(call, profile, [])
        if "metric" in names:
            found[metric.id] = metrics.shown(call, metric)
    return list(found.values())


@endpoint("GET /api/events", "events:read", XL)
async def get_events(call: Call) -> Reply:
    """A page of events, the newest first unless asked otherwise."""
    clauses = filters.parse(call.request.query.get("filter"), _FILTERS)
    include = words(call, "include", ("attributions", "metric", "profile"))
    sort = call.request.query.get("sort", "-datetime")
    if sort.removeprefix("-") not in {"datetime", "timestamp"}:
        raise invalid(f"Cannot sort by {sort!r}.", parameter="sort")
    rows = sorted(_found(call, clauses), key=lambda row: row.time, reverse=sort.startswith("-"))
    answer = page(call, rows, lambda row: _shown(call, row), standard=200, most=1000)
    if include:
        answer["included"] = _included(call, answer["data"], include)
    return Reply(200, answer)
