"""The types of the catalogue: whether a value has one, a sample of one, its JSON schema. Pure."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

FIELD_TYPES = ("text", "number", "boolean", "url", "date", "datetime")
CUSTOM_TYPES = {  # what a workspace may give its own properties, in words
    "text": "Text",
    "number": "Number",
    "boolean": "Yes or no",
    "date": "Date",
    "choice": "One choice",
    "choices": "Several choices",
}
TYPES = (*FIELD_TYPES, "list", "choice", "choices")
TEXT_BYTES = 100_000
DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)  # fromisoformat takes weeks too, which Klaviyo does not
_SAMPLES: dict[str, Any] = {
    "text": "example",
    "number": 120,
    "boolean": True,
    "url": "https://media.example.com/picture.jpg",
    "date": "1990-12-31",
    "datetime": "2026-11-23T10:00:00Z",
    "list": [],
}
_SCHEMAS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "url": {"type": "string", "format": "uri"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "list": {"type": "array", "maxItems": 4000},
}


def sample(kind: str, choices: tuple[str, ...] = ()) -> Any:
    """A value of a `kind` of TYPES."""
    if kind == "choices":
        return list(choices[:2])
    return choices[0] if kind == "choice" else _SAMPLES[kind]


def schema(kind: str, choices: tuple[str, ...] = (), *, nullable: bool = False) -> dict[str, Any]:
    """The JSON schema of a `kind` of TYPES."""
    if kind == "choices":
        return {"type": ["array", "null"] if nullable else "array", "items": {"enum": list(choices)}}
    if kind == "choice":
        return {"enum": [*choices, None] if nullable else list(choices)}
    found = dict(_SCHEMAS[kind])
    return {**found, "type": [found["type"], "null"]} if nullable else found


def problem(kind: str, value: Any, choices: tuple[str, ...] = ()) -> str | None:
    """What is wrong with `value` as a `kind` of TYPES, as the end of a sentence; None where nothing is."""
    match kind:
        case "number":
            return None if _is_number(value) else "must be a finite number"
        case "boolean":
            return None if isinstance(value, bool) else "must be true or false"
        case "list":
            return None if isinstance(value, list) and len(value) <= 4000 else "must be a list of up to 4,000"
        case "choices":
            fine = isinstance(value, list) and all(entry in choices for entry in value)
            return None if fine else f"must be a list out of: {', '.join(choices)}"
        case "choice":
            return None if isinstance(value, str) and value in choices else f"must be one of: {', '.join(choices)}"
    if not isinstance(value, str) or len(value.encode("utf-8", "replace")) > TEXT_BYTES or "\x00" in value:
        return "must be text of up to 100 KB without NUL"
    return None if kind == "text" else _text_problem(kind, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text_problem(kind: str, value: str) -> str | None:
    try:
        if kind == "url":
            parts = urlsplit(value)
            return None if parts.scheme in {"http", "https"} and parts.netloc else "must be a web address"
        if kind == "date":
            if not DAY.match(value):
                raise ValueError(value)
            date.fromisoformat(value)
        else:
            datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return {"url": "must be a web address", "date": "must be a date such as 1990-12-31"}.get(
            kind, "must be an ISO 8601 time"
        )
    return None
