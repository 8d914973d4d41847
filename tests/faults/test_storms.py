"""Things break while activities come in; afterwards nothing is lost, doubled, out of order, stale or created."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.storm import World
from tests.processes import Child

pytestmark = pytest.mark.timeout(300)  # a slow machine may be slow
Make = Callable[..., World]


def kill_and_restart(child: Child) -> None:
    child.kill()
    child.start()


def test_workers_killed_while_answers_get_lost(make_world: Make) -> None:
    world = make_world(sandbox_options=("--limits", "off"))
    sandbox = world.stack.sandbox
    for kind in ("after-commit-reset", "reset", "500", "429"):
        sandbox.fault(kind, probability=0.08, times=40, retry_after=1)
    for round_ in range(12):
        world.post(60)
        kill_and_restart(world.random.choice(world.stack.workers))
        if round_ == 6:
            world.stack.restart_valkey()
        time.sleep(0.4)
    sandbox.clear_faults()
    world.check_all()


@pytest.mark.long
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
@pytest.mark.parametrize("reading", ["in-call", "ever"])
def test_a_long_storm(make_world: Make, backend: str, reading: str) -> None:
    world = make_world(backend=backend, sandbox_options=("--limits", "off", "--repeated-unique-id", reading))
    sandbox, stack = world.stack.sandbox, world.stack
    kinds = ("after-commit-reset", "reset", "500", "503", "429", "html-403", "timeout", "401")
    for round_ in range(40):
        if round_ % 5 == 0:
            sandbox.clear_faults()
            sandbox.fault(world.random.choice(kinds), probability=0.2, times=30, retry_after=1, seconds=1)
        world.post(world.random.choice([1, 5, 100, 400]))
        what = world.random.randrange(6)
        if what < 3:
            kill_and_restart(world.random.choice(stack.workers))
        elif what == 3:
            stack.restart_valkey()
        elif what == 4:
            kill_and_restart(stack.sweeper)
        time.sleep(world.random.random())
    sandbox.clear_faults()
    world.check_all()


@pytest.mark.long
def test_a_frozen_worker_wakes_after_its_lease(make_world: Make) -> None:
    """Also where it was frozen while it held SQLite's only write lock: then nobody writes until it wakes."""
    world = make_world(sandbox_options=("--limits", "off", "--latency", "300"))
    with ThreadPoolExecutor(1) as beside:
        for _ in range(3):
            world.post(150)
            time.sleep(0.5)
            victim = world.stack.workers[0]
            victim.signal(signal.SIGSTOP)
            posted = beside.submit(world.post, 50)
            time.sleep(14)
            victim.signal(signal.SIGCONT)
            posted.result(120)
    world.check_all()


@pytest.mark.long
def test_fields_end_at_the_newest_though_jobs_take_effect_in_any_order(make_world: Make) -> None:
    world = make_world(sandbox_options=("--limits", "off"))
    world.stack.sandbox.fault("slow-jobs", seconds=4, times=1000)
    for _ in range(10):
        world.post(120)
        time.sleep(0.3)
    world.settle()
    time.sleep(6)  # whatever was accepted has taken effect by now
    world.make_rewrites_due()
    world.check_sums()
    world.check_ledger(ordered=False)


@pytest.mark.long
def test_the_web_is_killed_while_it_accepts(make_world: Make) -> None:
    world = make_world(sandbox_options=("--limits", "off"))
    for _ in range(15):
        world.stack.web.kill()
        world.stack.web.start()
        world.post(80)
    world.check_all()
