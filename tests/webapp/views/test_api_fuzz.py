"""The ingest API under whatever its own description allows and forbids: never a 5xx, never an undocumented answer."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.rows import Rows
from webapp.services.workspaces import ingest_keys

pytestmark = pytest.mark.long
KEY = "fuzz-ingest-key"
# Beside them schemathesis could demand that what is valid is accepted, which a store it cannot know makes untrue.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
    unsupported_method,
]


@schemathesis.serializer("application/x-ndjson")
def ndjson(context: schemathesis.SerializationContext, value: object) -> bytes:
    """A body of lines, as it is."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@pytest.fixture
def api(any_app: Flask, rows: Rows) -> schemathesis.BaseSchema:
    workspace = rows.workspace("demo")
    ingest_keys.create(workspace.id, "fuzz", None, key=KEY)
    rows.store(workspace, "se")
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", any_app)


VALID, BROKEN = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        ("POST", "/api/v1/activities", VALID),
        ("POST", "/api/v1/activities", BROKEN),
        ("GET", "/api/v1/activities/{id}", VALID),
        ("GET", "/api/v1/activities/{id}", BROKEN),
        ("PUT", "/api/v1/stores/{id}", VALID),
        ("PUT", "/api/v1/stores/{id}", BROKEN),
        ("POST", "/api/v1/erasures", VALID),
        ("POST", "/api/v1/erasures", BROKEN),
        ("GET", "/api/v1/openapi.json", VALID),
    ],
)
def test_no_answer_is_a_surprise(
    api: schemathesis.BaseSchema, method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, checks=CHECKS)

    ask()
