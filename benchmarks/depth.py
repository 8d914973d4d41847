"""A worker's memory behind 1,000 and behind 1,000,000 waiting events. `python -m benchmarks.depth [the larger number]`.

A worker of its own for each; its resident memory is looked at ten times a second, the highest counts. Beside it stands
what no other process shares with it, which is what one more worker takes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.installation import Installation, address, installed
from benchmarks.piles import Pile, know
from benchmarks.report import Figure, tell
from webapp.models import Connection
from webapp.services.sharing import choices

FEW, MANY = 1_000, 1_000_000
PEOPLE = 1_000
DRAINED = 100_000  # as many are sent of the deep backlog before its worker is judged
MB = 1024 * 1024


def highest(there: Installation, until: int) -> tuple[float, float]:
    """MB of one worker at most until so many have been delivered: resident, and its own."""
    seen: list[tuple[float, float]] = []
    target = there.delivered() + until
    with there.working(1) as children:
        worker = psutil.Process(children[0].pid)
        end = time.monotonic() + 300
        while there.delivered() < target:
            assert time.monotonic() < end, "the worker does not get on"
            seen.append(_memory(worker))
            time.sleep(0.1)
        seen.append(_memory(worker))
    resident, own = zip(*seen, strict=True)
    return max(resident) / MB, max(own) / MB


def _memory(worker: psutil.Process) -> tuple[float, float]:
    found = worker.memory_full_info()
    return found.rss, found.uss


def connect(there: Installation, account: str) -> Connection:
    """A tenant whose people are known to be there."""
    made = there.connect(account, f"tenant-{account.lower()}")
    choices.choose_fields(made.workspace_id, None, [])
    return made


def main() -> None:
    """Print the table and keep the figures."""
    many = int(sys.argv[1]) if len(sys.argv) > 1 else MANY
    with tempfile.TemporaryDirectory() as home, installed(Path(home), "postgresql") as there:
        found = {}
        for account, count, drained in (("ACCTSE", FEW, FEW), ("ACCTNO", many, DRAINED)):
            connection = connect(there, account)
            profiles = there.sandbox.put_profiles(account, *[address(number) for number in range(PEOPLE)])
            Pile(connection, count, PEOPLE).make()
            know(connection, profiles)
            found[count] = highest(there, drained)
    (few, few_own), (deep, deep_own) = found[FEW], found[many]
    more = 100 * (deep / few - 1)
    figures = [
        Figure(f"behind {FEW:,} waiting", few, "MB", at_most=90),
        Figure("of that its own", few_own, "MB"),
        Figure(f"behind {many:,} waiting", deep, "MB", at_most=90),
        Figure("of that its own", deep_own, "MB"),
        Figure("more behind the deep one", more, "%", at_most=15),
    ]
    tell("depth", "A worker's memory", figures)


if __name__ == "__main__":
    main()
