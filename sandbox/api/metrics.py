"""Metrics: made by their first event, read here."""

from __future__ import annotations

from typing import Any

from sandbox import filters
from sandbox.answers import iso, page, resource
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import not_found
from sandbox.limits import M
from sandbox.state.records import Metric

_FILTERS = {"integration.name": ("equals",), "integration.category": ("equals",)}


def shown(call: Call, metric: Metric) -> dict[str, Any]:
    """A metric as a resource, branded with the app."""
    attributes = {
        "name": metric.name,
        "created": iso(metric.created),
        "updated": iso(metric.updated),
        "integration": {
            "object": "integration",
            "id": "0sandbx",
            "key": "sandbox-app",
            "name": call.world.options.app_name,
            "category": "Custom",
        },
    }
    return resource(call, "metric", metric.id, attributes)


@endpoint("GET /api/metrics", "metrics:read", M)
async def get_metrics(call: Call) -> Reply:
    """A page of up to 200 metrics."""
    clauses = filters.parse(call.request.query.get("filter"), _FILTERS)
    named = all(
        clause.field == "integration.name" and clause.values == [call.world.options.app_name] for clause in clauses
    )
    rows = list(call.account.metrics.values()) if named else []
    return Reply(200, page(call, rows, lambda row: shown(call, row), standard=200, most=200))


@endpoint("GET /api/metrics/{id}", "metrics:read", M)
async def get_metric(call: Call) -> Reply:
    """One metric."""
    metric = call.account.metrics.get(call.part("id"))
    if metric is None:
        raise not_found("metric", call.part("id"))
    return Reply(200, {"data": shown(call, metric)})
