"""Apps for tests: `lent_app` gives one that is made once a process, with an empty database each time; `own_app` one of
a test's own.

The tables come from the models, which is quick; that the migrations make the same tables has a test of its own.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from flask import Flask
from jinja2 import BytecodeCache, StrictUndefined
from jinja2.bccache import Bucket
from sqlalchemy import create_engine

from tests import databases, emptying
from tests.reading import ReadingClient
from webapp import create_app
from webapp.crypto import new_key
from webapp.extensions import db
from webapp.services.workspaces import snapshot
from webapp.settings import Settings, load

TEST_KEY = new_key()


class _Templates(BytecodeCache):
    """Templates compiled once for all apps of a run: that was a quarter of what a page's test took."""

    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """What was compiled from the same source."""
        if bucket.key in self._compiled:
            bucket.bytecode_from_string(self._compiled[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it."""
        self._compiled[bucket.key] = bucket.bytecode_to_string()


_TEMPLATES = _Templates()
_LENT: list[Flask] = []


def test_settings(database_url: str, data_dir: Path, **environ: str) -> Settings:
    """Settings for `database_url`; further ones as environment variables. Redis is nowhere unless given."""
    return load(
        {
            "DATA_DIR": str(data_dir),
            "DATABASE_URL": database_url,
            "SECRET_KEY": "a test's secret key",
            "TOKEN_KEYS": TEST_KEY,
            "REDIS_URL": f"unix://{data_dir}/no-redis-here.sock",
            **environ,
        }
    )


test_settings.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


def make_app(backend: str, data_dir: Path, **environ: str) -> Flask:
    """An app on a fresh `sqlite` or `postgresql` database that has every table and no rows."""
    url = databases.new_url(backend, data_dir, _template(backend))
    app = create_app(test_settings(url, data_dir, **environ))
    app.testing = True
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.bytecode_cache = _TEMPLATES
    app.test_client_class = ReadingClient
    return app


@contextmanager
def lent_app(backend: str, **environ: str) -> Iterator[Flask]:
    """An app as `make_app` gives it, its context pushed, with an empty database; another test has it afterwards.

    Making one takes as long as most tests: a hundred routes are compiled, and each statement again. What a test sets
    in its configuration and extensions is taken back. Who changes more, or needs two, makes one of their own.
    """
    app = _kept(backend, tuple(sorted(environ.items())))
    assert app not in _LENT, "somebody has it, and would find their rows gone"
    _LENT.append(app)
    config, extensions = dict(app.config), dict(app.extensions)
    try:
        emptying.empty(app.config["SQLALCHEMY_DATABASE_URI"], _template(backend))
        snapshot.forget()
        with app.app_context():
            yield app
    finally:
        _LENT.remove(app)
        _disconnect(app)
        for now, before in ((app.config, config), (app.extensions, extensions)):
            now.clear()
            now.update(before)


@contextmanager
def own_app(backend: str, data_dir: Path, **environ: str) -> Iterator[Flask]:
    """An app of a test's own as `make_app` gives it, its context pushed; gone with its database at the end."""
    app = make_app(backend, data_dir, **environ)
    try:
        with app.app_context():
            yield app
    finally:
        dispose(app)


@cache
def _kept(backend: str, environ: tuple[tuple[str, str], ...]) -> Flask:
    home = Path(tempfile.mkdtemp(prefix="cevoid-app-", dir=databases.MEMORY))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return make_app(backend, home, **dict(environ))


def dispose(app: Flask) -> None:
    """Close the app's database connections and remove its database."""
    _disconnect(app)
    databases.drop(app.config["SQLALCHEMY_DATABASE_URI"])


def _disconnect(app: Flask) -> None:
    with app.app_context():
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()


def _make_tables(url: str) -> None:
    from webapp import models

    models.load_all()
    engine = create_engine(url)
    db.metadatas[None].create_all(engine)
    engine.dispose()


@cache
def _template(backend: str) -> str:
    """A SQLite file, or the name of a PostgreSQL database, that has every table and no rows."""
    home = Path(tempfile.mkdtemp(prefix="cevoid-template-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    if backend == "postgresql":
        databases.no_need_to_last()
    url = databases.new_url(backend, home)
    _make_tables(url)
    return databases.name_of(url)
