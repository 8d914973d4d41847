"""An app for a module's tests of the engine, on either database: each test makes a workspace of its own in it.

A table of answers is played row by row on SQLite; on PostgreSQL its first row says that the statements work there too.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.apps import dispose, make_app
from tests.rows import Rows

MEMORY = Path("/dev/shm")  # where there is one, SQLite need not wait for the disk


@pytest.fixture(scope="module")
def quick_dir() -> Iterator[Path]:
    """A directory for a module's databases."""
    made = Path(tempfile.mkdtemp(prefix="cevoid-jobs-", dir=MEMORY if MEMORY.is_dir() else None))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine_app(request: pytest.FixtureRequest, quick_dir: Path) -> Iterator[Flask]:
    """An app on either database, its context pushed."""
    made = make_app(request.param, quick_dir)
    with made.app_context():
        yield made
    dispose(made)


@pytest.fixture(scope="module")
def engine_rows(engine_app: Flask) -> Rows:
    """Rows in it; accounts and addresses are never used twice."""
    return Rows()


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """From three people on an import job is used."""
    monkeypatch.setattr("jobs.fields.lane.SINGLES", 2)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the further rows of a table on PostgreSQL."""
    seen: set[str] = set()
    left: list[pytest.Item] = []
    kept: list[pytest.Item] = []
    for item in items:
        row = getattr(item, "callspec", None)
        table = item.nodeid.split("[")[0]
        further = row is not None and row.params.get("engine_app") == "postgresql" and len(row.params) > 1
        (left if further and table in seen else kept).append(item)
        if further:
            seen.add(table)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept
