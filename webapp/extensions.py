"""The libraries that hang on the app: made here once, bound to an app in `create_app`."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app
from flask_htmx import HTMX
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as BoundSession
from flask_wtf.csrf import CSRFProtect
from sqlalchemy import Engine, MetaData
from sqlalchemy.orm import DeclarativeBase

from webapp.crypto import KeyRing
from webapp.settings import Settings

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The base of every table; constraint names are fixed so that migrations can name them on every database."""

    metadata = MetaData(naming_convention=NAMING)


class ReadOnlySession(BoundSession):
    """`db.session`: reads only, on the read engine. Changes go through `database.writing()`."""

    def get_bind(self, mapper: Any = None, clause: Any = None, bind: Any = None, **kwargs: Any) -> Engine:
        """Always the read engine, whatever is asked."""
        return db.engines["read"]


db = SQLAlchemy(model_class=Base, session_options={"class_": ReadOnlySession, "autoflush": False})
htmx = HTMX()
csrf = CSRFProtect()


def settings() -> Settings:
    """The settings of the current app."""
    found: Settings = current_app.extensions["cevoid.settings"]
    return found


def key_ring() -> KeyRing:
    """The token keys of the current app."""
    found: KeyRing = current_app.extensions["cevoid.key_ring"]
    return found


def init_app(app: Flask, values: Settings) -> None:
    """Bind everything above to `app`."""
    app.extensions["cevoid.settings"] = values
    app.extensions["cevoid.key_ring"] = KeyRing(values.token_keys)
    db.init_app(app)


def init_pages(app: Flask) -> None:
    """Bind what only pages and commands need."""
    from flask_migrate import Migrate  # a tenth of a worker's memory, were it loaded there

    Migrate().init_app(app, db, render_as_batch=True, compare_type=True)
    htmx.init_app(app)
    csrf.init_app(app)
