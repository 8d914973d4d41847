"""Klaviyo's filter language: `any(email,["a","b"]),greater-than(created,2026-01-01T00:00:00Z)`; commas mean AND."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

from sandbox.errors import Refused, invalid
from sandbox.shapes import parse_time

_HEAD = re.compile(r"\s*([a-z-]+)\(\s*([\w.$]+)\s*(,)?\s*")
_BARE = re.compile(r"[^,()\"'\[\]]+")
_SINGLE_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'")
_ESCAPED = re.compile(r"\\(.)")
_MOST_VALUES = 100
COMPARED = ("greater-than", "greater-or-equal", "less-than", "less-or-equal")


class Clause(NamedTuple):
    """One condition. `values` has one entry where a single value was given, none after `has`."""

    operator: str
    field: str
    values: list[Any]


def _refused(why: str) -> Refused:
    return invalid(f"Invalid filter provided: {why}.", parameter="filter")


def parse(text: str | None, allowed: Mapping[str, tuple[str, ...]]) -> list[Clause]:
    """The clauses of a filter. Raises Refused (400) for bad syntax or what `allowed` (field: operators) lacks."""
    clauses: list[Clause] = []
    rest = (text or "").strip()
    while rest:
        head = _HEAD.match(rest)
        if head is None:
            raise _refused("expected operator(field,value)")
        operator, field, has_value = head.groups()
        if operator not in allowed.get(field, ()):
            raise _refused(f"{field!r} does not support {operator!r}")
        value, rest = _value(rest[head.end() :]) if has_value else (None, rest[head.end() :])
        if has_value is None and operator != "has":
            raise _refused(f"{operator} needs a value")
        if not rest.startswith(")"):
            raise _refused("expected )")
        rest = rest[1:].lstrip()
        clauses.append(Clause(operator, field, _values(operator, value) if has_value else []))
        if rest:
            if not rest.startswith(","):
                raise _refused("expected a comma between clauses")
            rest = rest[1:].lstrip()
    return clauses


def _value(text: str) -> tuple[Any, str]:
    """The value at the start of a text, and what follows. Strings and lists of them, in single quotes too, or bare."""
    if text[:1] in {'"', "["}:
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            if not text.startswith("["):
                raise _refused("the value is not valid") from None
        else:
            return value, text[end:].lstrip()
    if text.startswith("["):
        return _single_quoted_list(text[1:].lstrip())
    found = _SINGLE_QUOTED.match(text)
    if found is not None:
        return _ESCAPED.sub(r"\1", found.group(1)), text[found.end() :].lstrip()
    bare = _BARE.match(text)
    if bare is None:
        raise _refused("a value is missing or not closed")
    return bare.group().strip(), text[bare.end() :]


def _single_quoted_list(rest: str) -> tuple[list[str], str]:
    values = []
    while not rest.startswith("]"):
        found = _SINGLE_QUOTED.match(rest)
        if found is None:
            raise _refused("the list is not valid")
        values.append(_ESCAPED.sub(r"\1", found.group(1)))
        rest = rest[found.end() :].lstrip()
        if not rest.startswith((",", "]")):
            raise _refused("expected , or ] in the list")
        rest = rest.removeprefix(",").lstrip()
    return values, rest[1:].lstrip()


def _values(operator: str, value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if operator == "any" and not isinstance(value, list):
        raise _refused("any takes a list")
    if operator in COMPARED and isinstance(value, list):
        raise _refused(f"{operator} takes one value")
    if not all(isinstance(each, str | int | float) for each in values):
        raise _refused("a value must be a string or a number")
    if not 1 <= len(values) <= _MOST_VALUES:
        raise _refused(f"a list has 1 to {_MOST_VALUES} values")
    return values


def moment(clause: Clause) -> float:
    """A clause's value as epoch seconds. Raises Refused (400)."""
    text = str(clause.values[0])
    try:
        return parse_time(text).timestamp() if not text.isdigit() else float(text)
    except ValueError as error:
        raise _refused(f"{text!r} is not a time") from error


def comparison(clause: Clause) -> Callable[[float], bool]:
    """The test of a time (epoch seconds) that a comparing clause makes."""
    bound = moment(clause)
    compare = {"greater-than": gt, "greater-or-equal": ge, "less-than": lt, "less-or-equal": le}[clause.operator]
    return lambda held: bool(compare(held, bound))
