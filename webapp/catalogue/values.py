"""Whether a value has the type the catalogue says. Pure."""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

TYPES = ("text", "number", "boolean", "url", "date", "datetime", "list", "choice", "choices")
TEXT_BYTES = 100_000


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
            date.fromisoformat(value)
        else:
            datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return {"url": "must be a web address", "date": "must be a date such as 1990-12-31"}.get(
            kind, "must be an ISO 8601 time"
        )
    return None
