"""The description of the ingest API: valid itself, and saying the same as the API does."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest
from flask import Flask
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from webapp.catalogue.events import EVENTS
from webapp.catalogue.fields import FIELDS
from webapp.views import api

# As the contract has them; the elided time is any.
SAMPLES: list[dict[str, Any]] = [
    {
        "id": "a-1",
        "type": "event",
        "event": "member_joined_program",
        "store": "se",
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": "ada@example.com", "first_name": "Ada", "fields": {"points": 120, "tier_name": "Gold"}},
        "properties": {"shortId": "123456"},
    },
    {
        "id": "a-2",
        "type": "profile",
        "store": "se",
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": "ada@example.com", "fields": {"points": 150}},
    },
    {
        "id": "a-3",
        "type": "consent",
        "store": "se",
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": "ada@example.com"},
        "consent": {
            "channel": "email",
            "state": "subscribed",
            "source": "program_join",
            "collected_by": "checkbox",
        },
    },
]


@pytest.fixture
def described(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    found: dict[str, Any] = answer.get_json()
    return found


def validator(described: dict[str, Any], name: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for path, methods in described["paths"].items():
        found.update({f"{method.upper()} {path}": operation for method, operation in methods.items()})
    return found


def test_it_is_an_openapi_3_1_document(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1")
    assert [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(described)] == []
    for name, schema in described["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid(schema), name
        validator(described, name)  # every reference leads somewhere


def test_it_describes_every_route_of_the_api(app: Flask, described: dict[str, Any]) -> None:
    routes = set()
    for rule in app.url_map.iter_rules():
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/"):
            routes |= {f"{method} {re.sub(r'<[^>]+>', '{id}', rule.rule)}" for method in methods}
    assert set(operations(described)) == routes


def test_every_answer_of_the_contract_is_there(described: dict[str, Any]) -> None:
    found = operations(described)
    post = found["POST /api/v1/activities"]["responses"]
    assert {"202", "400", "401", "413", "422", "429", "503"} <= set(post)
    responses = described["components"]["responses"]
    for name, operation in found.items():
        for code, answer in operation["responses"].items():
            content = responses[code]["content"] if "$ref" in answer else answer["content"]
            wanted = "application/json" if code < "400" else "application/problem+json"
            assert set(content) == {wanted}, f"{name} {code}"
    assert "Retry-After" in responses["429"]["headers"]
    assert "Retry-After" in responses["503"]["headers"]
    assert found["GET /api/v1/openapi.json"]["security"] == []


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["type"])
def test_the_contracts_samples_are_valid_by_it(described: dict[str, Any], sample: dict[str, Any]) -> None:
    validator(described, "Activity").validate(sample)


def test_its_own_examples_are_valid_by_it(described: dict[str, Any]) -> None:
    content = operations(described)["POST /api/v1/activities"]["requestBody"]["content"]["application/json"]
    assert len(content["example"]["activities"]) == 3
    for activity in content["example"]["activities"]:
        validator(described, "Activity").validate(activity)


def test_it_comes_from_the_catalogue(described: dict[str, Any]) -> None:
    check = validator(described, "Activity")
    for event in EVENTS.values():
        check.validate({**SAMPLES[0], "event": event.key, "properties": event.sample()})
    assert not check.is_valid({**SAMPLES[0], "event": "unheard_of"})
    fields = described["components"]["schemas"]["Profile"]["properties"]["fields"]["properties"]
    assert list(fields) == sorted(FIELDS)
    call = operations(described)["POST /api/v1/activities"]["requestBody"]["content"]["application/json"]["schema"]
    assert call["properties"]["activities"]["maxItems"] == api.ACTIVITIES


@pytest.mark.parametrize(
    "changed",
    [
        {"id": ""},
        {"id": "ä"},
        {"id": "x" * 201},
        {"type": "order"},
        {"occurred_at": "2026-11-23T10:00:00"},
        {"occurred_at": None},
        {"profile": {"email": f"{'a' * 95}@example.com"}},
        {"profile": {"fields": {"points": "many"}}},
        {"properties": {"shortId": 5}},
        {"properties": []},
        {"type": "consent", "consent": {"channel": "email", "state": "subscribed"}},
        {"type": "consent", "consent": {"channel": "sms", "state": "unsubscribed"}},
        {"type": "consent"},
    ],
)
def test_what_the_api_refuses_is_invalid_by_it(described: dict[str, Any], changed: dict[str, Any]) -> None:
    assert not validator(described, "Activity").is_valid({**SAMPLES[0], **changed})


def test_a_withdrawal_needs_no_collected_by(described: dict[str, Any]) -> None:
    withdrawal = {**SAMPLES[2], "consent": {"channel": "email", "state": "unsubscribed"}}
    validator(described, "Activity").validate(withdrawal)
