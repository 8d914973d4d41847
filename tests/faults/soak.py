"""A storm for as long as asked: `python -m tests.faults.soak --minutes 10 --seed 7`. The seed repeats its choices.

`--events 1000000 --kills 100` is the long form: so many activities, something killed so many times on the way.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, select

from tests.faults.storm import World, world
from tests.processes import Child, wait_for
from webapp.database import reading
from webapp.models import Attempt, Batch

KINDS = ("after-commit-reset", "reset", "500", "503", "429", "html-403", "timeout", "401", "slow")
DEEPEST = 100_000  # what may wait at most before the next call of the long form
Blow = Callable[[World], str]


def kill_worker(world: World) -> str:
    """A worker is killed."""
    victim: Child = world.random.choice([*world.stack.workers, world.stack.slow_worker])
    victim.kill()
    victim.start()
    return f"killed {victim.name}"


def kill_sweeper(world: World) -> str:
    """The sweeper is killed."""
    world.stack.sweeper.kill()
    world.stack.sweeper.start()
    return "killed the sweeper"


def kill_web(world: World) -> str:
    """The web is killed."""
    world.stack.web.kill()
    world.stack.web.start()
    return "killed the web"


def empty_valkey(world: World) -> str:
    """Valkey is killed and starts empty."""
    world.stack.restart_valkey()
    return "emptied Valkey"


def trouble_klaviyo(world: World) -> str:
    """Klaviyo answers in another wrong way."""
    world.stack.sandbox.clear_faults()
    kind = world.random.choice(KINDS)
    world.stack.sandbox.fault(kind, probability=0.2, times=50, retry_after=1, seconds=1)
    return f"Klaviyo: {kind}"


KILLS: tuple[Blow, ...] = (*[kill_worker] * 4, empty_valkey, kill_sweeper, kill_web)
BLOWS: tuple[Blow, ...] = (*KILLS, *[trouble_klaviyo] * 3)


def gust(world: World) -> str:
    """Activities, and something that breaks; what it was."""
    world.post(world.random.choice([1, 10, 200, 1000]))
    told: str = world.random.choice(BLOWS)(world)
    time.sleep(world.random.random())
    return told


def march(world: World, activities: int) -> str:
    """So many activities in full calls, and something killed beside them; what it was."""
    for _ in range(max(1, activities // 1000)):
        world.post(min(1000, activities))
    trouble_klaviyo(world)
    told: str = world.random.choice(KILLS)(world)
    wait_for(lambda: world.waiting() < DEEPEST, "the backlog to shrink", 900)
    return told


def figures(world: World, seconds: float, blows: Counter[str]) -> None:
    """What it was like."""
    with reading() as session:
        counted = session.execute(select(Attempt.outcome, func.count()).group_by(Attempt.outcome)).all()
        batches = session.scalar(select(func.count()).select_from(Batch)) or 0
        doubtful = session.scalar(select(func.count()).where(Batch.unknown_times > 0)) or 0
    attempts = Counter({str(row[0]): int(row[1]) for row in counted})
    print(f"{len(world.accepted):,} activities in {seconds:,.0f} s: {len(world.accepted) / seconds:,.0f} a second")
    print("blows: " + ", ".join(f"{number} x {told}" for told, number in sorted(blows.items())))
    print(f"calls: {attempts.total():,} (" + ", ".join(f"{n:,} {what}" for what, n in sorted(attempts.items())) + ")")
    print(f"batches: {batches:,}, of unknown outcome for a while: {doubtful:,}", flush=True)


def asked() -> argparse.Namespace:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--minutes", type=float, default=5.0)
    words.add_argument("--events", type=int, default=0, help="so many activities instead of so many minutes")
    words.add_argument("--kills", type=int, default=100, help="how often something is killed on the way")
    words.add_argument("--seed", type=int, default=int(time.time()))
    words.add_argument("--backend", choices=["sqlite", "postgresql"], default="sqlite")
    return words.parse_args()


def blow(world: World, words: argparse.Namespace) -> Counter[str]:
    """The whole storm; what broke, and how often."""
    blows: Counter[str] = Counter()
    until = time.monotonic() + words.minutes * 60
    while blows.total() < words.kills if words.events else time.monotonic() < until:
        told = march(world, words.events // words.kills) if words.events else gust(world)
        blows[told] += 1
        print(f"{blows.total():5} {len(world.accepted):8} accepted, {world.waiting():6} waiting, {told}", flush=True)
    return blows


def main() -> None:
    """Blow, then compare the ledger; ends with an error where a promise was broken."""
    words = asked()
    print(f"seed {words.seed}, {words.events or f'{words.minutes:g} minutes'}, {words.backend}", flush=True)
    with tempfile.TemporaryDirectory() as home:
        people = 2_000 if words.events else 40
        options = {"backend": words.backend, "sandbox_options": ("--limits", "off")}
        made, end = world(Path(home), words.seed, people, **options)
        try:
            began = time.monotonic()
            blows = blow(made, words)
            made.stack.sandbox.clear_faults()
            made.settle(1_800)
            figures(made, time.monotonic() - began, blows)
            made.make_rewrites_due(900)
            made.check_sums()
            made.check_ledger()
        finally:
            end()
    print(f"Nothing lost, doubled, out of order, stale or created: {len(made.accepted):,} activities.")


if __name__ == "__main__":
    main()
