"""Events a second: our worker beside what one would write instead, and beside the least any program could do.

All in one run against the sandbox with `--limits off` on this machine, so that the figures can be compared with each
other; only the ratios mean something elsewhere. `make bench`.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import delete, update

from benchmarks import alternatives, sandbox_rate
from benchmarks.installation import Installation, address, close_gaps, installed
from benchmarks.report import Figure, tell
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.klaviyo.payloads import BULK_EVENTS
from webapp.models import Connection, Delivery, Lane, LaneKind
from webapp.services.sharing import choices

EVENTS = 60_000
PEOPLE = 5_000
SDK_EVENTS = 1_500
ROUNDS = 3
LATENCY = 200


def ours(there: Installation) -> tuple[float, float]:
    """One worker process through RQ, with sweeper and Valkey: (events/s, events per CPU second)."""
    drained = there.drain(1)
    return drained.count / drained.seconds, drained.count / drained.cpu


def backlog(there: Installation, connection: Connection, events: int, name: str) -> None:
    """So many events wait, and the profile write that each of them owes besides is taken away: events are compared."""
    there.backlog(connection.workspace_id, events, PEOPLE, prefix=name)
    with writing() as session:
        session.execute(delete(Delivery).where(Delivery.kind == Kind.FIELDS))
        session.execute(update(Lane).where(Lane.kind == LaneKind.FIELDS).values(made=0, skipped=0, next_at=None))
    close_gaps(Delivery.__tablename__)


def by_hand(there: Installation, connection: Connection, way: Callable[[Installation, Connection], float]) -> float:
    """Events/s of a script that writes down itself what it sent; the lanes, which nobody told, begin anew."""
    rate = way(there, connection)
    with writing() as session:
        session.execute(update(Lane).values(made=0, delivered=0, skipped=0, failed=0, next_at=None))
    return rate


def measure(backend: str, *options: str, sdk_events: int = SDK_EVENTS, job: bool = True) -> dict[str, float]:
    """Every contender on one installation, in turns; medians. `sdk_events`: how many the SDK sends in each turn."""
    with tempfile.TemporaryDirectory() as home, installed(Path(home), backend, "--limits", "off", *options) as there:
        connection = there.connect("ACCTSE", "bench")
        there.sandbox.put_profiles("ACCTSE", *[address(number) for number in range(PEOPLE)])
        # Events alone are compared: with fields on, every event owes a profile write besides.
        choices.choose_fields(connection.workspace_id, None, [])
        found: dict[str, list[float]] = {}
        for round_ in range(ROUNDS):
            backlog(there, connection, EVENTS, f"ours-{round_}")
            rate, per_cpu = ours(there)
            found.setdefault("events/s", []).append(rate)
            found.setdefault("events per CPU second", []).append(per_cpu)
            backlog(there, connection, EVENTS, f"ceiling-{round_}")
            found.setdefault("raw ceiling", []).append(by_hand(there, connection, alternatives.ceiling))
            found.setdefault("SDK", []).append(alternatives.sdk(there, PEOPLE, sdk_events))
            backlog(there, connection, sdk_events, f"sdk-{round_}")
            found.setdefault("SDK over rows", []).append(by_hand(there, connection, alternatives.sdk_over_rows))
        if job:
            found["RQ job"] = [alternatives.rq_jobs(there)]
    return {name: statistics.median(values) for name, values in found.items()}


def on(backend: str) -> list[Figure]:
    """What is measured on a database, beside its aims."""
    found = measure(backend)
    ours_, best = found["events/s"], max(found["SDK"], found["RQ job"])
    return [
        Figure(f"{backend}: one worker", ours_, "events/s", at_least=15_000),
        Figure(f"{backend}: one worker, per CPU second", found["events per CPU second"], "events"),
        Figure(f"{backend}: SDK in a loop", found["SDK"], "events/s"),
        Figure(f"{backend}: an RQ job an event", found["RQ job"], "events/s"),
        Figure(f"{backend}: times the best of those two", ours_ / best, "times", at_least=25),
        Figure(f"{backend}: SDK in a loop that reads its events and marks each", found["SDK over rows"], "events/s"),
        Figure(f"{backend}: times that", ours_ / found["SDK over rows"], "times"),
        Figure(f"{backend}: raw ceiling", found["raw ceiling"], "events/s"),
        Figure(f"{backend}: share of the raw ceiling", 100 * ours_ / found["raw ceiling"], "%", at_least=50),
    ]


def at_a_distance(latency: int) -> list[Figure]:
    """The same with so many ms before each answer, on PostgreSQL."""
    found = measure("postgresql", "--latency", str(latency), sdk_events=10, job=False)
    ours_, alone = found["events/s"], BULK_EVENTS * 1000 / latency
    at = f"at {latency} ms"
    return [
        Figure(f"{at}: one worker", ours_, "events/s"),
        Figure(f"{at}: what the latency alone allows", alone, "events/s"),
        Figure(f"{at}: share of that", 100 * ours_ / alone, "%"),
        Figure(f"{at}: SDK in a loop", found["SDK"], "events/s"),
        Figure(f"{at}: times that", ours_ / found["SDK"], "times", at_least=25),
        Figure(f"{at}: raw ceiling", found["raw ceiling"], "events/s"),
        Figure(f"{at}: share of it", 100 * ours_ / found["raw ceiling"], "%", at_least=50),
    ]


def main() -> None:
    """Print the table and keep the figures."""
    told = [Figure("the sandbox alone", sandbox_rate.rate(100), "events/s")]
    for backend in ("sqlite", "postgresql"):
        told += on(backend)
    told += at_a_distance(LATENCY)
    tell("throughput", "One worker process, events only, the sandbox with --limits off on this machine", told)


if __name__ == "__main__":
    main()
