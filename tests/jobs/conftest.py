"""An app for a module's tests of the engine, on either database: each test makes a workspace of its own in it.

A table of answers is played row by row on SQLite; on PostgreSQL its first row says that the statements work there too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from flask import Flask

from jobs.events import ahead
from jobs.events.event import Event
from jobs.run import Run
from tests.apps import lent_app
from tests.jobs.shop import SIZE
from tests.rows import Rows
from webapp.klaviyo import payloads


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine_app(request: pytest.FixtureRequest) -> Iterator[Flask]:
    """An app on either database, its context pushed."""
    with lent_app(request.param) as lent:
        yield lent


@pytest.fixture(scope="module")
def engine_rows(engine_app: Flask) -> Rows:
    """Rows in it; accounts and addresses are never used twice."""
    return Rows()


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """From three people on an import job is used."""
    monkeypatch.setattr("jobs.fields.lane.SINGLES", 2)


@pytest.fixture
def few_fill_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bulk call holds eight events."""
    monkeypatch.setattr(payloads, "BULK_EVENTS", SIZE)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """What is prepared behind a call is ready before that is made: ids, each time."""
    found: list[list[int]] = []
    real = ahead.start

    def at_once(run: Run, behind: Sequence[Event]) -> None:
        real(run, behind)
        ready = run.ahead.result() if run.ahead is not None else None
        found.append([item.id for item in ready.planned.sendable] if ready is not None else [])

    monkeypatch.setattr(ahead, "start", at_once)
    return found


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
