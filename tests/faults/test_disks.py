"""The disk: what was answered is on it, and where it is full nothing is answered that is not."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import create_engine, event, func, select, text

from tests.apps import own_app, test_settings
from tests.databases import OwnPostgres
from tests.rows import Rows
from webapp import create_app
from webapp.database import reading, writing
from webapp.extensions import db
from webapp.models import Activity, Delivery, Workspace
from webapp.services.workspaces import ingest_keys

WAITS = ("synchronous_commit", "fsync")
URL, KEY = "/api/v1/activities", "a-test-key"


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    with own_app(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Flask]:
    with own_app("sqlite", tmp_path) as made:
        yield made


def workspace() -> Workspace:
    rows = Rows()
    made = rows.workspace()
    ingest_keys.create(made.id, "test", None, key=KEY)
    rows.connection(made, rows.store(made, "se"))
    return made


def post(app: Flask, *names: str) -> Any:
    plain = {"type": "profile", "store": "se", "occurred_at": "2026-11-23T10:00:00Z"}
    items = [{"id": name, "profile": {"email": f"{name}@example.com"}, **plain} for name in names]
    return app.test_client().post(URL, json={"activities": items}, headers={"Authorization": f"Bearer {KEY}"})


def test_what_was_answered_is_in_a_copy_of_the_files_of_that_instant(sqlite: Flask, tmp_path: Path) -> None:
    """As after a power cut: whoever starts on these files finds it, though nothing was closed or checkpointed."""
    workspace()
    path = Path(str(db.engine.url.database))
    for number in range(20):
        assert post(sqlite, f"a-{number}").status_code == 202
        copied = tmp_path / f"copy-{number}"
        copied.mkdir()
        for part in path.parent.glob(f"{path.name}*"):
            if not part.name.endswith("-shm"):
                shutil.copy(part, copied / part.name)
        engine = create_engine(f"sqlite:///{copied / path.name}")
        with engine.connect() as connection:
            assert connection.execute(select(func.count(Activity.id))).scalar_one() == number + 1
        engine.dispose()


def test_a_commit_waits_for_the_disk_on_sqlite(sqlite: Flask) -> None:
    with writing() as session:
        assert session.execute(text("PRAGMA synchronous")).scalar_one() == 2, "FULL"
        assert session.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"


def test_a_commit_waits_for_the_disk_on_postgresql(tmp_path: Path) -> None:
    """A server as it comes: the one of most tests need not wait."""
    server = OwnPostgres()
    app = create_app(test_settings(server.url, tmp_path))
    try:
        with app.app_context():
            with writing() as session:
                found = {name: session.execute(text(f"SHOW {name}")).scalar_one() for name in WAITS}
            for engine in db.engines.values():
                engine.dispose()
        assert found == dict.fromkeys(WAITS, "on")
    finally:
        server.remove()


def test_a_full_disk_accepts_nothing_and_reads_on(sqlite: Flask) -> None:
    workspace()
    limit: list[int] = []

    @event.listens_for(db.engine, "checkout")
    def _full(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={limit[-1] if limit else 2_000_000}")

    with writing() as session:
        limit.append(int(session.execute(text("PRAGMA page_count")).scalar_one()) + 4)
    answered = 0
    for number in range(400):
        answer = post(sqlite, *(f"b-{number}-{each}" for each in range(20)))
        if answer.status_code != 202:
            break
        answered += 20
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert _counted() == (answered, answered), "nothing that was not answered, and all that was"
    assert sqlite.test_client().get("/sign-in").status_code == 200
    limit.append(2_000_000)
    again = post(sqlite, *(f"b-{number}-{each}" for each in range(20)))
    assert (again.status_code, again.get_json()["accepted"]) == (202, 20)
    assert _counted() == (answered + 20, answered + 20)


def _counted() -> tuple[int, int]:
    with reading() as session:
        activities = session.scalar(select(func.count(Activity.id))) or 0
        return activities, session.scalar(select(func.count(Delivery.id))) or 0


def test_many_send_the_same_ids_at_the_same_time(app: Flask) -> None:
    """Each is accepted once, whoever was first."""
    workspace()
    names = [f"c-{number}" for number in range(30)]
    start, accepted = threading.Barrier(12), []

    def work(shift: int) -> None:
        start.wait(10)
        answer = post(app, *names[shift:], *names[:shift])
        assert answer.status_code == 202
        accepted.append(answer.get_json()["accepted"])

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(accepted), sum(accepted)) == (12, 30)
    assert _counted() == (30, 30)
