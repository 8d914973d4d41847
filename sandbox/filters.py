"""Klaviyo's filter language: `any(email,["a","b"]),greater-than(created,2026-01-01T00:00:00Z)`; commas mean AND."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sandbox.errors import Refused, invalid
from sandbox.shapes import parse_time

_HEAD = re.compile(r"\s*([a-z-]+)\(\s*([\w.$]+)\s*(,)?\s*")
_BARE = re.compile(r"[^,()\"\[\]]+")
_MOST_VALUES = 100
COMPARED = ("greater-than", "greater-or-equal", "less-than", "less-or-equal")


class Clause(NamedTuple):
    """One condition: `values` has one entry but for `any`."""

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
        if not rest.startswith(")"):
            raise _refused("expected )")
        rest = rest[1:].lstrip()
        clauses.append(Clause(operator, field, _values(operator, value)))
        if rest:
            if not rest.startswith(","):
                raise _refused("expected a comma between clauses")
            rest = rest[1:].lstrip()
    return clauses


def _value(text: str) -> tuple[Any, str]:
    if text[:1] in {'"', "["}:
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError as error:
            raise _refused("the value is not valid") from error
        return value, text[end:].lstrip()
    bare = _BARE.match(text)
    if bare is None:
        raise _refused("a value is missing")
    return bare.group().strip(), text[bare.end() :]


def _values(operator: str, value: Any) -> list[Any]:
    if operator == "any":
        if not isinstance(value, list) or not 1 <= len(value) <= _MOST_VALUES:
            raise _refused(f"any takes a list of 1 to {_MOST_VALUES} values")
        return value
    if isinstance(value, list):
        raise _refused(f"{operator} takes one value")
    return [value]


def moment(clause: Clause) -> float:
    """A clause's value as epoch seconds. Raises Refused (400)."""
    text = str(clause.values[0])
    try:
        return parse_time(text).timestamp() if not text.isdigit() else float(text)
    except ValueError as error:
        raise _refused(f"{text!r} is not a time") from error


def compares(clause: Clause, held: float) -> bool:
    """Whether a time holds against a comparing clause."""
    bound = moment(clause)
    match clause.operator:
        case "greater-than":
            return held > bound
        case "greater-or-equal":
            return held >= bound
        case "less-than":
            return held < bound
        case _:
            return held <= bound
