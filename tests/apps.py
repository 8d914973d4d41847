"""Apps for tests: `make_app` gives an app with its tables made, on a database of its own.

The tables come from the models, which is quick; that the migrations make the same tables has a test of its own.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from flask import Flask
from jinja2 import BytecodeCache, StrictUndefined
from jinja2.bccache import Bucket
from sqlalchemy import create_engine

from tests import databases
from tests.reading import ReadingClient
from webapp import create_app
from webapp.crypto import new_key
from webapp.extensions import db
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
    if backend == "sqlite":
        url = databases.copy_sqlite(_sqlite_template(), data_dir)
    else:
        url = databases.new_postgres_url(_postgres_template(), "FILE_COPY")
    app = create_app(test_settings(url, data_dir, **environ))
    app.testing = True
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.bytecode_cache = _TEMPLATES
    app.test_client_class = ReadingClient
    return app


def dispose(app: Flask) -> None:
    """Close the app's database connections and remove its database."""
    with app.app_context():
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()
    databases.drop(app.config["SQLALCHEMY_DATABASE_URI"])


def _make_tables(url: str) -> None:
    from webapp import models

    models.load_all()
    engine = create_engine(url)
    db.metadatas[None].create_all(engine)
    engine.dispose()


@cache
def _sqlite_template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="cevoid-sqlite-")) / "template.sqlite3"
    _make_tables(f"sqlite:///{path}")
    return path


@cache
def _postgres_template() -> str:
    databases.no_need_to_last()
    url = databases.new_postgres_url()
    _make_tables(url)
    return url.rsplit("/", 1)[-1].split("?")[0]
