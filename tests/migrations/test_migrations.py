"""The migrations make exactly the tables the models describe, on both databases, and can be undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade
from sqlalchemy import inspect

from tests import databases
from tests.apps import dispose, make_app, test_settings
from webapp import create_app
from webapp.extensions import db

MIGRATIONS = str(Path(__file__).parents[2] / "migrations")


def checks_of_the_models(backend: str, home: Path) -> list[Any]:
    """What the comparison leaves out: the models' own conditions, as the database says them."""
    (home / "models").mkdir()
    app = make_app(backend, home / "models")
    with app.app_context(), db.engine.connect() as connection:
        found: list[Any] = list(inspect(connection).get_check_constraints("deliveries"))
    dispose(app)
    assert found
    return found


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_migrations_and_models_agree(backend: str, tmp_path: Path) -> None:
    url = databases.new_url(backend, tmp_path)
    app = create_app(test_settings(url, tmp_path))
    with app.app_context():
        upgrade(directory=MIGRATIONS)
        upgrade(directory=MIGRATIONS)  # again: nothing to do, no error
        with db.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, db.metadatas[None]) == []
            assert inspect(connection).get_check_constraints("deliveries") == checks_of_the_models(backend, tmp_path)
            connection.rollback()
        downgrade(directory=MIGRATIONS, revision="base")
        with db.engine.connect() as connection:
            assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    dispose(app)
