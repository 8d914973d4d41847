"""How quickly the deliveries' pages answer over a large table on PostgreSQL: `python -m benchmarks.pages [deliveries]`.

The deliveries are of three workspaces: one has nearly all of them, one a few thousand among them, one nothing but old
failures. Each filter's first page is asked RUNS times; with every page the database's own work and the template's.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from flask import Flask
from flask.testing import FlaskClient

from benchmarks.report import Figure, tell
from tests.apps import dispose, make_app
from tests.rows import Rows
from webapp import clock
from webapp.database import writing
from webapp.models import Attempt, Batch, Connection, User, Workspace
from webapp.services.workspaces import sessions

RUNS = 100
AIM_MS = 200
PEOPLE = 50_000
CONNECTIONS = 3
# (status, reason, kind, event, share of all): a busy workspace's mixture; rejected ones all among the oldest.
MIXTURE = (
    ("delivered", "written", "event", "tier_earned", 0.35),
    ("delivered", "written", "fields", "tier_earned", 0.30),
    ("skipped", "not_in_klaviyo", "event", "post_created", 0.15),
    ("skipped", "unchanged", "fields", "post_created", 0.10),
    ("skipped", "event_off", "event", "tier_evaluation", 0.07),
    ("waiting", "backlog", "event", "tier_earned", 0.02),
    ("failed", "expired", "event", "points_expiring", 0.01),
)


class Place:
    """The rows the deliveries hang on."""

    def __init__(self, rows: Rows) -> None:
        self.big: Workspace = rows.workspace("big")
        self.small: Workspace = rows.workspace("small")
        self.owner: User = rows.user(self.big)
        self.small_owner: User = rows.user(self.small)
        self.connections: list[Connection] = [
            rows.connection(self.big, rows.store(self.big, f"s{number}")) for number in range(CONNECTIONS)
        ]
        self.small_connection: Connection = rows.connection(self.small, rows.store(self.small, "s"))


def fill(url: str, place: Place, total: int) -> None:
    """Copy people, activities and deliveries in; five minutes of acceptance a hundred thousand."""
    dsn = url.replace("postgresql+psycopg://", "postgresql://")
    started = clock.now() - timedelta(days=28)
    step = timedelta(days=28) / total
    chances = random.Random(7)
    cumulative = [sum(row[4] for row in MIXTURE[: number + 1]) for number in range(len(MIXTURE))]
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        with cursor.copy(
            "COPY people (id, workspace_id, email, fields, fields_version, consents, created_at) FROM STDIN"
        ) as copy:
            for number in range(1, PEOPLE + 1):
                copy.write_row((number, place.big.id, f"p{number}@example.com", "{}", 0, "{}", started))
        columns = (
            "id, workspace_id, external_id, type, event, origin, person_id, occurred_at, accepted_at, properties, route"
        )
        with cursor.copy(f"COPY activities ({columns}) FROM STDIN") as copy:
            for number in range(1, total + 1):
                at = started + number * step
                workspace = place.small.id if number % 1000 == 0 else place.big.id
                person = chances.randint(1, PEOPLE)
                copy.write_row(
                    (
                        number,
                        workspace,
                        f"a-{number}",
                        "event",
                        "tier_earned",
                        "platform",
                        person,
                        at,
                        at,
                        "{}",
                        "store",
                    )
                )
        columns = (
            "id, workspace_id, activity_id, connection_id, kind, person_id, event, status, reason, priority, due_at, "
            "created_at, expires_at, attempts, batch_id"
        )
        with cursor.copy(f"COPY deliveries ({columns}) FROM STDIN") as copy:
            for number in range(1, total + 1):
                copy.write_row(_delivery(place, number, total, started + number * step, chances, cumulative))
        for table, last in (("people", PEOPLE), ("activities", total), ("deliveries", total)):
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", (table, last))
        connection.commit()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _delivery(
    place: Place, number: int, total: int, at: datetime, chances: random.Random, cumulative: list[float]
) -> tuple[object, ...]:
    is_small = number % 1000 == 0
    place_in = next(index for index, edge in enumerate(cumulative) if chances.random() <= edge or edge > 0.999)
    status, reason, kind, event, _ = MIXTURE[place_in]
    if number < total * 0.02:  # an outage of long ago: common in all, absent among the newest
        status, reason, kind, event = "failed", "rejected", "event", "tier_earned"
    connection = place.small_connection.id if is_small else place.connections[number % CONNECTIONS].id
    workspace = place.small.id if is_small else place.big.id
    person = chances.randint(1, PEOPLE)
    later = at + timedelta(days=7)
    batch = 1 if number in {total // 2 + 1, total // 2 + 4} else None
    return (number, workspace, number, connection, kind, person, event, status, reason, 0, at, at, later, 0, batch)


def carry(place: Place, total: int) -> None:
    """The call that carried two deliveries of the middle of the table."""
    started = clock.now() - timedelta(days=14)
    with writing() as session:
        batch = Batch(lane_id=1, connection_id=0, endpoint="POST /api/events", size=2, fence=1, started_at=started)
        batch.connection_id = place.connections[(total // 2 + 1) % CONNECTIONS].id
        session.add(batch)
        session.flush()
        session.add(
            Attempt(
                batch_id=batch.id,
                connection_id=batch.connection_id,
                endpoint=batch.endpoint,
                size=2,
                started_at=started,
                http_status=202,
                outcome="done",
                request_id="req-in-the-middle",
            )
        )


def measure(client: FlaskClient, url: str) -> dict[str, float]:
    """Milliseconds of a whole page, the first time left out."""
    taken = []
    for number in range(RUNS + 1):
        began = time.perf_counter()
        answer = client.get(url)
        if number:
            taken.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, (answer.status_code, url)
    return {"p50_ms": statistics.median(taken), "p99_ms": statistics.quantiles(taken, n=100)[-1]}


def signed_in(app: Flask, user: User) -> FlaskClient:
    """A browser of this user's."""
    client = app.test_client()
    client.set_cookie("cevoid", sessions.begin(user, "bench"))
    return client


def pages(place: Place, total: int) -> dict[str, str]:
    """What is measured, by name: the first pages of every filter, and what is harder."""
    base = "/w/big/settings/integrations/klaviyo/deliveries"
    connection = place.connections[0].id
    moment = (clock.now() - timedelta(days=14)).strftime("%Y-%m-%dT%H:%M")
    return {
        "everything": base,
        "an activity": f"{base}?activity={total // 2 + 1}",
        "status=delivered": f"{base}?status=delivered",
        "status=failed": f"{base}?status=failed",
        "status=waiting": f"{base}?status=waiting",
        "reason=rejected (all old)": f"{base}?reason=rejected",
        "reason=not_in_klaviyo": f"{base}?reason=not_in_klaviyo",
        "connection": f"{base}?connection={connection}",
        "connection and status": f"{base}?connection={connection}&status=failed",
        "person": f"{base}?person=77",
        "request id": f"{base}?request=req-in-the-middle",
        "until 14 days ago": f"{base}?to={moment}",
        "since 14 days ago, failed": f"{base}?from={moment}&status=failed",
        "event, common": f"{base}?event=tier_earned",
        "event, 7 in 100": f"{base}?event=tier_evaluation",
        "event, none (looks at its share)": f"{base}?event=reward_fulfilled",
        "deep page": f"{base}?status=delivered&before={total // 3}",
        "causes, 24 h": f"{base}?view=causes",
        "causes, 7 days": f"{base}?view=causes&hours=168",
        "one delivery": f"{base}/{total // 2 + 1}",
        "person's page": "/w/big/settings/integrations/klaviyo/people/77",
        "resend, counted": f"{base}/resends/new?status=failed&reason=expired",
        "small workspace: everything": "/w/small/settings/integrations/klaviyo/deliveries",
    }


# What an index names; the others are looked for among the rows that one leads to.
NAMED = ("everything", "an activity", "status=", "reason=", "connection", "person", "request id")


def main() -> None:
    """Print a table and keep the figures."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    with tempfile.TemporaryDirectory() as home:
        app = make_app("postgresql", Path(home))
        with app.app_context():
            place = Place(Rows())
            began = time.monotonic()
            fill(app.config["SQLALCHEMY_DATABASE_URI"], place, total)
            carry(place, total)
            print(f"{total:,} deliveries in {time.monotonic() - began:.0f} s")
            clients = {"big": signed_in(app, place.owner), "small": signed_in(app, place.small_owner)}
            found = {}
            for name, url in pages(place, total).items():
                found[name] = measure(clients[url.split("/")[2]], url)
        dispose(app)
    figures = []
    for name, taken in found.items():
        aim = AIM_MS if name.startswith(NAMED) else None
        figures.append(Figure(f"{name}, p50", taken["p50_ms"], "ms"))
        figures.append(Figure(f"{name}, p99", taken["p99_ms"], "ms", at_most=aim))
    tell("pages", f"Pages over {total:,} deliveries on PostgreSQL", figures)


if __name__ == "__main__":
    main()
