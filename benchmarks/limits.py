"""How much of an account's documented limits is used while a backlog lasts, and how many calls that takes.

Four accounts of one Klaviyo with `--limits documented`, two workers, one account after the other: one that creates
missing profiles; one that updates people looked up within the last ten minutes; one that has to look up everybody; one
whose events carry fields of people nobody has looked up, for the number of calls. Shares are of the first minute and
what follows it.
Usage: `python -m benchmarks.limits [milliseconds of latency ...]`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from benchmarks.installation import Installation, address, installed
from benchmarks.piles import Pile, know
from benchmarks.report import Figure, tell
from tests.processes import wait_for
from webapp.catalogue.words import SyncBehavior
from webapp.database import reading, writing
from webapp.klaviyo import endpoints
from webapp.klaviyo.endpoints import Endpoint
from webapp.models import Attempt, Connection, Lane
from webapp.services.sharing import choices

FEW, MANY = 2_000, 82_000  # people of the two warm accounts, people of the cold one
EVENTS = 165_000  # 150 bulk calls and the first ones of the next minute
MIXED_EVENTS, MIXED_PEOPLE = 50_000, 20_000
BEYOND = 5  # calls of the second minute that are compared with those of the first


@dataclass(frozen=True, slots=True)
class Accounts:
    """The four connections."""

    creating: Connection
    warm: Connection
    cold: Connection
    mixed: Connection


def prepare(there: Installation) -> Accounts:
    """The four accounts with their people; fields are shared of the mixed one's only."""
    made = Accounts(
        there.connect("ACCTSE", "creating", SyncBehavior.CREATE_PROFILE),
        there.connect("ACCTNO", "warm"),
        there.connect("ACCTDE", "cold"),
        there.connect("ACCTDK", "mixed"),
    )
    for connection, people in ((made.creating, FEW), (made.cold, MANY), (made.mixed, MIXED_PEOPLE)):
        _put(there, connection, people)
    for connection in (made.creating, made.warm, made.cold):
        choices.choose_fields(connection.workspace_id, None, [])
    return made


def _put(there: Installation, connection: Connection, people: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for start in range(0, people, 5_000):
        emails = [address(number) for number in range(start, min(people, start + 5_000))]
        found |= there.sandbox.put_profiles(connection.klaviyo_account_id, *emails)
    return found


def calls(connection: Connection, endpoint: Endpoint | None = None) -> list[tuple[float, int]]:
    """(when it began, how many it held) of a connection's calls that were answered as they should."""
    statement = select(Attempt.started_at, Attempt.size, Attempt.endpoint, Attempt.http_status).where(
        Attempt.connection_id == connection.id
    )
    with reading() as session:
        rows = session.execute(statement.order_by(Attempt.started_at, Attempt.id)).all()
    wanted = [row for row in rows if endpoint is None or row.endpoint == endpoint.name]
    return [(row.started_at.timestamp(), row.size) for row in wanted if row.http_status in {200, 202}]


def share(made: list[tuple[float, int]], endpoint: Endpoint, most: int) -> float:
    """Of what the limit allows, in percent: a minute's calls held so much, and the next minute's came so soon.

    The mean over every call of the second minute and its counterpart of the first.
    """
    number = endpoint.per_minute
    beyond = made[number:]
    if not beyond:
        return 0.0
    shares = []
    for place, (at, _) in enumerate(beyond):
        held = sum(size for _, size in made[place : place + number])
        shares.append(held / (number * most) * 60 / (at - made[place][0]))
    return 100 * sum(shares) / len(shares)


def measure(latency: int) -> list[Figure]:
    """All four at one latency."""
    options = ("--limits", "documented", "--latency", str(latency))
    with tempfile.TemporaryDirectory() as home, installed(Path(home), "postgresql", *options) as there:
        accounts = prepare(there)
        with there.working(2):
            Pile(accounts.mixed, MIXED_EVENTS, MIXED_PEOPLE, kinds=("event", "fields")).make()
            wait_for(lambda: there.waiting(accounts.mixed.id) == 0, "the mixed account's end", 240)
            Pile(accounts.creating, EVENTS, FEW).make()
            _wait(there, accounts.creating, endpoints.EVENTS)
            Pile(accounts.cold, MANY, MANY).make()
            _wait(there, accounts.cold, endpoints.PROFILES)
            Pile(accounts.warm, EVENTS, FEW).make()
            know(accounts.warm, _put(there, accounts.warm, FEW))
            _wait(there, accounts.warm, endpoints.EVENTS)
        refused = sum(row["count"] for row in _requests(there) if row["status"] == 429)
        total = sum(row["count"] for row in _requests(there))
        fewest = ceil(MIXED_EVENTS / 1000) + ceil(MIXED_PEOPLE / 100) + ceil(MIXED_PEOPLE / 10_000)
        made = sum(row["count"] for row in _requests(there) if row["account"] == accounts.mixed.klaviyo_account_id)
        of = f"at {latency} ms: "
        return [
            Figure(f"{of}create_profile, of 2,500 events/s", _share(accounts.creating), "%", at_least=95),
            Figure(f"{of}update_existing, known, of 2,500 events/s", _share(accounts.warm), "%", at_least=95),
            Figure(
                f"{of}update_existing, cold, of 1,250 people/s",
                share(calls(accounts.cold, endpoints.PROFILES), endpoints.PROFILES, 100),
                "%",
                at_least=95,
            ),
            Figure(f"{of}calls answered 429", 100 * refused / total, "%", at_most=0.5),
            Figure(f"{of}calls made / fewest possible", made / fewest, "", at_most=1.02),
        ]


def _share(connection: Connection) -> float:
    return share(calls(connection, endpoints.EVENTS), endpoints.EVENTS, 1000)


def _wait(there: Installation, connection: Connection, endpoint: Endpoint) -> None:
    """Until a connection is into its second minute; what is left of its backlog stays where it is."""

    def is_enough() -> bool:
        time.sleep(0.5)
        return len(calls(connection, endpoint)) >= endpoint.per_minute + BEYOND

    wait_for(is_enough, "the second minute's calls", 240)
    with writing() as session:
        session.execute(update(Lane).where(Lane.connection_id == connection.id).values(stopped=True))


def _requests(there: Installation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = there.sandbox.call("GET", "/requests")["requests"]
    return [row for row in found if str(row["endpoint"]).split(" ")[-1].startswith("/api/")]


def main() -> None:
    """Print the table and keep the figures."""
    latencies = [int(word) for word in sys.argv[1:]] or [0, 200]
    tell("limits", "One account's documented limits", [f for latency in latencies for f in measure(latency)])


if __name__ == "__main__":
    main()
