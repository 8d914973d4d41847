"""The same 200,000 events over 10, 200 and 1,000 accounts: how much longer many small lanes take than few big ones.

Two workers, PostgreSQL, everybody known. `python -m benchmarks.spread [events]`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.installation import Installation, address, installed
from benchmarks.piles import Pile, know
from benchmarks.report import Figure, tell
from webapp.models import Connection
from webapp.services.sharing import choices

EVENTS, ACCOUNTS = 200_000, (10, 200, 1_000)
EVENTS_A_PERSON = 10


def connect(there: Installation, count: int) -> list[Connection]:
    """One tenant an account."""
    made = [there.connect(f"AC{number:04d}", f"tenant-{number}") for number in range(1, count + 1)]
    for connection in made:
        choices.choose_fields(connection.workspace_id, None, [])
    return made


def seconds(there: Installation, connections: list[Connection], events: int) -> float:
    """How long the events take, evenly spread over these connections."""
    each = events // len(connections)
    people = max(1, each // EVENTS_A_PERSON)
    for connection in connections:
        found = there.sandbox.put_profiles(connection.klaviyo_account_id, *[address(n) for n in range(people)])
        Pile(connection, each, people, prefix=f"over-{len(connections)}").make()
        know(connection, found)
    drained = there.drain(2)
    return drained.seconds * events / drained.count


def main() -> None:
    """Print the table and keep the figures."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    options = ("--limits", "off", "--extra-accounts", str(max(ACCOUNTS)))
    with tempfile.TemporaryDirectory() as home, installed(Path(home), "postgresql", *options) as there:
        connections = connect(there, max(ACCOUNTS))
        taken = {count: seconds(there, connections[:count], events) for count in ACCOUNTS}
    figures = [Figure(f"over {count:,} accounts", taken[count], "s") for count in ACCOUNTS]
    times = taken[max(ACCOUNTS)] / taken[min(ACCOUNTS)]
    figures.append(Figure(f"{max(ACCOUNTS):,} accounts / {min(ACCOUNTS)}", times, "times", at_most=2))
    tell("spread", f"{events:,} events over many accounts, two workers", figures)


if __name__ == "__main__":
    main()
