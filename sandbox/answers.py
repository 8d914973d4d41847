"""The JSON:API side of answers: pages, sparse fields, times."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit

from sandbox.endpoints import Call
from sandbox.errors import invalid

T = TypeVar("T")
_ON_REQUEST = frozenset({"id", "joined_group_at", "predictive_analytics", "profile_count", "subscriptions"})


def iso(epoch: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC."""
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC).isoformat()


def words(call: Call, parameter: str, allowed: Sequence[str] = ()) -> list[str]:
    """A comma-separated query parameter. Raises Refused (400) for a word that is not `allowed`."""
    found = [word for word in call.request.query.get(parameter, "").split(",") if word]
    for word in found:
        if allowed and word not in allowed:
            raise invalid(f"{word!r} is not a valid value; use one of {', '.join(allowed)}.", parameter=parameter)
    return found


def page_size(call: Call, standard: int, most: int) -> int:
    """The asked page size. Raises Refused (400) beyond the most."""
    asked = call.request.query.get("page[size]", str(standard))
    if not asked.isdigit() or not 1 <= int(asked) <= most:
        raise invalid(f"Page size must be an integer between 1 and {most}.", parameter="page[size]")
    return int(asked)


def _offset(call: Call) -> int:
    cursor = call.request.query.get("page[cursor]")
    if not cursor:
        return 0
    if "://" in cursor:
        # The official SDK takes whole links but finds the cursor only in those that begin with https.
        cursor = parse_qs(urlsplit(cursor).query).get("page[cursor]", [""])[0]
    try:
        return int(base64.urlsafe_b64decode(cursor).decode().removeprefix("next::"))
    except ValueError as error:
        raise invalid("Invalid page cursor.", parameter="page[cursor]") from error


def page(
    call: Call, rows: Sequence[T], shown: Callable[[T], dict[str, Any]], *, standard: int, most: int
) -> dict[str, Any]:
    """One page of rows with links to this, the next and the previous one."""
    size = page_size(call, standard, most)
    start = _offset(call)
    links = {"self": str(call.request.url), "next": None, "prev": None}
    if start + size < len(rows):
        links["next"] = _link(call, start + size)
    if start > 0:
        links["prev"] = _link(call, max(0, start - size))
    return {"data": [shown(row) for row in rows[start : start + size]], "links": links}


def _link(call: Call, offset: int) -> str:
    cursor = base64.urlsafe_b64encode(f"next::{offset}".encode()).decode()
    query = {**call.request.query, "page[cursor]": cursor}
    return f"{call.base}{call.request.path}?{urlencode(query)}"


def resource(
    call: Call,
    kind: str,
    identifier: str,
    attributes: dict[str, Any],
    relationships: dict[str, Any] | None = None,
    path: str | None = None,
) -> dict[str, Any]:
    """A resource object, cut down to `fields[kind]` where the call asks for that."""
    found: dict[str, Any] = {"type": kind, "id": identifier, "attributes": attributes}
    parameter = f"fields[{kind}]"
    if parameter in call.request.query:
        found["attributes"] = _sparse(attributes, words(call, parameter), parameter)
    elif relationships is not None:
        found["relationships"] = relationships
    found["links"] = {"self": f"{call.base}/api/{path or kind + 's'}/{identifier}"}
    return found


def _sparse(attributes: dict[str, Any], fields: list[str], parameter: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in fields:
        if name.partition(".")[0] not in attributes and name.partition(".")[0] not in _ON_REQUEST:
            raise invalid(f"{name!r} is not a valid field.", parameter=parameter)
        source: Any = attributes
        target = found
        parts = name.split(".")
        for part in parts[:-1]:
            source = source.get(part) or {}
            target = target.setdefault(part, {})
        if parts[-1] in source:
            target[parts[-1]] = source[parts[-1]]
    return found
