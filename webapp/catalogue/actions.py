"""What stands in the audit log, in plain words, read from `actions.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from webapp.catalogue.events import EVENTS
from webapp.catalogue.fields import FIELDS

_raw = tomllib.loads((Path(__file__).parent / "actions.toml").read_text())
ACTIONS: dict[str, str] = dict(_raw["actions"])
KEYS: dict[str, str] = dict(_raw["keys"])
HIDDEN: frozenset[str] = frozenset(_raw["hidden"]["keys"])
VALUES: dict[str, str] = dict(_raw["values"])
LISTS: dict[str, tuple[str, str]] = {key: (words[0], words[1]) for key, words in _raw["lists"].items()}


def in_words(action: str) -> str:
    """An action's sentence; for one without, its own words: `task.stopped` is `Task stopped`."""
    return ACTIONS.get(action) or _plain(action)


def changes(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    """One line for each thing that is different: `Role: from owner to support`. What stayed is left out."""
    old, new = before or {}, after or {}
    lines = []
    for key in [*new, *(key for key in old if key not in new)]:
        if key in HIDDEN:
            continue
        name = KEYS.get(key) or _plain(key)
        if key not in old:
            lines += [f"{name}: {value_in_words(new[key])}"]
        elif key not in new:
            lines += [f"{name} was: {value_in_words(old[key])}"]
        elif old[key] != new[key]:
            came_and_went = LISTS.get(key) or (f"{name}, added", f"{name}, removed")
            lines += _difference(name, came_and_went, old[key], new[key])
    return lines


def _difference(name: str, came_and_went: tuple[str, str], old: Any, new: Any) -> list[str]:
    if not (isinstance(old, list) and isinstance(new, list)):
        return [f"{name}: from {value_in_words(old)} to {value_in_words(new)}"]
    came, went = [value for value in new if value not in old], [value for value in old if value not in new]
    pairs = zip(came_and_went, (came, went), strict=True)
    return [f"{words}: {value_in_words(values)}" for words, values in pairs if values]


def value_in_words(value: Any) -> str:
    """A value for people: `yes`, `none`, an event's title, a list with commas."""
    match value:
        case None | "" | []:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(value_in_words(entry) for entry in value)
        case dict():
            return ", ".join(f"{_plain(str(key))} {value_in_words(entry)}" for key, entry in value.items())
    text = str(value)
    if text in EVENTS:
        return EVENTS[text].title
    return FIELDS[text].property if text in FIELDS else VALUES.get(text, text)


def _plain(word: str) -> str:
    return word.replace("_", " ").replace(".", " ").capitalize()
