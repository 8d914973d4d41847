"""The two engines, one that writes and one that only reads, and how their connections are set up and looked after.

On SQLite every writing transaction is BEGIN IMMEDIATE: with the driver's default a transaction that reads before it
writes loses increments of concurrent ones.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

from webapp.dialects import without_capitals

BUSY_TIMEOUT_MS = 10_000
IDLE_SECONDS = 0.5
# A server that is gone without a word (a failover, a cut cable) is noticed within 15 seconds, not in hours.
REACHING = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
# PostgreSQL's statistics may be from a moment at which an account had hardly anybody. Then it would rather compare each
# row with all that another table keeps of that account than find the one that belongs to it.
BY_INDEX = "-c enable_mergejoin=off -c enable_material=off"


def engine_options(url: str, *, read_only: bool) -> dict[str, Any]:
    """Options for `create_engine`, by the backend of `url`."""
    options: dict[str, Any] = {"hide_parameters": True}  # else an error's text holds what the statement was to write
    if url.startswith("sqlite"):
        return {**options, "connect_args": {"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}}
    options |= {"pool_size": 8, "max_overflow": 16}
    session = f"-c timezone=UTC {BY_INDEX}"  # times come as they are kept, and need no turning
    if read_only:
        # Each statement sees what is committed by then anyway: a transaction around it would be two round trips more.
        options["isolation_level"] = "AUTOCOMMIT"
        session += " -c default_transaction_read_only=on"
    options["connect_args"] = {**REACHING, "options": session}
    return options


def prepare(engine: Engine, *, read_only: bool) -> None:
    """Set up every new connection: SQLite's pragmas, its lower() and its BEGIN; PostgreSQL's are looked after."""
    if engine.dialect.name != "sqlite":
        _ping_when_idle(engine)
        return

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late; ours is below
        for pragma in _pragmas(read_only=read_only):
            connection.execute(pragma)
        connection.create_function("lower", 1, without_capitals, deterministic=True)

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _ping_when_idle(engine: Engine) -> None:
    """A connection that lay idle is tried before it is used: the server may have been restarted meanwhile.

    SQLAlchemy's own ping is one round trip before every transaction; a drain of a thousand events makes twenty.
    """

    @event.listens_for(engine, "checkin")
    def _on_checkin(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, record: Any, _proxy: Any) -> None:
        try:
            if time.monotonic() - record.info.get("idle_since", float("inf")) > IDLE_SECONDS:
                engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as problem:
            raise DisconnectionError from problem  # the pool opens another one


def _pragmas(*, read_only: bool) -> list[str]:
    pragmas = [
        f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",  # NORMAL may lose committed transactions at a power cut, after our 202
        "PRAGMA foreign_keys=ON",
        "PRAGMA cache_size=-16000",
    ]
    return [*pragmas, "PRAGMA query_only=ON"] if read_only else pragmas
