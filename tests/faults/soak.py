"""A storm for as long as asked: `python -m tests.faults.soak --minutes 10 --seed 7`. The seed repeats its choices."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.faults.storm import World, world
from tests.processes import Child

KINDS = ("after-commit-reset", "reset", "500", "503", "429", "html-403", "timeout", "401", "slow")


def blow(world: World) -> str:
    """One gust: activities, and something that breaks; what it was."""
    stack, random = world.stack, world.random
    world.post(random.choice([1, 10, 200, 1000]))
    what = random.randrange(10)
    if what < 4:
        victim: Child = random.choice([*stack.workers, stack.slow_worker])
        victim.kill()
        victim.start()
        return f"killed {victim.name}"
    if what == 4:
        stack.restart_valkey()
        return "emptied Valkey"
    if what == 5:
        stack.sweeper.kill()
        stack.sweeper.start()
        return "killed the sweeper"
    if what == 6:
        stack.web.kill()
        stack.web.start()
        return "killed the web"
    stack.sandbox.clear_faults()
    kind = random.choice(KINDS)
    stack.sandbox.fault(kind, probability=0.2, times=50, retry_after=1, seconds=1)
    return f"Klaviyo: {kind}"


def main() -> None:
    """Blow, then compare the ledger; ends with an error where a promise was broken."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--minutes", type=float, default=5.0)
    words.add_argument("--seed", type=int, default=int(time.time()))
    words.add_argument("--backend", choices=["sqlite", "postgresql"], default="sqlite")
    asked = words.parse_args()
    print(f"seed {asked.seed}, {asked.minutes:g} minutes, {asked.backend}", flush=True)
    with tempfile.TemporaryDirectory() as home:
        made, end = world(Path(home), asked.seed, backend=asked.backend, sandbox_options=("--limits", "off"))
        try:
            until, gusts = time.monotonic() + asked.minutes * 60, 0
            while time.monotonic() < until:
                gusts += 1
                print(
                    f"{gusts:5} {len(made.accepted):8} accepted, {made.waiting():6} waiting, {blow(made)}", flush=True
                )
                time.sleep(made.random.random())
            made.stack.sandbox.clear_faults()
            made.settle(600)
            made.make_rewrites_due(300)
            made.check_sums()
            made.check_ledger()
        finally:
            end()
    print(f"Nothing lost, doubled, out of order, stale or created: {len(made.accepted)} activities, {gusts} gusts.")


if __name__ == "__main__":
    main()
