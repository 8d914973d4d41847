"""The OpenAPI 3.1 document of the ingest API, made from the catalogue and from the limits that the views keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.services.activities import openapi_schemas
from webapp.services.activities.openapi_schemas import Schema, ref

VERSION = "1.0.0"
PROBLEM = "application/problem+json"
JSON = "application/json"
NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may hold."""

    activities: int
    body_bytes: int

    @property
    def in_words(self) -> str:
        """`1,000 activities and 5 MB`."""
        return f"{self.activities:,} activities and {self.body_bytes // 1_000_000} MB"


def document(url: str, limits: Limits) -> dict[str, Any]:
    """The document; `url` is where we are reached."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cevoid ingest API",
            "version": VERSION,
            "description": "Where the platform posts what happened, and asks what became of it.",
        },
        "servers": [{"url": url}],
        "security": [{"ingestKey": []}],
        "paths": {
            "/api/v1/activities": {"post": _post_activities(limits)},
            "/api/v1/activities/{id}": {"get": _show_activity()},
            "/api/v1/stores/{id}": {"put": _put_store()},
            "/api/v1/erasures": {"post": _erase()},
            "/api/v1/openapi.json": {"get": _this()},
        },
        "components": {
            "securitySchemes": {
                "ingestKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An ingest key of the workspace: Settings, Ingest keys.",
                }
            },
            "schemas": openapi_schemas.all_of_them(),
            "responses": _problems(limits),
        },
    }


def _post_activities(limits: Limits) -> dict[str, Any]:
    examples = openapi_schemas.samples()
    lines = {
        "type": "string",
        "description": "One activity a line, each a JSON object. A broken line is rejected alone.",
    }
    call = {
        "type": "object",
        "required": ["activities"],
        "properties": {"activities": {"type": "array", "maxItems": limits.activities, "items": ref("Activity")}},
    }
    return {
        "operationId": "postActivities",
        "summary": "Post what happened",
        "description": f"Up to {limits.in_words} a call, counted after gunzip. Good ones are kept, bad ones named one "
        "by one. It is answered only after what was accepted is committed.",
        "parameters": [
            {
                "name": "Content-Encoding",
                "in": "header",
                "schema": {"enum": ["gzip", "identity"]},
                "description": "gzip where the body is packed.",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": call, "example": {"activities": list(examples.values())}},
                NDJSON: {"schema": lines},
            },
        },
        "responses": {
            "202": _answer("Accepted", "What was accepted, known already, and rejected."),
            "422": _answer("NoneAccepted", "Every activity of the call is rejected.", PROBLEM),
            **_refusals(400, 401, 413, 415, 429, 503),
        },
    }


def _show_activity() -> dict[str, Any]:
    return {
        "operationId": "showActivity",
        "summary": "What became of an activity",
        "parameters": [_path_id("The id you gave the activity.", "^[ -~]{1,200}$")],
        "responses": {
            "200": _answer("ActivityStatus", "The activity with everything owed because of it."),
            **_refusals(401, 404, 503),
        },
    }


def _put_store() -> dict[str, Any]:
    return {
        "operationId": "putStore",
        "summary": "Add a store, or rename it",
        "parameters": [_path_id("The store's id in your activities. It never changes.", "^.{1,200}$")],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref("StoreName"), "example": {"name": "acme.se"}}},
        },
        "responses": {
            "200": _answer("Store", "It was there; this is its name now."),
            "201": _answer("Store", "It is added."),
            **_refusals(400, 401, 413, 415, 422, 503),
        },
    }


def _erase() -> dict[str, Any]:
    return {
        "operationId": "erasePerson",
        "summary": "Erase a person",
        "description": "Blanks the person and every payload of theirs; ids, times and statuses stay. "
        "Doing it again, or for somebody unknown, is no error.",
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref("Erasure"), "example": {"email": "ada@example.com"}}},
        },
        "responses": {
            "200": _answer("Erased", "What was blanked and stopped."),
            **_refusals(400, 401, 413, 415, 422, 503),
        },
    }


def _this() -> dict[str, Any]:
    answer = {"description": "This document.", "content": {JSON: {"schema": {"type": "object"}}}}
    return {
        "operationId": "showDescription",
        "summary": "This description",
        "security": [],
        "responses": {"200": answer},
    }


def _path_id(description: str, pattern: str) -> dict[str, Any]:
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": pattern},
        "description": f"{description} URL-encoded.",
    }


def _answer(schema: str, description: str, media_type: str = JSON) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": ref(schema)}}}


def _refusals(*codes: int) -> dict[str, Schema]:
    return {str(code): {"$ref": f"#/components/responses/{code}"} for code in codes}


def _problems(limits: Limits) -> dict[str, Any]:
    retry = {"Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "string"}}}
    challenge = {"WWW-Authenticate": {"description": "Bearer.", "required": True, "schema": {"type": "string"}}}
    sentences: dict[int, tuple[str, dict[str, Any]]] = {
        400: ("The body is not JSON, not gzip though it says so, or has no list of activities.", {}),
        401: ("The ingest key is missing, unknown or revoked.", challenge),
        404: ("The workspace has no activity with this id.", {}),
        413: (f"More than {limits.in_words}.", {}),
        415: ("Content-Encoding is neither gzip nor identity.", {}),
        422: ("A value is missing or cannot be taken; the sentence names it.", {}),
        429: ("Too fast. Send the same again after the time given.", retry),
        503: ("Our database is away. Nothing was taken; send the same again after the time given.", retry),
    }
    return {
        str(code): {**_answer("Problem", sentence, PROBLEM), **({"headers": headers} if headers else {})}
        for code, (sentence, headers) in sentences.items()
    }
