"""How long one event of a small account takes while others are limited, hang, or have a mountain waiting. `make bench`.

Two accounts have a backlog of 30,000 events each; in the second case a third one never answers. A small account
posts one event at a time.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.installation import Installation, address, installed
from benchmarks.report import save, table
from tests.processes import Child, python, wait_for
from webapp.database import reading
from webapp.models import Connection, Delivery
from webapp.services import activities, sharing

WHALES, EVENTS, PEOPLE, SMALL = 2, 30_000, 2_000, 30


def prepare(there: Installation) -> tuple[list[Connection], Connection, list[Connection]]:
    """Whales on one account each, one small connection, and accounts that hang or are limited."""
    accounts = ["ACCTSE", "ACCTNO", "ACCTDE", "ACCTDK"]
    made = [there.connect(account, f"tenant-{account.lower()}") for account in accounts]
    for connection, account in zip(made, accounts, strict=True):
        there.sandbox.put_profiles(account, *[address(number) for number in range(PEOPLE)])
        sharing.choose_fields(connection.workspace_id, None, [])
    return made[:WHALES], made[2], made[3:]


def one(there: Installation, small: Connection, number: int) -> float:
    """Milliseconds from acceptance to delivery of one event."""
    item = {
        "id": f"small-{number}",
        "type": "event",
        "event": "tier_earned",
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": address(number)},
        "properties": {},
    }
    began = time.perf_counter()
    assert activities.accept(small.workspace_id, [item]).accepted == 1
    while True:
        with reading() as session:
            done = session.query(Delivery).filter_by(connection_id=small.id, kind="event", status="delivered").count()
        if done > number:
            return (time.perf_counter() - began) * 1000
        time.sleep(0.003)


def measure(backend: str, workers: int, *, dead: bool) -> dict[str, float]:
    """The small account's times behind the big ones, and with one account that hangs besides."""
    with tempfile.TemporaryDirectory() as home, installed(Path(home), backend) as there:
        whales, small, others = prepare(there)
        for connection in whales:
            there.backlog(connection.workspace_id, EVENTS, PEOPLE)
        if dead:
            there.sandbox.fault("hang", account="ACCTDK", times=1000)
            for connection in others:
                there.backlog(connection.workspace_id, 1000, PEOPLE)
        children = [
            Child(f"worker-{number}", python("-m", "jobs.worker", "fast"), there.env, there.home)
            for number in range(workers)
        ]
        children += [Child("worker-slow", python("-m", "jobs.worker", "slow"), there.env, there.home), there.sweeper]
        for child in children:
            child.start()
        wait_for(there.has_begun, "the first delivery", 60)
        taken = sorted(one(there, small, number) for number in range(SMALL))
        left = there.waiting()
        for child in children:
            child.stop()
    return {"p50 ms": taken[len(taken) // 2], "slowest ms": taken[-1], "still waiting elsewhere": left}


def main() -> None:
    """Print the table and keep the figures."""
    found = {
        "2 workers, 2 whales": measure("postgresql", 2, dead=False),
        "4 workers, 2 whales, 1 hangs": measure("postgresql", 4, dead=True),
    }
    print(table(f"One event of a small account, {SMALL} times", found))
    save("fairness", found)


if __name__ == "__main__":
    main()
