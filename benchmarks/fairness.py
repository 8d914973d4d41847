"""How long one event of a small account takes while others are limited, hang, or have a mountain waiting.

Fifty accounts, one tenant each. Behind the big ones: as many tenants as there are fast workers have mountains waiting.
Beside the dead ones: five are limited by Klaviyo, three never answer, all eight have work. Another tenant posts one
event at a time through the ingest's own function; what is timed ends when its delivery says so.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.installation import Installation, address, installed
from benchmarks.piles import Pile, know
from benchmarks.report import Figure, tell
from tests.processes import wait_for
from webapp.database import reading
from webapp.models import Connection, Delivery
from webapp.services.activities import ingest
from webapp.services.sharing import choices

ACCOUNTS, LIMITED, HANGING = 50, 5, 3
PEOPLE, TIMES = 1_000, 100
MOUNTAIN = 600_000
DEAD_WORK = 5_000


def prepare(there: Installation) -> list[Connection]:
    """Fifty tenants with an account each, events on, fields off; everybody is known to be there."""
    made = []
    for number in range(1, ACCOUNTS + 1):
        account = f"AC{number:04d}"
        connection = there.connect(account, f"tenant-{number}")
        choices.choose_fields(connection.workspace_id, None, [])
        made.append(connection)
    return made


def people(there: Installation, connection: Connection) -> None:
    """Put people into the account and remember them as looked up."""
    emails = [address(number) for number in range(PEOPLE)]
    found = there.sandbox.put_profiles(connection.klaviyo_account_id, *emails)
    know(connection, found)


def one(there: Installation, small: Connection, number: int) -> float:
    """Milliseconds from acceptance to delivery of one event."""
    item = {
        "id": f"small-{number}",
        "type": "event",
        "event": "tier_earned",
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": address(number % 20)},
        "properties": {},
    }
    began = time.perf_counter()
    assert ingest.accept(small.workspace_id, [item]).accepted == 1
    while True:
        with reading() as session:
            done = session.query(Delivery).filter_by(connection_id=small.id, kind="event", status="delivered").count()
        if done > number:
            return (time.perf_counter() - began) * 1000
        time.sleep(0.003)


def measure(there: Installation, small: Connection, workers: int) -> tuple[list[float], int]:
    """One event at a time, TIMES times, sorted; and how many of others still waited at the end."""
    with there.working(workers):
        before = there.delivered()
        wait_for(lambda: there.delivered() > before, "the first delivery", 120)
        taken = []
        for number in range(TIMES):
            taken.append(one(there, small, number))
            time.sleep(0.05)
        left = there.waiting()
    return sorted(taken), left


def behind_the_big(workers: int, mountain: int) -> list[Figure]:
    """As many tenants as fast workers have mountains waiting."""
    with tempfile.TemporaryDirectory() as home, _installed(home) as there:
        made = prepare(there)
        for connection in made[:workers]:
            Pile(connection, mountain, PEOPLE).make()
            people(there, connection)
        there.sandbox.put_profiles(made[-1].klaviyo_account_id, *[address(number) for number in range(PEOPLE)])
        taken, left = measure(there, made[-1], workers)
    name = f"behind {workers} tenants with {mountain:,} each"
    return _figures(name, taken, left, 500)


def beside_the_dead(workers: int) -> list[Figure]:
    """Five accounts are limited, three hang."""
    with tempfile.TemporaryDirectory() as home, _installed(home) as there:
        made = prepare(there)
        for number, connection in enumerate(made[: LIMITED + HANGING]):
            Pile(connection, DEAD_WORK, PEOPLE).make()
            people(there, connection)
            account = connection.klaviyo_account_id
            if number < LIMITED:
                there.sandbox.fault("429", account=account, times=100_000, retry_after=1)
            else:
                there.sandbox.fault("hang", account=account, times=100_000)
        healthy = made[LIMITED + HANGING :]
        for connection in healthy:
            there.sandbox.put_profiles(connection.klaviyo_account_id, *[address(number) for number in range(20)])
        with there.working(workers):
            time.sleep(2)
            taken = sorted(one(there, healthy[-1], number) for number in range(TIMES))
            left = there.waiting()
    name = f"beside {LIMITED} limited and {HANGING} hanging, {workers} workers"
    return _figures(name, taken, left, 1000)


def _installed(home: str) -> AbstractContextManager[Installation]:
    return installed(Path(home), "postgresql", "--limits", "off", "--extra-accounts", str(ACCOUNTS))


def _figures(name: str, taken: list[float], left: int, aim: float) -> list[Figure]:
    assert left, "nothing waited elsewhere any more: this measured nothing"
    return [
        Figure(f"{name}: p50", taken[len(taken) // 2], "ms"),
        Figure(f"{name}: p99", taken[int(len(taken) * 0.99) - 1], "ms", at_most=aim),
        Figure(f"{name}: waiting elsewhere at the end", left),
    ]


def main() -> None:
    """Print the table and keep the figures."""
    mountain = int(sys.argv[1]) if len(sys.argv) > 1 else MOUNTAIN
    figures = behind_the_big(2, mountain) + beside_the_dead(8)
    tell("fairness", f"One event of a small account, {TIMES} times", figures)


if __name__ == "__main__":
    main()
