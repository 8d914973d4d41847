"""What tests stand on: an app that is lent is as new, whatever the one before did to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from tests.apps import lent_app
from tests.rows import Rows
from webapp.extensions import db
from webapp.models import Workspace


def fill(app: Flask) -> None:
    Rows().workspace("first")


def drop_a_column(app: Flask) -> None:
    with db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE sessions DROP COLUMN browser"))


def gather_statistics(app: Flask) -> None:
    fill(app)
    with db.engine.begin() as connection:
        connection.execute(text("ANALYZE"))


def set_up(app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    app.extensions["cevoid.settings"] = None


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
@pytest.mark.parametrize("change", [fill, drop_a_column, gather_statistics, set_up])
def test_nothing_is_left_of_the_test_before(backend: str, change: Callable[[Flask], None]) -> None:
    def told(app: Flask) -> tuple[object, ...]:
        """Rows, columns, statistics, configuration, and the number that the next row gets."""
        columns = [column["name"] for column in db.inspect(db.engine).get_columns("sessions")]
        gathered = "SELECT count(*) FROM pg_class WHERE relname = 'workspaces' AND reltuples >= 0"
        if backend == "sqlite":
            gathered = "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'"
        with db.engine.begin() as connection:
            statistics = connection.scalar(text(gathered))
            rows = connection.scalar(select(func.count()).select_from(Workspace))
        settings = (app.config.get("WTF_CSRF_ENABLED"), app.extensions["cevoid.settings"])
        return rows, columns, statistics, settings, Rows().workspace("next").id

    with lent_app(backend) as app:
        before = told(app)
    with lent_app(backend) as app:
        change(app)
    with lent_app(backend) as app:
        assert told(app) == before


def test_nobody_gets_what_somebody_has() -> None:
    with lent_app("sqlite"), pytest.raises(AssertionError, match="somebody has it"), lent_app("sqlite"):
        pass
