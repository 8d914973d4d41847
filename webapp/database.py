"""Transactions: reading, writing, and trying again.

Reading: `db.session` in a request, or `with reading() as session`. Writing: `with writing() as session`, or
`run_writing(function)` where a deadlock or serialization failure should be tried again.

Reads go through an engine of their own whose connections refuse to write, so that no page ever takes SQLite's write
lock; `webapp.engines` sets both up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from webapp.dialects import is_sqlite
from webapp.extensions import db

T = TypeVar("T")
TRIES = 8
LONGEST_SECONDS = 15.0  # SQLite itself waits for ten: whoever was kept out twice is told so
RETRYABLE_SQLSTATES = {"40001", "40P01", "55P03"}

_current: ContextVar[Session | None] = ContextVar("writing_session", default=None)


@contextmanager
def writing() -> Iterator[Session]:
    """One writing transaction: committed at the end, rolled back on an exception. Inside another one it joins that.

    Functions given to `after_commit` run once the outermost transaction is durable.
    """
    outer = _current.get()
    if outer is not None:
        yield outer
        return
    session = Session(db.engine, expire_on_commit=False)
    token = _current.set(session)
    try:
        with session.begin():
            yield session
    finally:
        _current.reset(token)
        session.close()
        end_reads()  # a request's reads after its own write must see it
    for call in session.info.get("after_commit", ()):
        call()


def end_reads() -> None:
    """End the snapshot of `db.session`. Where the database went away meanwhile there is none left to end."""
    try:
        db.session.rollback()
    except DBAPIError:
        db.session().invalidate()


def forget_reads(_error: BaseException | None = None) -> None:
    """At the end of a request: the same, and what was read is let go."""
    try:
        db.session.remove()
    except DBAPIError:
        db.session().invalidate()


@contextmanager
def reading() -> Iterator[Session]:
    """A session for reading: the writing one when inside `writing()`, else a fresh one with a snapshot of its own."""
    outer = _current.get()
    if outer is not None:
        yield outer
        return
    with Session(db.engines["read"], expire_on_commit=False, autoflush=False) as session:
        yield session


def plain(statement: Executable, where: Mapping[str, Any]) -> CursorResult[*tuple[Any, ...]]:
    """Plain rows for a page, past the ORM, which costs more than the statement where no entities are wanted."""
    return db.session.connection().execute(statement, where)


def run_writing(work: Callable[[Session], T]) -> T:
    """`work(session)` in a writing transaction, tried again on deadlocks, serialization failures and a busy SQLite.

    `work` must be safe to run again from its start. Raises what it raised when it will not go.
    """

    def written() -> T:
        with writing() as session:
            return work(session)

    return _trying_again(written)


def run_alone(work: Callable[[Connection], T]) -> T:
    """`work(connection)`, which is one statement: a transaction of its own, tried again like those of `run_writing`.

    PostgreSQL needs nothing said before and after it then: one round trip instead of three. Not inside `writing()`.
    """

    def alone() -> T:
        with db.engine.connect() as connection:
            if not is_sqlite(connection):
                connection.execution_options(isolation_level="AUTOCOMMIT")
            with connection.begin():
                return work(connection)

    return _trying_again(alone)


def _trying_again(transaction: Callable[[], T]) -> T:
    end = time.monotonic() + LONGEST_SECONDS
    for attempt in range(TRIES):
        try:
            return transaction()
        except DBAPIError as problem:
            inside = _current.get() is not None
            is_last = attempt == TRIES - 1 or time.monotonic() > end
            if inside or is_last or not is_transient(problem):
                raise
            time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable")


def after_commit(session: Session, call: Callable[[], None]) -> None:
    """Run `call` once the transaction of `session` (from `writing()`) is durable. For wake-ups: best effort only."""
    session.info.setdefault("after_commit", []).append(call)


def is_transient(problem: DBAPIError) -> bool:
    """Whether trying the same transaction again may succeed."""
    if getattr(problem.orig, "sqlstate", None) in RETRYABLE_SQLSTATES:
        return True
    return isinstance(problem, OperationalError) and "database is locked" in str(problem.orig)


def affected(session: Session, statement: Executable) -> int:
    """Execute an UPDATE or DELETE; how many rows it met."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return int(result.rowcount)
