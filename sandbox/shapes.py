"""A small language for the shape of request bodies; every breach is found and pointed at.

A shape is a function (value, pointer, problems) that adds to `problems`. None passes everywhere it is not required.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sandbox.errors import Problem

Shape = Callable[[Any, str, list[Problem]], None]

MAX_PROPERTIES = 400
MAX_ITEMS = 4000
MAX_DEPTH = 10
MAX_STRING = 100 * 1024
EMAIL = re.compile(
    r"[^\s@\"(),:;<>\[\]\\]+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]"
)
PHONE = re.compile(r"\+[1-9]\d{6,14}")


def is_email(text: str) -> bool:
    """Whether Klaviyo takes this as an address."""
    text = text.strip()
    return len(text) <= 100 and EMAIL.fullmatch(text) is not None and ".." not in text


def parse_time(text: str) -> datetime:
    """An ISO 8601 time; without a zone it is UTC. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def any_value(value: Any, pointer: str, problems: list[Problem]) -> None:
    """Anything goes."""


def text(longest: int = MAX_STRING, shortest: int = 0) -> Shape:
    """A string of so many characters."""

    def check(value: Any, pointer: str, problems: list[Problem]) -> None:
        if not isinstance(value, str):
            problems.append(Problem("Must be a string.", pointer))
        elif not shortest <= len(value) <= longest:
            problems.append(Problem(f"Must have {shortest} to {longest} characters.", pointer))

    return check


def email(value: Any, pointer: str, problems: list[Problem]) -> None:
    """An e-mail address."""
    if not isinstance(value, str) or not is_email(value):
        problems.append(Problem("Invalid email address", pointer))


def phone(value: Any, pointer: str, problems: list[Problem]) -> None:
    """An E.164 number."""
    if not isinstance(value, str) or not PHONE.fullmatch(value):
        problems.append(Problem("Invalid phone number format (must be E.164).", pointer))


def number(value: Any, pointer: str, problems: list[Problem]) -> None:
    """A number, no truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        problems.append(Problem("Must be a number.", pointer))


def number_or_text(value: Any, pointer: str, problems: list[Problem]) -> None:
    """A number or a string, as coordinates may be."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        problems.append(Problem("Must be a string or a number.", pointer))


def boolean(value: Any, pointer: str, problems: list[Problem]) -> None:
    """True or false."""
    if not isinstance(value, bool):
        problems.append(Problem("Must be a boolean.", pointer))


def timestamp(value: Any, pointer: str, problems: list[Problem]) -> None:
    """An ISO 8601 time."""
    try:
        parse_time(value)
    except (TypeError, ValueError):
        problems.append(Problem("Must be an ISO 8601 date and time.", pointer))


def one_of(*allowed: str) -> Shape:
    """One of these words."""

    def check(value: Any, pointer: str, problems: list[Problem]) -> None:
        if value not in allowed:
            problems.append(Problem(f"Must be one of: {', '.join(allowed)}.", pointer))

    return check


def text_or_texts(value: Any, pointer: str, problems: list[Problem]) -> None:
    """A string or a list of strings."""
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        problems.append(Problem("Must be a string or a list of strings.", pointer))


def obj(fields: dict[str, Shape], required: tuple[str, ...] = ()) -> Shape:
    """An object with these fields and no others; `required` ones may not be null."""

    def check(value: Any, pointer: str, problems: list[Problem]) -> None:
        if not isinstance(value, dict):
            problems.append(Problem("Must be an object.", pointer))
            return
        problems.extend(
            Problem(f"The {name!r} field is required.", f"{pointer}/{name}")
            for name in required
            if value.get(name) is None
        )
        for name, held in value.items():
            shape = fields.get(name)
            if shape is None:
                problems.append(Problem(f"{name!r} is not a valid field.", f"{pointer}/{name}"))
            elif held is not None:
                shape(held, f"{pointer}/{name}", problems)

    return check


def items(shape: Shape, most: int, *, least: int = 1) -> Shape:
    """A list of so many of these."""

    def check(value: Any, pointer: str, problems: list[Problem]) -> None:
        if not isinstance(value, list):
            problems.append(Problem("Must be a list.", pointer))
        elif not least <= len(value) <= most:
            problems.append(Problem(f"Must have {least} to {most} items, not {len(value)}.", pointer))
        else:
            for place, item in enumerate(value):
                shape(item, f"{pointer}/{place}", problems)

    return check


def properties(value: Any, pointer: str, problems: list[Problem]) -> None:
    """A free object within the limits on properties, nesting, list length and strings."""
    if not isinstance(value, dict):
        problems.append(Problem("Must be an object.", pointer))
        return
    if len(value) > MAX_PROPERTIES:
        problems.append(Problem(f"At most {MAX_PROPERTIES} properties.", pointer))
    _free(value, pointer, problems, 1)


def _free(value: Any, pointer: str, problems: list[Problem], depth: int) -> None:
    if isinstance(value, str):
        if len(value.encode()) > MAX_STRING:
            problems.append(Problem("A string is longer than 100 KB.", pointer))
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            problems.append(Problem(f"Nested more than {MAX_DEPTH} levels deep.", pointer))
            return
        if isinstance(value, list) and len(value) > MAX_ITEMS:
            problems.append(Problem(f"A list of more than {MAX_ITEMS} items.", pointer))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            _free(item, f"{pointer}/{key}", problems, depth + 1)
