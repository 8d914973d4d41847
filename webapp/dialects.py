"""The one place where SQLite and PostgreSQL differ: their clocks, their upserts, capitals, lists of ids, plans."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Dialect,
    Text,
    TypeDecorator,
    and_,
    any_,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    select,
    text,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement
from sqlalchemy.sql.visitors import InternalTraversal

from webapp.models.types import UtcDateTime


class db_now(ColumnElement[Any]):  # noqa: N801 - reads as a function in SQL expressions
    """The database's clock as a SQL expression, plus some seconds: `Lane.lease_until < db_now()`, `db_now(12)`."""

    type = UtcDateTime()
    # Statements are compiled once for each number of seconds: this stands in every one of a drain.
    _traverse_internals = [("plus_seconds", InternalTraversal.dp_plain_obj)]  # noqa: RUF012 - declared so by SQLAlchemy
    inherit_cache = True

    def __init__(self, plus_seconds: float = 0.0) -> None:
        self.plus_seconds = float(plus_seconds)


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, _compiler: Any, **_kw: Any) -> str:
    # Six digits as SQLAlchemy stores them, so that text compares like time.
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', '{element.plus_seconds:+.3f} seconds') || '000')"


@compiles(db_now, "postgresql")
def _postgresql_now(element: db_now, _compiler: Any, **_kw: Any) -> str:
    if element.plus_seconds == 0:
        return "clock_timestamp()"
    return f"(clock_timestamp() + interval '{element.plus_seconds:.3f} seconds')"


def without_capitals(name: str | None) -> str | None:
    """What PostgreSQL's lower() makes of a name, each letter by itself; SQLite's own, in whose place it is put by
    `webapp.engines`, knows the ASCII letters alone.
    """
    if name is None or name.isascii():
        return name and name.lower()
    return "".join(map(_small, name))


def _small(letter: str) -> str:
    small = letter.lower()
    return small if len(small) == 1 else small[0]  # the one that becomes two: a dotted capital i


class _Condition(ColumnElement[bool]):
    """One of ours, which stands as it is.

    As a value of SQLite's it would be compared with 1, and no index serves that.
    """

    type = Boolean()

    def self_group(self, against: Any = None) -> _Condition:
        """Itself, without parentheses or a comparison."""
        return self


class durable_with_the_next(_Condition):  # noqa: N801 - reads as a function in SQL expressions
    """A condition that always holds: the commit of a transaction that changes a row under it waits for no disk.

    What it writes is durable with the next commit that does, or within a second. Of PostgreSQL alone, which forgets
    what came last where it dies before.
    """

    _traverse_internals = []  # noqa: RUF012 - declared so by SQLAlchemy
    inherit_cache = True


@compiles(durable_with_the_next, "sqlite")
def _sqlite_durable(_element: durable_with_the_next, _compiler: Any, **_kw: Any) -> str:
    return "1 = 1"


@compiles(durable_with_the_next, "postgresql")
def _postgresql_durable(_element: durable_with_the_next, _compiler: Any, **_kw: Any) -> str:
    return "set_config('synchronous_commit', 'off', true) = 'off'"


def among(session: Session, column: Any, ids: Iterable[int]) -> ColumnElement[bool]:
    """`column` is one of `ids`, however many: one parameter, so that the statement is compiled once."""
    values = list(ids)
    if is_sqlite(session):
        listed = func.json_each(json.dumps(values)).table_valued("value")
        found: ColumnElement[bool] = column.in_(select(listed.c.value))
        return found
    # As text: the driver takes a thousand numbers one by one, which costs as much as the rows they find.
    listed_ids = cast(literal(f"{{{','.join(map(str, values))}}}", Text), ARRAY(BigInteger))
    matched: ColumnElement[bool] = column == any_(listed_ids)
    return matched


def among_many(session: Session, column: Any, ids: Iterable[int]) -> ColumnElement[bool]:
    """The same for thousands that have an index of `column`.

    PostgreSQL may read the whole table for a list, and compare every row with each of its ids; rows it joins.
    """
    values = list(ids)
    if is_sqlite(session):
        return among(session, column, values)
    listed = cast(literal(f"{{{','.join(map(str, values))}}}", Text), ARRAY(BigInteger))
    joined: ColumnElement[bool] = column.in_(select(func.unnest(listed)))
    return joined


def unindexed(column: Any) -> Any:
    """A number's column in a condition that no index is to serve: rows are found by the index of another one.

    Of two indexes PostgreSQL takes that of an account rather than that of thousands of people where it believes, or
    believed when it last looked, that the account has hardly any rows; and walks all of them for each of these people.
    """
    return column + literal_column("0", BigInteger)


def unindexed_word(column: Any) -> Any:
    """The same of a word's, also against an index of only those rows in which it is a certain one."""
    return type_coerce(column, Text).concat(literal_column("''", Text))


class _Ids(TypeDecorator[Sequence[int]]):
    """A list of ids as one parameter: a JSON text, or PostgreSQL's text of an array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> str:
        ids = ",".join(map(str, value or ()))
        return f"[{ids}]" if dialect.name == "sqlite" else f"{{{ids}}}"


class one_of(_Condition):  # noqa: N801 - reads as a function in SQL expressions
    """`one_of(column)`: it is one of the ids given as `ids`, in a statement that is made once for any number of them.

    PostgreSQL plans it as for ten, however many: fifty parameters look so dear that it reads the whole server's rows.
    """

    _traverse_internals = [("column", InternalTraversal.dp_clauseelement)]  # noqa: RUF012 - declared so by SQLAlchemy
    inherit_cache = True

    def __init__(self, column: Any) -> None:
        self.column = column


@compiles(one_of, "sqlite")
def _sqlite_one_of(element: one_of, compiler: Any, **kw: Any) -> str:
    listed = func.json_each(bindparam("ids", type_=_Ids())).table_valued("value")
    return str(compiler.process(element.column.in_(select(listed.c.value)), **kw))


@compiles(one_of, "postgresql")
def _postgresql_one_of(element: one_of, compiler: Any, **kw: Any) -> str:
    ids = cast(bindparam("ids", type_=_Ids()), ARRAY(BigInteger))
    return str(compiler.process(element.column == any_(ids), **kw))


class _Pin(TypeDecorator[int]):
    """One number: PostgreSQL's text of an array of one."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        return value if dialect.name == "sqlite" else f"{{{value}}}"


class pinned(_Condition):  # noqa: N801 - reads as a function in SQL expressions
    """`pinned(column, "name")`: it is the number given as `name`, and yet no constant to PostgreSQL's planner.

    Ordered by its columns, those that do not differ among them, PostgreSQL then walks just this index. Else it would
    rather walk the primary key from its beginning, where its statistics are from a moment when most rows would do.
    """

    _traverse_internals = [  # noqa: RUF012 - declared so by SQLAlchemy
        ("column", InternalTraversal.dp_clauseelement),
        ("given", InternalTraversal.dp_clauseelement),
    ]
    inherit_cache = True

    def __init__(self, column: Any, name: str, value: int | None = None) -> None:
        self.column = column
        self.given = bindparam(name, value, required=value is None, type_=_Pin())


@compiles(pinned, "sqlite")
def _sqlite_pinned(element: pinned, compiler: Any, **kw: Any) -> str:
    return f"{compiler.process(element.column, **kw)} = {compiler.process(element.given, **kw)}"


@compiles(pinned, "postgresql")
def _postgresql_pinned(element: pinned, compiler: Any, **kw: Any) -> str:
    ids = cast(element.given, ARRAY(BigInteger))
    return str(compiler.process(element.column == any_(ids), **kw))


def index_range(
    session: Session,
    prefix: Sequence[tuple[Any, Any]],
    last: Any,
    *,
    above: int,
    below: int,
    oldest_first: bool = False,
) -> tuple[ColumnElement[bool], list[ColumnElement[Any]]]:
    """WHERE and ORDER BY (newest first unless asked otherwise) of an index's rows whose `prefix` has these values.

    `last` is the index's last column, an id with `above < id < below`; the first one is an id too. PostgreSQL would
    rather walk the primary key backwards where it believes the prefix to be common, and reads the whole table where it
    is not common among the newest. A list of one value is no constant to its planner: ordered by that column first,
    only this index gives the order, and the estimates stay those of an equality.
    """
    (first, value), *others = prefix
    within = (*(column == other for column, other in others), last > above, last < below)
    order = last.asc() if oldest_first else last.desc()
    if is_sqlite(session):
        return and_(first == value, *within), [order]
    return and_(among(session, first, [value]), *within), [first.asc() if oldest_first else first.desc(), order]


def plan_anew(session: Session) -> None:
    """Plan this session's statements by their values: a plan kept for any value reads a large table's half.

    PostgreSQL keeps a general plan of what was asked ten times over one connection; SQLite plans once and well. Its
    reads stand each for themselves: the setting holds in a transaction of its own, which ends with the session.
    """
    if is_sqlite(session):
        return
    from psycopg.pq import TransactionStatus  # where the database is SQLite it is never loaded

    driver: Any = session.connection().connection.driver_connection
    alone = driver.autocommit and driver.info.transaction_status == TransactionStatus.IDLE
    session.execute(text(f"{'BEGIN; ' if alone else ''}SET LOCAL plan_cache_mode = force_custom_plan"))


def is_sqlite(session: Session | Connection) -> bool:
    """Whether this session's database is SQLite."""
    bind = session if isinstance(session, Connection) else session.get_bind()
    return bind.dialect.name == "sqlite"
