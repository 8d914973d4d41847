"""The events, read from `events.toml` and checked once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webapp.catalogue import values

SAMPLES: dict[str, Any] = {
    "text": "example",
    "number": 120,
    "boolean": True,
    "url": "https://example.com/picture.jpg",
    "datetime": "2026-11-23T10:00:00Z",
    "date": "2026-11-23",
    "list": [],
}
PROPERTIES = 380  # Klaviyo takes 400; ours come on top


@dataclass(frozen=True, slots=True)
class PayloadField:
    """One property of an event's payload."""

    name: str
    type: str
    nullable: bool


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the catalogue."""

    key: str
    title: str
    group: str
    fires: str
    recommended: bool
    payload: tuple[PayloadField, ...]

    @property
    def metric(self) -> str:
        """Klaviyo's metric name. It never changes: flows hang on it."""
        return f"Cevoid: {self.title}"

    def sample(self) -> dict[str, Any]:
        """A payload such as the platform posts it."""
        return {field.name: SAMPLES[field.type] for field in self.payload}

    def problem(self, properties: dict[str, Any]) -> str | None:
        """What is wrong with a payload, as a sentence naming the property; None where nothing is."""
        if len(properties) > PROPERTIES:
            return f"properties has more than {PROPERTIES} entries"
        for field in self.payload:
            value = properties.get(field.name)
            if value is None:
                if field.name in properties and not field.nullable:
                    return f"properties.{field.name} may not be null"
                continue
            wrong = values.problem(field.type, value)
            if wrong:
                return f"properties.{field.name} {wrong}"
        return None


def _load() -> dict[str, Event]:
    raw = tomllib.loads((Path(__file__).parent / "events.toml").read_text())
    return {key: _event(key, row) for key, row in raw.items()}


def _event(key: str, row: dict[str, Any]) -> Event:
    payload = []
    for name, kind in row["payload"].items():
        if kind.rstrip("?") not in values.TYPES:
            raise ValueError(f"events.toml: {key}.{name} has the unknown type {kind}")
        payload.append(PayloadField(name, kind.rstrip("?"), kind.endswith("?")))
    recommended = bool(row.get("recommended", False))
    return Event(key, row["title"], row["group"], row["fires"], recommended, tuple(payload))


EVENTS: dict[str, Event] = _load()
