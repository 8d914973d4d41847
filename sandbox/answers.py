"""The JSON:API side of answers: pages, sparse fields, times."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit

from sandbox.endpoints import Call
from sandbox.errors import invalid
from sandbox.state.account import Account

T = TypeVar("T")
_ON_REQUEST = frozenset({"id", "joined_group_at", "predictive_analytics", "profile_count", "subscriptions"})


def iso(epoch: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC."""
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC).isoformat()


def event_id(account: Account, number: int) -> str:
    """The id of an event by its number."""
    return f"4{account.id[:2]}{number + 1:08d}"


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


class Sparse:
    """What a call's `fields[kind]` leaves of an object's attributes."""

    def __init__(self, parameter: str, names: list[str]) -> None:
        self._parameter = parameter
        self._paths = [name.split(".") for name in names]
        self.heads = frozenset(path[0] for path in self._paths)

    def cut(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """The attributes asked for. Raises Refused (400) for one that such an object does not have."""
        found: dict[str, Any] = {}
        for path in self._paths:
            head = path[0]
            if head not in attributes:
                if head not in _ON_REQUEST:
                    raise invalid(f"{'.'.join(path)!r} is not a valid field.", parameter=self._parameter)
            elif len(path) == 1:
                found[head] = attributes[head]
            else:
                _copy_path(attributes, found, path)
        return found


def _copy_path(source: dict[str, Any], target: dict[str, Any], path: list[str]) -> None:
    for part in path[:-1]:
        source = source.get(part) or {}
        target = target.setdefault(part, {})
    if path[-1] in source:
        target[path[-1]] = source[path[-1]]


def sparse(call: Call, kind: str) -> Sparse | None:
    """The sparse fieldset a call asks for; None where it wants everything."""
    if kind not in call.sparse:
        parameter = f"fields[{kind}]"
        asked = parameter in call.request.query
        call.sparse[kind] = Sparse(parameter, words(call, parameter)) if asked else None
    found: Sparse | None = call.sparse[kind]
    return found


def resource(
    call: Call,
    kind: str,
    identifier: str,
    attributes: dict[str, Any],
    relationships: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A resource object, cut down to `fields[kind]` where the call asks for that."""
    found: dict[str, Any] = {"type": kind, "id": identifier, "attributes": attributes}
    fields = sparse(call, kind)
    if fields is not None:
        found["attributes"] = fields.cut(attributes)
    elif relationships is not None:
        found["relationships"] = relationships
    found["links"] = {"self": f"{call.base}/api/{kind}s/{identifier}"}
    return found


def links_to(own: str, names: Sequence[str]) -> dict[str, Any]:
    """The relationships of an object at the address `own`, as links."""
    return {name: {"links": {"self": f"{own}/relationships/{name}", "related": f"{own}/{name}"}} for name in names}
