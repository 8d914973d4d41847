"""What an activity costs over young tables and over old ones, and what the filters' indexes cost ingest.

Two installations on one PostgreSQL, in turns: one with 10,000 finished deliveries, one with 5,000,000, workers and
sweeper running in both. An activity's cost is the time from the first call of acceptance to the last delivery.
`python -m benchmarks.aging [rows of the old one]`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import text

from benchmarks.installation import Installation, address, installed
from benchmarks.piles import Pile, know
from benchmarks.report import Figure, tell
from tests.processes import wait_for
from webapp.database import writing
from webapp.extensions import db
from webapp.models import Connection
from webapp.services.sharing import choices

YOUNG, OLD = 10_000, 5_000_000
BITE = 500_000
ROUNDS, EVENTS, PEOPLE = 7, 5_000, 1_000
OLD_PEOPLE = 50_000
FILTERS = {
    "ix_deliveries_connection_id": "connection_id, id",
    "ix_deliveries_outcome": "workspace_id, status, reason, id",
    "ix_deliveries_person_id": "person_id, id",
}


class Place:
    """An installation with one connection and so many finished deliveries."""

    def __init__(self, there: Installation, finished: int) -> None:
        self.there = there
        with there.app.app_context():
            self.connection: Connection = there.connect("ACCTSE", "bench")
            choices.choose_fields(self.connection.workspace_id, None, [])
            for start in range(0, finished, BITE):
                count = min(BITE, finished - start)
                Pile(self.connection, count, min(count, OLD_PEOPLE), prefix=f"old-{start}", finished=True).make()
            self.found = there.sandbox.put_profiles("ACCTSE", *[address(number) for number in range(PEOPLE)])
            with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE"))

    def deliver(self, name: str) -> float:
        """Microseconds an activity, accepted and delivered."""
        with self.there.app.app_context():
            know(self.connection, self.found)
            began = time.perf_counter()
            self.there.backlog(self.connection.workspace_id, EVENTS, PEOPLE, prefix=name)
            wait_for(lambda: self.there.waiting() == 0, "an empty backlog", 120)
            return (time.perf_counter() - began) / EVENTS * 1e6

    def accept(self, name: str) -> float:
        """Microseconds an activity, accepted only."""
        with self.there.app.app_context():
            return self.there.backlog(self.connection.workspace_id, EVENTS, PEOPLE, prefix=name) / EVENTS * 1e6

    @contextmanager
    def without_filters(self) -> Iterator[None]:
        """The indexes that pages filter by are gone."""
        with self.there.app.app_context():
            with writing() as session:
                for name in FILTERS:
                    session.execute(text(f"DROP INDEX {name}"))
            yield
            with writing() as session:
                for name, columns in FILTERS.items():
                    session.execute(text(f"CREATE INDEX {name} ON deliveries ({columns})"))


def costs(young: Place, old: Place) -> tuple[float, float]:
    """Medians of ROUNDS alternating runs."""
    taken: dict[Place, list[float]] = {young: [], old: []}
    with young.there.working(1), old.there.working(1):
        for place in (young, old):
            place.deliver("first")  # workers start and connect
        for number in range(ROUNDS):
            for place, found in taken.items():
                found.append(place.deliver(f"run-{number}"))
    return statistics.median(taken[young]), statistics.median(taken[old])


def ingest(old: Place) -> tuple[float, float]:
    """Accepting with the filters' indexes and without, in turns; nothing is delivered meanwhile."""
    with_them, without = [], []
    for number in range(2):
        with_them += [old.accept(f"with-{number}-{run}") for run in range(3)]
        with old.without_filters():
            without += [old.accept(f"without-{number}-{run}") for run in range(3)]
    return statistics.median(with_them), statistics.median(without)


def main() -> None:
    """Print the table and keep the figures."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else OLD
    with ExitStack() as stack:
        homes = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        young, old = (
            Place(stack.enter_context(installed(home, "postgresql")), finished)
            for home, finished in zip(homes, (YOUNG, rows), strict=True)
        )
        few, many = costs(young, old)
        with_them, without = ingest(old)
    figures = [
        Figure(f"an activity over {YOUNG:,} finished rows", few, "us"),
        Figure(f"an activity over {rows:,} finished rows", many, "us"),
        Figure("more over the old tables", 100 * (many / few - 1), "%", at_most=35),
        Figure("ingest with the filters' indexes", with_them, "us an activity"),
        Figure("ingest without them", without, "us an activity"),
        Figure("ingest slower for them", 100 * (with_them / without - 1), "%", at_most=10),
    ]
    tell("aging", f"Old tables, medians of {ROUNDS} runs in turns", figures)


if __name__ == "__main__":
    main()
