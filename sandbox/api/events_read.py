"""GET /api/events: reading back what was recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from sandbox import filters
from sandbox.answers import event_id, iso, page, resource, words
from sandbox.api import metrics, profiles
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import invalid
from sandbox.limits import XL
from sandbox.state.account import Account

_FILTERS = {
    "metric_id": ("equals",),
    "profile_id": ("equals",),
    "profile": ("has",),
    "metric": ("has",),
    "datetime": filters.COMPARED,
    "timestamp": filters.COMPARED,
}


def _shown(call: Call, number: int) -> dict[str, Any]:
    account = call.account
    log = account.events
    details, at = log.details(number), log.times[number]
    properties = orjson.loads(details.properties)
    properties["$event_id"] = details.unique_id
    if details.value is not None:
        properties["$value"] = details.value
    identifier = event_id(account, number)
    attributes = {"timestamp": at, "event_properties": properties, "datetime": iso(at), "uuid": identifier}
    relationships = {
        "profile": {"data": {"type": "profile", "id": account.profile_ids[log.people[number]]}},
        "metric": {"data": {"type": "metric", "id": account.metric_ids[log.metrics[number]]}},
        "attributions": {"data": []},
    }
    found = resource(call, "event", identifier, attributes, relationships)
    found["relationships"] = relationships
    return found


def _found(account: Account, clauses: list[filters.Clause]) -> list[int]:
    """The numbers of the events that fit, in the order recorded."""
    log = account.events
    numbers: Iterable[int] = range(len(log))
    for clause in clauses:
        if clause.field == "profile_id":
            profile = account.profiles.get(str(clause.values[0]))
            numbers = reversed(list(log.of_person(profile.number))) if profile else ()
    for clause in clauses:
        if clause.field == "metric_id":
            metric = account.metrics.get(str(clause.values[0]))
            numbers = [number for number in numbers if metric and log.metrics[number] == metric.number]
        elif clause.operator in filters.COMPARED:
            holds = filters.comparison(clause)
            numbers = [number for number in numbers if holds(log.times[number])]
    return list(numbers)


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
    numbers = _found(call.account, clauses)
    numbers.sort(key=call.account.events.times.__getitem__, reverse=sort.startswith("-"))
    answer = page(call, numbers, lambda number: _shown(call, number), standard=200, most=1000)
    if include:
        answer["included"] = _included(call, answer["data"], include)
    return Reply(200, answer)
