"""The fields of a person that can be shared, read from `fields.toml` and checked once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webapp.catalogue import values


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its key for the platform, its property in Klaviyo, its type (`values.TYPES`)."""

    key: str
    property: str
    type: str
    recommended: bool = False
    choices: tuple[str, ...] = ()

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, as a sentence naming the field. None (which clears) is always right."""
        wrong = None if value is None else values.problem(self.type, value, self.choices)
        return f"profile.fields.{self.key} {wrong}" if wrong else None


def _load() -> dict[str, Field]:
    raw = tomllib.loads((Path(__file__).parent / "fields.toml").read_text())
    for key, row in raw.items():
        if row["type"] not in values.TYPES:
            raise ValueError(f"fields.toml: {key} has the unknown type {row['type']}")
    return {key: Field(key, row["property"], row["type"], row["recommended"]) for key, row in raw.items()}


FIELDS: dict[str, Field] = _load()
