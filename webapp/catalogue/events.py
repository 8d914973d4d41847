"""The events, read from `events.toml` and checked once: a mistake in it stops the start with a sentence."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webapp.catalogue import values

KEY = re.compile(r"[a-z][a-z0-9_]{0,59}\Z")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}\Z")
GROUPS = {"UGC": "UGC events", "program": "Program events"}
OBJECTS = "objects"  # the table of events.toml that holds the things lists are made of
PROPERTIES = 380  # Klaviyo takes 400; ours come on top
COMMON = {  # what every event carries, before its payload
    "eventId": "The activity's id, as the platform gave it",
    "occurredAt": "When it happened",
    "storeId": "The store's id in the platform",
    "storeName": "The store's name",
}
TYPES = (*values.FIELD_TYPES, "list")


@dataclass(frozen=True, slots=True)
class PayloadField:
    """One property of an event's payload.

    `item`: what a list holds, "text" or an object's name; `parts`: that object's own properties. `first_of`: where the
    platform does not send it, it is taken from the first entry of that list: (the list's name, the entry's property).
    """

    name: str
    type: str
    nullable: bool
    sample: Any
    item: str = ""
    parts: tuple[PayloadField, ...] = ()
    first_of: tuple[str, str] | None = None

    @property
    def shown_type(self) -> str:
        """The type in words: `text`, `list of reward`."""
        return f"list of {self.item}" if self.item else self.type

    def schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        found = values.schema(self.type, nullable=self.nullable)
        if self.parts:
            found["items"] = _schema(self.parts)
        elif self.item:
            found["items"] = values.schema(self.item)
        return found

    def problem(self, where: str, value: Any) -> str | None:
        """What is wrong with a value that is there, as a sentence beginning with `where`; None where nothing is."""
        wrong = values.problem(self.type, value)
        if wrong:
            return f"{where} {wrong}"
        if not self.item:
            return None
        for index, entry in enumerate(value):
            found = self._entry_problem(f"{where}[{index}]", entry)
            if found:
                return found
        return None

    def _entry_problem(self, where: str, entry: Any) -> str | None:
        if not self.parts:
            wrong = values.problem(self.item, entry)
            return f"{where} {wrong}" if wrong else None
        if not isinstance(entry, dict):
            return f"{where} must be an object"
        return _problem(self.parts, where, entry)


def _schema(fields: tuple[PayloadField, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": {field.name: field.schema() for field in fields}}


def _problem(fields: tuple[PayloadField, ...], where: str, given: dict[str, Any]) -> str | None:
    """The first wrong one of the named properties. One that is not there is not wrong; unnamed ones pass."""
    for field in fields:
        value = given.get(field.name)
        if value is None:
            if field.name in given and not field.nullable:
                return f"{where}.{field.name} may not be null"
            continue
        found = field.problem(f"{where}.{field.name}", value)
        if found:
            return found
    return None


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the catalogue: what it is for, when it fires, what it carries."""

    key: str
    title: str
    group: str
    use: str
    fires: str
    recommended: bool
    payload: tuple[PayloadField, ...]

    @property
    def metric(self) -> str:
        """Klaviyo's metric name. It never changes: flows hang on it."""
        return f"Cevoid: {self.title}"

    def sample(self) -> dict[str, Any]:
        """A payload such as the platform posts it."""
        return {field.name: field.sample for field in self.payload}

    def schema(self) -> dict[str, Any]:
        """The payload's JSON schema: named properties are typed, none is required, others pass through."""
        return _schema(self.payload)

    def problem(self, properties: dict[str, Any]) -> str | None:
        """What is wrong with a payload, as a sentence naming the property; None where nothing is."""
        if len(properties) > PROPERTIES:
            return f"properties has more than {PROPERTIES} entries"
        return _problem(self.payload, "properties", properties)

    def completed(self, properties: dict[str, Any]) -> dict[str, Any]:
        """The payload with the flat copies of its lists' first entries: Klaviyo segments on top-level values only."""
        added: dict[str, Any] = {}
        for field in self.payload:
            if field.first_of is None or field.name in properties:
                continue
            entries = properties.get(field.first_of[0])
            value = entries[0].get(field.first_of[1]) if entries else None
            if value is not None:
                added[field.name] = value
        return {**added, **properties} if added else properties


def load(path: Path = Path(__file__).parent / "events.toml") -> dict[str, Event]:
    """The events of a file by key, in its order. Raises ValueError with a sentence naming what is wrong."""
    raw = tomllib.loads(path.read_text())
    objects = {name: _fields(name, rows, {}) for name, rows in raw.pop(OBJECTS, {}).items()}
    found = {key: _event(key, row, objects) for key, row in raw.items()}
    titles = [event.title for event in found.values()]
    for event in found.values():
        if titles.count(event.title) > 1:
            raise ValueError(f"events.toml: the title {event.title} is there twice")
    return found


def _event(key: str, row: dict[str, Any], objects: dict[str, tuple[PayloadField, ...]]) -> Event:
    if not KEY.match(key):
        raise ValueError(f"events.toml: {key} must be lower-case letters, digits and _, at most 60")
    _only(key, row, needed={"title", "group", "use", "fires", "payload"}, allowed={"recommended"})
    if row["group"] not in GROUPS:
        raise ValueError(f"events.toml: {key} has the unknown group {row['group']}")
    payload = _fields(key, row["payload"], objects)
    for field in payload:
        if field.name in COMMON:
            raise ValueError(f"events.toml: {key}.{field.name} is common to every event already")
    event = Event(
        key, row["title"], row["group"], row["use"], row["fires"], bool(row.get("recommended", False)), payload
    )
    _check_copies(event)
    wrong = event.problem(event.sample())
    if wrong:
        raise ValueError(f"events.toml: the sample of {key} is wrong: {wrong}")
    return event


def _fields(where: str, rows: dict[str, Any], objects: dict[str, tuple[PayloadField, ...]]) -> tuple[PayloadField, ...]:
    return tuple(_field(where, name, row, objects) for name, row in rows.items())


def _field(where: str, name: str, row: Any, objects: dict[str, tuple[PayloadField, ...]]) -> PayloadField:
    row = {"type": row} if isinstance(row, str) else row
    _only(f"{where}.{name}", row, needed={"type"}, allowed={"sample", "first_of"})
    if not NAME.match(name):
        raise ValueError(f"events.toml: {where}.{name} must be letters, digits and _, at most 60")
    kind, nullable = row["type"].rstrip("?"), row["type"].endswith("?")
    item = kind.removeprefix("list of ") if kind.startswith("list of ") else ""
    kind = "list" if item else kind
    known = kind in TYPES and (item in {"", "text"} or item in objects)
    if not known:
        raise ValueError(f"events.toml: {where}.{name} has the unknown type {row['type']}")
    parts = objects.get(item, ())
    sample = [{part.name: part.sample for part in parts}] if parts else None if nullable else values.sample(kind)
    first = row["first_of"].split(".", 1) if "first_of" in row else []
    copied = (first[0], first[1]) if len(first) == 2 else None
    return PayloadField(name, kind, nullable, row.get("sample", sample), item, parts, copied)


def _check_copies(event: Event) -> None:
    lists = {field.name: {part.name: part.type for part in field.parts} for field in event.payload}
    for field in event.payload:
        if field.first_of is not None and lists.get(field.first_of[0], {}).get(field.first_of[1]) != field.type:
            raise ValueError(f"events.toml: {event.key}.{field.name} copies what is not there, or of another type")


def _only(where: str, row: dict[str, Any], *, needed: set[str], allowed: set[str]) -> None:
    for name in sorted(needed - row.keys()):
        raise ValueError(f"events.toml: {where} lacks {name}")
    for name in sorted(row.keys() - needed - allowed):
        raise ValueError(f"events.toml: {where} has {name}, which means nothing")


EVENTS: dict[str, Event] = load()
