"""What we know of a person, and their merged fields as JSON kept in `people`. Merging is pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.fields import Field
from webapp.models.tables import PEOPLE


@dataclass(slots=True)
class Known:
    """A person's row as it is merged into: its columns, with the JSON texts as they stand. `was`: as it was read."""

    id: int
    email: str
    first_name: str | None
    last_name: str | None
    home_store_id: int | None
    fields: str
    fields_version: int
    consents: str
    tested_only: bool
    was: tuple[Any, ...] = ()

    def state(self) -> tuple[Any, ...]:
        """The columns that merging changes."""
        return tuple(getattr(self, name) for name in _SAVED)


_COLUMNS = tuple(PEOPLE.c[name] for name in Known.__slots__ if name != "was")
_SAVED = ("first_name", "last_name", "home_store_id", "fields", "fields_version", "consents", "tested_only")


_LOCKED = (
    select(*_COLUMNS)
    .where(PEOPLE.c.workspace_id == bindparam("workspace"), PEOPLE.c.email.in_(bindparam("emails", expanding=True)))
    .order_by(PEOPLE.c.email)
    .with_for_update()
)
_SAVE = (
    update(PEOPLE).where(PEOPLE.c.id == bindparam("row_id")).values({name: bindparam(f"new_{name}") for name in _SAVED})
)


def locked(session: Session, workspace_id: int, emails: Sequence[str]) -> dict[str, Known]:
    """The rows of these addresses by address, locked in the order of their addresses."""
    found = {}
    for row in session.execute(_LOCKED, {"workspace": workspace_id, "emails": list(emails)}):
        person = found[row.email] = Known(*row)
        person.was = person.state()
    return found


def save(session: Session, touched: Iterable[Known]) -> None:
    """Write back those that changed, in the order of their ids, in one round."""
    changed = sorted((person for person in touched if person.state() != person.was), key=lambda person: person.id)
    if not changed:
        return
    names = [f"new_{name}" for name in _SAVED]
    rows = [{"row_id": person.id, **dict(zip(names, person.state(), strict=True))} for person in changed]
    session.connection().execute(_SAVE, rows)


CLEARED_ON_LEAVING: dict[str, Any] = {
    "program_member": False,
    "points": None,
    "tier_icon": None,
    "tier_id": None,
    "tier_name": None,
}


OFF = "off"  # of a value that came while its field was not shared
BEHIND = "behind"  # of one that was not shared either when an account that may have an older one was to be put right


def merge_fields(
    known: dict[str, Any], version: int, news: Mapping[str, Any], occurred_at: datetime, on: Container[str]
) -> tuple[dict[str, Any], int]:
    """`known` with `news` merged in, and the new version (the same where nothing changed). `on`: fields shared now.

    Per field the newest `occurred_at` wins; of two at the same moment the one that came last, as of consents, so that
    what an activity changes together stays together. A value that came while its field was off was written nowhere:
    posted again once it is on, it counts as a change. A value that an account may have an older one of counts as a
    change with any news that comes once its field is on.
    """
    at = clock.iso(occurred_at)
    merged, grown = dict(known), version
    for key, value in news.items():
        held = merged.get(key)
        if held is not None and datetime.fromisoformat(held["at"]) > occurred_at:
            continue
        if held is not None and held["v"] == value and not (OFF in held and key in on):
            merged[key] = {**held, "at": at}
        else:
            grown = version + 1
            merged[key] = {"v": value, "at": at, "n": grown}
            if key not in on:
                merged[key][OFF] = True
    for key in [key for key, entry in merged.items() if BEHIND in entry and key in on] if news else ():
        grown = version + 1
        merged[key] = {"v": merged[key]["v"], "at": merged[key]["at"], "n": grown}
    return merged, grown


def left_behind(fields_text: str, keys: Container[str]) -> str:
    """A person's fields in which some account may have older values of `keys`, which are off now.

    It is said of the value, as what counts as written is one version for all of a person's fields: the next write of
    another field would pass over it.
    """
    fields = orjson.loads(fields_text)
    for key, entry in fields.items():
        if key in keys:
            entry[BEHIND] = True
    return orjson.dumps(fields).decode()


def shared_changes(
    fields: Mapping[str, Any], since_version: int, known: Mapping[str, Field], on: frozenset[str]
) -> dict[str, Any]:
    """Klaviyo property -> value (None clears) of the shared fields that changed after `since_version`."""
    return {
        known[key].property: entry["v"]
        for key, entry in fields.items()
        if key in on and key in known and entry["n"] > since_version
    }
