"""The fields of a person that can be shared, read from `fields.toml` and checked once."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webapp.catalogue import values

KEY = re.compile(r"[a-z][a-z0-9_]{0,59}\Z")
PARTS = {"property", "type", "recommended", "sample", "about"}
PREFIX = "Cevoid: "  # of every custom property's name in Klaviyo


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its key for the platform, its property in Klaviyo, its type (`values.TYPES`).

    A retired one, which only custom properties can be, is still accepted and never shared.
    """

    key: str
    property: str
    type: str
    recommended: bool = False
    choices: tuple[str, ...] = ()
    about: str = ""
    example: Any = None
    custom_id: int | None = None
    retired: bool = False

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, as a sentence naming the field. None (which clears) is always right."""
        wrong = None if value is None else values.problem(self.type, value, self.choices)
        return f"profile.fields.{self.key} {wrong}" if wrong else None

    def sample(self) -> Any:
        """A value such as the platform posts it."""
        return values.sample(self.type, self.choices) if self.example is None else self.example

    def schema(self) -> dict[str, Any]:
        """Its JSON schema; null clears."""
        return values.schema(self.type, self.choices, nullable=True)


def load(path: Path = Path(__file__).parent / "fields.toml") -> dict[str, Field]:
    """The fields of a file by key, in its order. Raises ValueError with a sentence naming what is wrong."""
    found = {key: _field(key, row) for key, row in tomllib.loads(path.read_text()).items()}
    names = [field.property for field in found.values()]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"fields.toml: the property {name} is there twice")
    return found


def _field(key: str, row: dict[str, Any]) -> Field:
    if not KEY.match(key):
        raise ValueError(f"fields.toml: {key} must be lower-case letters, digits and _, at most 60")
    if row.keys() != PARTS:
        raise ValueError(f"fields.toml: {key} must have {', '.join(sorted(PARTS))}, and nothing else")
    if row["type"] not in values.FIELD_TYPES:
        raise ValueError(f"fields.toml: {key} has the unknown type {row['type']}")
    field = Field(key, row["property"], row["type"], row["recommended"], about=row["about"], example=row["sample"])
    wrong = field.problem(row["sample"])
    if wrong:
        raise ValueError(f"fields.toml: the sample is wrong: {wrong}")
    return field


FIELDS: dict[str, Field] = load()
