"""The OpenAPI 3.1 document of the ingest API, made from the catalogue and the limits that the views keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may hold."""

    activities: int
    body_bytes: int


def document(url: str, limits: Limits) -> dict[str, Any]:
    """The document; `url` is where we are reached."""
    return {"openapi": "3.1.0", "info": {"title": "Cevoid ingest API", "version": "1"}, "paths": {}, "servers": [url]}
