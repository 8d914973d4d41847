"""Processes that end or freeze at the worst instant there is, named and struck from within."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from sqlalchemy import func, select

from tests.faults import mortal
from tests.faults.storm import World
from tests.processes import Child, python, wait_for
from webapp.database import reading, writing
from webapp.klaviyo.oauth import TokenSet
from webapp.models import Attempt, Batch, Connection, ConnectionState, Lane
from webapp.services.connections import lifecycle
from webapp.services.connections.lifecycle import Move
from webapp.services.oauth import grants

pytestmark = pytest.mark.timeout(300)  # a slow machine may be slow
Make = Callable[..., World]
UNLIMITED = ("--limits", "off")


def make_mortal(child: Child, command: list[str], environ: dict[str, str]) -> None:
    """In its place a process that strikes itself."""
    child.stop()
    child.command = command
    child.env |= environ
    child.start()


def mortal_workers(world: World, point: str, strikes: str = "KILL") -> Path:
    """All workers strike themselves, the first to come to the point; what exists once one has."""
    marker = world.stack.home / "struck"
    for worker, kind in zip((*world.stack.workers, world.stack.slow_worker), ("fast", "fast", "slow"), strict=True):
        make_mortal(worker, python("-m", "tests.faults.mortal", kind), mortal.environ(point, marker, strikes))
    return marker


@pytest.mark.parametrize("point", [pytest.param("before the commit", marks=pytest.mark.long), "after the commit"])
def test_the_web_dies_beside_its_commit(make_world: Make, point: str) -> None:
    """Nothing is lost that was answered, nothing doubled that is asked again."""
    world = make_world(sandbox_options=UNLIMITED)
    web, marker = world.stack.web, world.stack.home / "struck"
    command = [word.replace("wsgi:app", "tests.faults.mortal_wsgi:app") for word in web.command]
    make_mortal(web, command, mortal.environ(point, marker))
    world.post(40)
    assert marker.exists()
    world.post(40)
    world.check_all()
    with reading() as session:
        assert (session.scalar(select(func.sum(Lane.made))) or 0) >= 80


@pytest.mark.long
@pytest.mark.parametrize("count", [3, 60])
@pytest.mark.parametrize("point", ["before the first byte", "after the answer"])
def test_a_worker_dies_beside_its_call(make_world: Make, point: str, count: int) -> None:
    """Its batch is open then: the same events go again with the same ids, at the latest when its lease is over."""
    world = make_world(sandbox_options=UNLIMITED)
    marker = mortal_workers(world, point)
    world.post(count)
    wait_for(marker.exists, "the strike", 60)
    wait_for(lambda: sum(worker.is_running for worker in world.stack.workers) < 2, "its end")
    world.settle(16)
    world.check_all()


@pytest.mark.long
@pytest.mark.parametrize("point", ["before the first byte", "after the answer"])
def test_a_worker_freezes_beside_its_call_and_wakes_when_another_has_its_lane(make_world: Make, point: str) -> None:
    """Frozen before the first byte it sends nothing any more; after it, what it knows counts no more."""
    world = make_world(sandbox_options=UNLIMITED)
    marker = mortal_workers(world, point, "STOP")
    world.post(1)  # of several calls at once some may be past their look at the clock when the process freezes
    wait_for(marker.exists, "the strike", 60)
    world.settle(30)
    world.post(60)  # newer values, written by others while it sleeps
    world.settle(30)
    before = _writes(world)
    for worker in (*world.stack.workers, world.stack.slow_worker):
        worker.signal(signal.SIGCONT)
    time.sleep(2)
    if point == "before the first byte":
        assert _writes(world) == before, "sent after its time"
    world.check_all()


def _writes(world: World) -> dict[tuple[str, str], int]:
    """How many calls that change something came, by account and endpoint."""
    rows = world.stack.sandbox.call("GET", "/requests")["requests"]
    return {(r["account"], r["endpoint"]): r["count"] for r in rows if not r["endpoint"].startswith("GET ")}


@pytest.mark.long
def test_only_a_workers_own_process_is_killed(make_world: Make) -> None:
    """Not its group: whatever it might leave behind would go on. It leaves nothing, and its lane goes on elsewhere."""
    world = make_world(sandbox_options=(*UNLIMITED, "--latency", "200"))
    for _ in range(4):
        world.post(80)
        time.sleep(0.4)
        victim = world.random.choice(world.stack.workers)
        group = victim.pid
        victim.signal(signal.SIGKILL, group=False)
        assert not _others_of(group), "somebody of it lives on"
        victim.wait()
        victim.start()
    world.settle(60)
    world.check_all()


def _at_work(world: World) -> int:
    with redis.Redis(port=world.stack.valkey_port) as server:
        return int(server.scard("rq:workers"))


def _others_of(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != group:
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


@pytest.mark.long
def test_workers_are_told_to_stop_one_after_another(make_world: Make) -> None:
    """As in a deployment: each finishes its call, gives its lane back and leaves. Nothing is sent twice."""
    world = make_world(sandbox_options=(*UNLIMITED, "--latency", "100"))
    for round_ in range(8):
        world.post(120)
        worker = world.stack.workers[round_ % 2]
        pid = worker.pid
        wait_for(lambda: _at_work(world) == 3, "the workers")
        worker.signal(signal.SIGTERM, group=False)
        assert worker.wait(15) == 0
        with reading() as session:
            assert session.scalars(select(Lane.id).where(Lane.owner.like(f"%:{pid}"))).all() == [], "kept its lane"
        worker.start()
    world.settle()
    with reading() as session:
        assert session.scalar(select(func.max(Batch.unknown_times))) == 0
        times = select(func.count()).where(Attempt.batch_id.is_not(None), Attempt.endpoint.like("%event%"))
        assert set(session.scalars(times.group_by(Attempt.batch_id))) == {1}, "resent"
    world.check_all()


@pytest.mark.long
@pytest.mark.parametrize("refresh", ["keeps", "rotates"])
def test_a_worker_dies_between_a_refresh_and_its_store(make_world: Make, refresh: str) -> None:
    """One try more with the old token. Where that is spent a person has to reconnect; nothing is lost until then."""
    world = make_world(sandbox_options=(*UNLIMITED, "--refresh", refresh))
    marker = mortal_workers(world, "after the refresh")
    world.post(30)
    world.settle()
    for account in ("ACCTSE", "ACCTNO"):
        world.stack.sandbox.expire(account)
    world.post(60)
    wait_for(marker.exists, "the strike", 60)
    if refresh == "rotates":
        wait_for(lambda: bool(_without_access()), "the owner to be asked", 60)
        (lost,) = _without_access()
        account = world.connection_by(lost).klaviyo_account_id
        granted = world.stack.sandbox.grant(account)
        tokens = TokenSet(granted["access_token"], granted["refresh_token"], 3600, frozenset(granted["scope"].split()))
        with writing() as session:
            grants.store(session, lost, tokens)
            lifecycle.make_move(session, session.get_one(Connection, lost), Move.RECONNECT, actor_id=None)
    world.settle(90)
    world.check_all()


def _without_access() -> list[int]:
    with reading() as session:
        lost = Connection.state == ConnectionState.NEEDS_REAUTHORIZATION
        return list(session.scalars(select(Connection.id).where(lost)))


@pytest.mark.long
def test_workers_whose_clocks_are_an_hour_off(make_world: Make) -> None:
    """One behind, one ahead, of a database on another machine: nothing waits longer, goes twice or in another order."""
    world = make_world(backend="postgresql", sandbox_options=UNLIMITED)
    for worker, seconds in zip(world.stack.workers, ("-3600", "3600"), strict=True):
        make_mortal(worker, python("-m", "tests.faults.mortal", "fast"), {"MORTAL_CLOCK": seconds})
    for _ in range(10):
        world.post(60)
        time.sleep(0.3)
    world.settle(75)
    world.check_all()
