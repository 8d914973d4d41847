"""The database goes away in the middle of everything and comes back: nothing that was answered is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.databases import OwnPostgres
from tests.faults.storm import World
from tests.processes import wait_for

pytestmark = pytest.mark.timeout(300)  # a slow machine may be slow
Make = Callable[..., World]


@pytest.fixture
def server() -> Iterator[OwnPostgres]:
    made = OwnPostgres()
    yield made
    made.remove()


@pytest.mark.long
def test_postgresql_crashes_under_load(make_world: Make, server: OwnPostgres) -> None:
    world = make_world(backend="postgresql", database_url=server.url, sandbox_options=("--limits", "off"))
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            world.post(60)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(4):
            time.sleep(2)
            server.crash()
            time.sleep(1)
            server.start()
            before = world.stack.sandbox.requests()
            wait_for(lambda: world.stack.sandbox.requests() > before, "the delivery to go on", 90)  # noqa: B023 - called in this turn
    finally:
        over.set()
        thread.join(30)
    assert all(child.is_running for child in (*world.stack.workers, world.stack.slow_worker, world.stack.sweeper))
    world.settle(60)
    world.check_all()
