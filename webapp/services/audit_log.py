"""Reading the audit log: filters, names of what the entries are about, and the export."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from webapp import clock
from webapp.catalogue import actions
from webapp.database import reading
from webapp.models import AuditEntry, Connection, IngestKey, Store, User
from webapp.services.people.addresses import mask_all

PAGE = 50
BITE = 500
AUTOMATIC = 0  # the person of what nobody did: the platform by its key, or the program itself
# Spreadsheets take a cell that begins like this for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
COLUMNS = ("at", "person", "action", "what", "subject_type", "subject_id", "subject", "before", "after", "request_id")


NAMED = {"store_id": "store", "connection": "connection"}  # what holds an id in before and after -> of what


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for; None: anything. `person`: a user's id or AUTOMATIC; `before`: the last id shown above.

    `connection_id`: only what is about it; `since` and `until`: when it was done.
    """

    action: str | None = None
    person: int | None = None
    connection_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry in words."""

    row: AuditEntry
    person: str
    what: str
    subject: str
    changes: list[str]


def page(workspace_id: int, filters: Filters, size: int) -> list[Entry]:
    """Up to `size` entries, newest first."""
    with reading() as session:
        rows = list(session.scalars(_wanted(workspace_id, filters).limit(size)))
        names = _Names(session, rows)
    return [_entry(row, names) for row in rows]


def people(workspace_id: int) -> list[tuple[int, str]]:
    """(id, address) of everybody who has done something here, by address."""
    done = select(AuditEntry.actor_id).where(AuditEntry.workspace_id == workspace_id, AuditEntry.actor_id.is_not(None))
    with reading() as session:
        found = session.execute(select(User.id, User.email).where(User.id.in_(done)).order_by(User.email))
        return [(row.id, row.email) for row in found]


def strange(workspace_id: int, filters: Filters) -> list[str]:
    """A sentence for each filter that nothing can fit, as there is no such thing in the workspace."""
    entries, sentences = select(AuditEntry.id).where(AuditEntry.workspace_id == workspace_id).limit(1), []
    with reading() as session:
        # What has no words yet may have been done all the same.
        action = filters.action if filters.action not in actions.ACTIONS else None
        if action and session.scalar(entries.where(AuditEntry.action == action)) is None:
            sentences.append(f"There is no “{action[:40]}” in this log, so no entry fits.")
        person = filters.person if filters.person != AUTOMATIC else None
        if person is not None and session.scalar(entries.where(AuditEntry.actor_id == person)) is None:
            sentences.append(f"Nobody with the number {person} has changed anything here, so no entry fits.")
        if filters.connection_id is not None:
            theirs = select(Connection.id).where(Connection.workspace_id == workspace_id)
            if session.scalar(theirs.where(Connection.id == filters.connection_id)) is None:
                sentences.append(
                    f"There is no Klaviyo account with the number {filters.connection_id} here, so no entry fits."
                )
    return sentences


def csv_lines(workspace_id: int, filters: Filters, *, masked: bool) -> Iterator[str]:
    """The log as CSV, a header first. Each bite is read in a transaction of its own, so that none stays open.

    `masked`: without the addresses that somebody may have written into a name.
    """
    yield _line(COLUMNS)
    bite = filters
    while entries := page(workspace_id, bite, BITE):
        yield "".join(_line(_cells(entry, masked=masked)) for entry in entries)
        bite = replace(filters, before=entries[-1].row.id)


def _wanted(workspace_id: int, filters: Filters) -> Select[AuditEntry]:
    statement = select(AuditEntry).where(AuditEntry.workspace_id == workspace_id)
    if filters.action:
        statement = statement.where(AuditEntry.action == filters.action)
    if filters.person == AUTOMATIC:
        statement = statement.where(AuditEntry.actor_id.is_(None))
    elif filters.person is not None:
        statement = statement.where(AuditEntry.actor_id == filters.person)
    if filters.connection_id is not None:
        about = AuditEntry.subject_type == "connection", AuditEntry.subject_id == str(filters.connection_id)
        statement = statement.where(*about)
    if filters.since is not None:
        statement = statement.where(AuditEntry.at >= filters.since)
    if filters.until is not None:
        statement = statement.where(AuditEntry.at < filters.until)
    if filters.before is not None:
        statement = statement.where(AuditEntry.id < filters.before)
    return statement.order_by(AuditEntry.id.desc())


class _Names:
    """The names of everything some entries speak of, read with one statement a kind."""

    def __init__(self, session: Session, rows: Iterable[AuditEntry]) -> None:
        wanted: dict[str, set[int]] = {"user": set(), "store": set(), "connection": set(), "ingest_key": set()}
        for row in rows:
            wanted["user"] |= {row.actor_id} if row.actor_id is not None else set()
            for values in (row.before or {}, row.after or {}):
                for key, kind in NAMED.items():
                    wanted[kind] |= {values[key]} if isinstance(values.get(key), int) else set()
            if row.subject_type in wanted and row.subject_id.isdecimal():
                wanted[row.subject_type].add(int(row.subject_id))
        self._names = {kind: self._read(session, kind, ids) for kind, ids in wanted.items()}

    def _read(self, session: Session, kind: str, ids: set[int]) -> dict[int, str]:
        columns: dict[str, tuple[InstrumentedAttribute[int], InstrumentedAttribute[str]]] = {
            "user": (User.id, User.email),
            "store": (Store.id, Store.name),
            "connection": (Connection.id, Connection.account_name),
            "ingest_key": (IngestKey.id, IngestKey.name),
        }
        key, name = columns[kind]
        return {row[0]: row[1] for row in session.execute(select(key, name).where(key.in_(sorted(ids))))} if ids else {}

    def of(self, kind: str, number: int) -> str:
        """The name, or what it is and its number where there is none."""
        return self._names.get(kind, {}).get(number) or f"{kind.replace('_', ' ')} {number}"


def _entry(row: AuditEntry, names: _Names) -> Entry:
    subject = "" if row.subject_type == "workspace" else row.subject_id
    if subject.isdecimal():
        subject = names.of(row.subject_type, int(subject))
    before, after = (_named(values, names) for values in (row.before, row.after))
    return Entry(
        row=row,
        person="Automatic" if row.actor_id is None else names.of("user", row.actor_id),
        what=actions.in_words(row.action),
        subject=subject,
        changes=actions.changes(before, after),
    )


def _named(values: dict[str, Any] | None, names: _Names) -> dict[str, Any] | None:
    """The values with names in the place of ids."""
    found = {
        key: names.of(kind, values[key]) for key, kind in NAMED.items() if values and isinstance(values.get(key), int)
    }
    return {**values, **found} if values else values


def _cells(entry: Entry, *, masked: bool) -> list[str]:
    row = entry.row
    shown = (mask_all(values) if masked else values for values in (row.before, row.after))
    before, after = (orjson.dumps(values).decode() if values else "" for values in shown)
    hides = masked and row.subject_type != "user"  # who belongs to the workspace is no secret, the settings say it
    about = [row.subject_type, row.subject_id, mask_all(entry.subject) if hides else entry.subject]
    return [
        clock.iso(row.at),
        entry.person,
        row.action,
        entry.what,
        *about,
        before,
        after,
        row.request_id or "",
    ]


def _line(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in cells])
    return out.getvalue()
