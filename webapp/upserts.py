"""Rows that are written whether or not they are there, the same on both databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import FromClause, case, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from webapp.dialects import is_sqlite


def insert_or_ignore(session: Session, table: FromClause) -> Any:
    """An INSERT that leaves rows alone whose unique key exists already (`ON CONFLICT DO NOTHING`)."""
    return _insert(table, on_sqlite=is_sqlite(session)).on_conflict_do_nothing()


def upsert(session: Session, table: FromClause, *, key: Sequence[str], update: dict[str, Any] | Sequence[str]) -> Any:
    """An INSERT that updates the row with the same `key`: named columns take the new row's values, or expressions.

    With a dict the values may use `table.c.x` (the old row) and `excluded(...)` of the returned statement.
    """
    if not isinstance(update, dict):
        return _upsert(table, tuple(key), tuple(update), on_sqlite=is_sqlite(session))
    statement = _insert(table, on_sqlite=is_sqlite(session))
    return statement.on_conflict_do_update(index_elements=list(key), set_=update)


def upsert_resetting(
    session: Session,
    table: FromClause,
    *,
    key: Sequence[str],
    update: Sequence[str],
    reset: Mapping[str, int | bool | None],
    unless_same: str,
) -> Any:
    """The same, and the columns `reset` take these values where the row's `unless_same` was another.

    None is no other, and does not replace one.
    """
    first = tuple(reset.items())
    return _upsert_resetting(table, tuple(key), tuple(update), first, unless_same, on_sqlite=is_sqlite(session))


def upsert_adding(session: Session, table: FromClause, *, key: Sequence[str], add: Sequence[str]) -> Any:
    """An INSERT that adds the named counters to the row with the same `key`."""
    return _upsert_adding(table, tuple(key), tuple(add), on_sqlite=is_sqlite(session))


# Made once each: some are in every call's transaction.
@cache
def _upsert(table: FromClause, key: tuple[str, ...], update: tuple[str, ...], *, on_sqlite: bool) -> Any:
    statement = _insert(table, on_sqlite=on_sqlite)
    changes = {name: statement.excluded[name] for name in update}
    return statement.on_conflict_do_update(index_elements=list(key), set_=changes)


@cache
def _upsert_resetting(
    table: FromClause,
    key: tuple[str, ...],
    update: tuple[str, ...],
    reset: tuple[tuple[str, int | bool | None], ...],
    unless_same: str,
    *,
    on_sqlite: bool,
) -> Any:
    statement = _insert(table, on_sqlite=on_sqlite)
    changes: dict[str, Any] = {name: statement.excluded[name] for name in update}
    before, now = table.c[unless_same], statement.excluded[unless_same]
    changes |= {name: case((before != now, value), else_=table.c[name]) for name, value in reset}
    changes[unless_same] = func.coalesce(now, before)
    return statement.on_conflict_do_update(index_elements=list(key), set_=changes)


@cache
def _upsert_adding(table: FromClause, key: tuple[str, ...], add: tuple[str, ...], *, on_sqlite: bool) -> Any:
    statement = _insert(table, on_sqlite=on_sqlite)
    sums = {name: table.c[name] + statement.excluded[name] for name in add}
    return statement.on_conflict_do_update(index_elements=list(key), set_=sums)


def _insert(table: FromClause, *, on_sqlite: bool) -> Any:
    target: Any = table  # a mapped class's `__table__` is typed more widely than the tables ours are
    return sqlite.insert(target) if on_sqlite else postgresql.insert(target)
