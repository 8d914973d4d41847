"""What the filters' indexes cost ingest, on PostgreSQL: `python -m benchmarks.ingest_indexes [deliveries before]`.

Two databases with the same rows, one without the three indexes that only pages read. Calls of a thousand activities go
to either in turn, first to one, then to the other, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import text

from benchmarks.pages import PEOPLE, Place, fill
from benchmarks.report import Figure, tell
from tests.apps import dispose, make_app
from tests.rows import Rows
from webapp import clock
from webapp.database import writing
from webapp.services.activities import ingest
from webapp.services.sharing import choices

FILTERS = ("ix_deliveries_connection_id", "ix_deliveries_outcome", "ix_deliveries_person_id")
ROUNDS = 60
WARM = 5
CALL = 1_000


def ready(home: Path, total: int, *, with_indexes: bool) -> tuple[Flask, int]:
    """A filled database, and the workspace that is posted to."""
    home.mkdir()
    app = make_app("postgresql", home)
    with app.app_context():
        place = Place(Rows())
        choices.choose_events(place.big.id, None, ["tier_earned"])
        choices.choose_fields(place.big.id, None, ["points"])
        fill(app.config["SQLALCHEMY_DATABASE_URI"], place, total)
        if not with_indexes:
            with writing() as session:
                for name in FILTERS:
                    session.execute(text(f"DROP INDEX {name}"))
        return app, place.big.id


def call(number: int) -> list[dict[str, Any]]:
    """A thousand activities of as many people: each owes an event and profile data."""
    at = clock.iso(clock.now() - timedelta(seconds=1))
    people = [f"p{(number * CALL + place * 37) % PEOPLE + 1}@example.com" for place in range(CALL)]
    return [
        {
            "id": f"bench-{number}-{place}",
            "type": "event",
            "event": "tier_earned",
            "store": f"s{place % 3}",
            "occurred_at": at,
            "profile": {"email": email, "fields": {"points": number}},
            "properties": {"tierId": "gold", "tierName": "Gold"},
        }
        for place, email in enumerate(people)
    ]


def post(app: Flask, workspace_id: int, items: list[dict[str, Any]]) -> float:
    """Milliseconds of one call's acceptance, commit and all."""
    with app.app_context():
        began = time.perf_counter()
        accepted = ingest.accept(workspace_id, items)
        taken = (time.perf_counter() - began) * 1000
    assert accepted.accepted == CALL, accepted
    return taken


def main() -> None:
    """Print the figures and keep them."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as home:
        with_them = ready(Path(home) / "with", total, with_indexes=True)
        without = ready(Path(home) / "without", total, with_indexes=False)
        pairs: list[tuple[float, float]] = []
        for number in range(ROUNDS + WARM):
            items = call(number)
            if number % 2:
                mine, plain = post(*with_them, items), post(*without, items)
            else:
                plain, mine = post(*without, items), post(*with_them, items)
            if number >= WARM:
                pairs.append((mine, plain))
        for app, _ in (with_them, without):
            dispose(app)
    slower = statistics.median(pair[0] / pair[1] for pair in pairs)
    tell(
        "ingest_indexes",
        f"Ingest with and without the filters' indexes, {total:,} deliveries before",
        [
            Figure("a call of 1,000 with the indexes, median", statistics.median(pair[0] for pair in pairs), "ms"),
            Figure("a call of 1,000 without them, median", statistics.median(pair[1] for pair in pairs), "ms"),
            Figure("slower with them", (slower - 1) * 100, "%", at_most=10),
        ],
    )


if __name__ == "__main__":
    main()
