"""Klaviyo is down, hangs, is slow, forgets people: what we send is right all the same, and within its limits."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults.storm import World
from tests.processes import wait_for
from webapp.klaviyo.endpoints import BY_NAME

pytestmark = pytest.mark.timeout(300)  # a slow machine may be slow
Make = Callable[..., World]
UNLIMITED = ("--limits", "off")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["503", "reset"])
def test_down_wholly_for_a_while(make_world: Make, kind: str) -> None:
    """Everybody is back within a minute, and what has gathered goes out within the documented limits."""
    world = make_world(sandbox_options=("--limits", "documented"))
    world.post(20)
    world.settle()
    sandbox = world.stack.sandbox
    sandbox.fault(kind)
    asked = sandbox.requests()
    for _ in range(15):
        world.post(300)
        time.sleep(1)
    assert sandbox.requests() - asked < 200, "asked over and over while it is down"
    sandbox.clear_faults()
    before = {account: len(world.arrived(account)) for account in ("ACCTSE", "ACCTNO")}
    for account, count in before.items():
        wait_for(lambda: len(world.arrived(account)) > count, f"{account} to go on", 75)  # noqa: B023 - called in this turn
    world.settle(180)
    assert world.refused_share() <= 0.005
    for (account, name), (second, minute) in sandbox.rates().items():
        endpoint = BY_NAME.get(name)
        if endpoint is not None:
            assert (second <= endpoint.per_second, minute <= endpoint.per_minute) == (True, True), (account, name)
    world.check_all()


@pytest.mark.long
def test_one_account_hangs(make_world: Make) -> None:
    """Its lanes go to the slow queue; the other account's events arrive meanwhile."""
    world = make_world(sandbox_options=UNLIMITED)
    world.stack.sandbox.fault("hang", account="ACCTSE")
    for _ in range(4):
        world.post(40)
        time.sleep(0.5)
    mine = {identity for identity, a in world.accepted.items() if a["type"] == "event" and a["store"] == "no"}
    known = {identity for identity in mine if world.accepted[identity]["profile"]["email"].startswith("member")}
    wait_for(lambda: known <= world.arrived("ACCTNO"), "the other account's events", 60)
    assert world.arrived("ACCTSE") == set()
    world.stack.sandbox.clear_faults()
    world.settle(90)
    world.check_all()


@pytest.mark.long
def test_slow_jobs_while_workers_are_killed(make_world: Make) -> None:
    """Whatever takes effect late, in any order, sent by whoever is dead by then: fields end at the newest."""
    world = make_world(sandbox_options=UNLIMITED)
    world.stack.sandbox.fault("slow-jobs", seconds=4)
    for _ in range(10):
        world.post(120)
        time.sleep(0.3)
        victim = world.random.choice(world.stack.workers)
        victim.kill()
        victim.start()
    world.settle()
    time.sleep(6)  # whatever was accepted has taken effect by now
    world.stack.sandbox.clear_faults()
    world.make_rewrites_due()
    world.check_sums()
    world.check_ledger(ordered=False)


@pytest.mark.long
@pytest.mark.parametrize("unknown_id", ["drop", "reject"])
def test_people_are_deleted_in_klaviyo(make_world: Make, unknown_id: str) -> None:
    """An account that only updates: whoever was deleted is not made again, whatever an unknown id does there."""
    world = make_world(sandbox_options=(*UNLIMITED, "--unknown-profile-id", unknown_id))
    world.post(150)
    world.settle()
    for number in (1, 2, 3):
        email = world.address("ACCTSE", number)
        world.stack.sandbox.delete("ACCTSE", emails=(email,))
        world.gone.add(email)
        for _ in range(3):
            world.post(60)
            time.sleep(0.3)
    world.check_all()


@pytest.mark.long
def test_an_unknown_id_that_creates_makes_nobody_but_who_was_just_deleted(make_world: Make) -> None:
    """The one hole: an event by a remembered id, within ten minutes. Never a stranger."""
    world = make_world(sandbox_options=(*UNLIMITED, "--unknown-profile-id", "create"))
    world.post(150)
    world.settle()
    email = world.address("ACCTSE", 1)
    world.stack.sandbox.delete("ACCTSE", emails=(email,))
    for _ in range(4):
        world.post(60)
        time.sleep(0.3)
    world.settle()
    world.make_rewrites_due()
    world.check_sums()
    there = world.profiles_before["ACCTSE"]
    made = [row for row in world.stack.sandbox.profiles("ACCTSE") if row not in there]
    assert set(made) <= {None}, "strangers"
