"""Redis only wakes: whatever becomes of it, nothing is lost, and delivery is back seconds after it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.proxy import Mode, Proxy
from tests.faults.storm import World
from tests.processes import free_port, wait_for
from webapp import queue

pytestmark = pytest.mark.timeout(300)  # a slow machine may be slow
Make = Callable[..., World]
UNLIMITED = ("--limits", "off")
BACK_WITHIN = 20  # a net; what is promised is measured where nothing else runs


def valkey(world: World) -> redis.Redis:
    return redis.Redis(port=world.stack.valkey_port, socket_timeout=5)


def goes_on(world: World, before: int) -> None:
    """What is posted now arrives."""
    world.post(20)
    wait_for(lambda: world.waiting() == 0, "the delivery to go on", BACK_WITHIN)
    assert world.stack.sandbox.requests() > before
    assert all(worker.is_running for worker in (*world.stack.workers, world.stack.slow_worker))


def leaves_nothing(server: redis.Redis) -> None:
    """Neither jobs nor their executions; the workers are idle, and counted what they did."""

    def left() -> list[bytes]:
        patterns = ("rq:job:*", "rq:execution*", "rq:wip:*", "rq:finished:*", "rq:failed:*", "rq:queue:*")
        return [key for pattern in patterns for key in server.scan_iter(pattern)]

    def workers() -> list[dict[Any, Any]]:
        return [server.hgetall(key) for key in server.smembers("rq:workers")]

    def idle() -> bool:
        return {worker[b"state"] for worker in workers()} == {b"idle"}

    wait_for(lambda: not left() and idle(), "nothing to be left", 20)
    found = workers()
    assert sum(int(worker.get(b"successful_job_count", 0)) for worker in found) > 0
    assert all(worker[b"last_heartbeat"] for worker in found)


def test_full_then_read_only_then_as_before(make_world: Make) -> None:
    """Accepting goes on; the workers outlive it, and go on by themselves. What is done leaves nothing there."""
    world = make_world(sandbox_options=UNLIMITED)
    world.post(20)
    world.settle()
    with valkey(world) as server:
        leaves_nothing(server)
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", "1")
        world.post(40)
        time.sleep(2)
        server.config_set("maxmemory", "0")
        goes_on(world, world.stack.sandbox.requests())
        server.replicaof("127.0.0.1", str(free_port()))
        world.post(40)
        time.sleep(2)
        server.replicaof("NO", "ONE")
        goes_on(world, world.stack.sandbox.requests())
    world.check_all()


def test_a_stranger_writes_there(make_world: Make, tmp_path: Path) -> None:
    """Another function by name, pickled bytes, nonsense, and a callback on our own job: nothing of it is run."""
    world = make_world(sandbox_options=UNLIMITED)
    trap = tmp_path / "trap"
    pickled = b"cos\nsystem\n(S'touch " + str(trap).encode() + b"'\ntR."
    touch: list[object] = ["os.system", None, [f"touch {trap}"], {}]
    drain: list[object] = [queue.DRAIN, None, [1], {}]
    callback = {"success_callback_name": "this.does.not_exist", "failure_callback_name": "antigravity.fly"}
    jobs: dict[str, dict[str, bytes | str]] = {
        "by-name": {"data": json.dumps(touch)},
        "pickled": {"data": pickled},
        "nonsense": {"data": b"\x00\xff"},
        "no-job": {"status": "queued"},
        "callback": {"data": json.dumps(drain), **callback},
    }
    with valkey(world) as server:
        for name, values in jobs.items():
            full = {"origin": queue.FAST, "status": "queued", "created_at": "2026-01-01T00:00:00.000000Z", **values}
            server.hset(f"rq:job:{name}", mapping=full)
            server.rpush(f"rq:queue:{queue.FAST}", name)
        wait_for(lambda: server.llen(f"rq:queue:{queue.FAST}") == 0, "all of it taken")
    goes_on(world, world.stack.sandbox.requests())
    assert not trap.exists()
    assert "antigravity" not in "".join(worker.tail(500) for worker in world.stack.workers)
    world.check_all()


@pytest.mark.long
def test_keys_vanish_at_random(make_world: Make) -> None:
    world = make_world(sandbox_options=UNLIMITED)
    over = threading.Event()

    def vanish() -> None:
        with valkey(world) as server:
            while not over.wait(0.02):
                key = server.randomkey()
                if key is not None:
                    server.delete(key)

    thread = threading.Thread(target=vanish)
    thread.start()
    try:
        for _ in range(15):
            world.post(60)
            time.sleep(0.3)
    finally:
        over.set()
        thread.join(10)
    world.settle(30)
    goes_on(world, world.stack.sandbox.requests())
    world.check_all()


@pytest.fixture
def cable() -> Iterator[Proxy]:
    """Between everybody and Valkey; there until everybody is gone."""
    with Proxy(free_port()) as made:
        yield made


@pytest.mark.long
@pytest.mark.parametrize("mode", ["silent", "refused"])
def test_out_of_reach(cable: Proxy, make_world: Make, mode: Mode) -> None:
    """For longer than RQ's own patience: an ingest call waits for it less than a second, and all goes on after it."""
    url = f"redis://127.0.0.1:{cable.port}/0"
    world = make_world(sandbox_options=UNLIMITED, valkey_port=cable.target, environ={"REDIS_URL": url})
    world.post(20)
    world.settle()
    cable.switch(mode)
    before = world.stack.sandbox.requests()
    for _ in range(20):
        world.post(20)
        time.sleep(1)
    cable.switch("through")
    goes_on(world, before)
    world.check_all()
