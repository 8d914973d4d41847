"""Events a second: our worker beside what one would write instead, and beside the least any program could do.

All in one run against the sandbox with `--limits off` on this machine, so that the figures can be compared with each
other; only the ratios mean something elsewhere. `make bench`.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import requests
from sqlalchemy import select, text, update

from benchmarks.installation import Installation, address, installed
from benchmarks.report import save, table
from webapp.catalogue.words import Kind
from webapp.database import among, reading, writing
from webapp.models import Activity, Connection, Delivery, Lane, Person
from webapp.services import sharing

EVENTS = 30_000
PEOPLE = 5_000
ONE_BY_ONE = 300
ROUNDS = 3


def ours(installation: Installation, connection: Connection, round_: int) -> tuple[float, float]:
    """One worker process through RQ, with sweeper and Valkey: (events/s, events per CPU second)."""
    installation.backlog(connection.workspace_id, EVENTS, PEOPLE, prefix=f"ours-{round_}")
    drained = installation.drain(1)
    return drained.count / drained.seconds, drained.count / drained.cpu


def len_events(installation: Installation) -> int:
    """Events the account holds."""
    found: int = installation.sandbox.accounts()["ACCTSE"]["events"]
    return found


def ceiling(installation: Installation, connection: Connection, round_: int) -> float:
    """The same rows read, encoded in bulk bodies, posted and updated, by the shortest script there is: events/s."""
    installation.backlog(connection.workspace_id, EVENTS, PEOPLE, prefix=f"ceiling-{round_}")
    token = installation.sandbox.grant("ACCTSE")["access_token"]
    http = requests.Session()
    http.headers.update(headers(token))
    began = time.perf_counter()
    while True:
        with reading() as session:
            wanted = (
                select(Delivery.id, Activity.external_id, Activity.properties, Person.email)
                .join(Activity, Activity.id == Delivery.activity_id)
                .join(Person, Person.id == Delivery.person_id)
                .where(
                    Delivery.connection_id == connection.id, Delivery.kind == Kind.EVENT, Delivery.status == "waiting"
                )
            )
            rows = session.execute(wanted.order_by(Delivery.id).limit(1000)).all()
        if not rows:
            break
        body = orjson.dumps(
            {
                "data": {
                    "type": "event-bulk-create-job",
                    "attributes": {"events-bulk-create": {"data": [entry(row) for row in rows]}},
                }
            }
        )
        answer = http.post(f"{installation.sandbox.url}/api/event-bulk-create-jobs", data=body, timeout=30)
        assert answer.status_code == 202, answer.text
        with writing() as session:
            ids = [row.id for row in rows]
            session.execute(
                update(Delivery)
                .where(among(session, Delivery.id, ids))
                .values(status="delivered", reason="written")
                .execution_options(synchronize_session=False)
            )
    took = time.perf_counter() - began
    with writing() as session:
        session.execute(update(Lane).values(made=0, delivered=0, skipped=0, failed=0, next_at=None))
        session.execute(text("DELETE FROM deliveries WHERE status = 'waiting'"))
    return EVENTS / took


def entry(row: Any) -> dict[str, Any]:
    """One event as a bulk body carries it."""
    return {
        "type": "event-bulk-create",
        "attributes": {
            "profile": {"data": {"type": "profile", "attributes": {"email": row.email}}},
            "events": {
                "data": [
                    {
                        "type": "event",
                        "attributes": {
                            "properties": orjson.Fragment(row.properties),
                            "metric": {"data": {"type": "metric", "attributes": {"name": "Cevoid: Tier Earned"}}},
                            "unique_id": f"c-{row.external_id}",
                        },
                    }
                ]
            },
        },
    }


def headers(token: str) -> dict[str, str]:
    """What Klaviyo wants to see."""
    return {
        "Authorization": f"Bearer {token}",
        "revision": "2026-07-15",
        "Content-Type": "application/vnd.api+json",
        "Accept": "application/vnd.api+json",
    }


def single_body(number: int) -> dict[str, Any]:
    """POST /api/events."""
    return {
        "data": {
            "type": "event",
            "attributes": {
                "properties": {"tierId": "gold", "tierName": "Gold", "pointsBalance": number},
                "metric": {"data": {"type": "metric", "attributes": {"name": "Cevoid: Tier Earned"}}},
                "profile": {"data": {"type": "profile", "attributes": {"email": address(number % PEOPLE)}}},
                "time": datetime.now(UTC).isoformat(),
                "unique_id": str(uuid.uuid4()),
            },
        }
    }


def sdk(installation: Installation) -> float:
    """Klaviyo's own SDK in a loop: events/s."""
    from klaviyo_api import KlaviyoAPI

    token = installation.sandbox.grant("ACCTSE")["access_token"]
    client = KlaviyoAPI("", access_token=token, max_retries=0, test_host=installation.sandbox.url)
    began = time.perf_counter()
    for number in range(ONE_BY_ONE):
        client.Events.create_event(single_body(number))
    return ONE_BY_ONE / (time.perf_counter() - began)


def rq_jobs(installation: Installation) -> float:
    """One RQ job an event, each posting with `requests`, one worker process: events/s."""
    import redis
    from rq import Queue

    from tests.processes import Child, python, wait_for

    token = installation.sandbox.grant("ACCTSE")["access_token"]
    queue = Queue("plain", connection=redis.Redis(port=installation.valkey_port))
    for number in range(ONE_BY_ONE):
        queue.enqueue("benchmarks.plain_job.send", installation.sandbox.url, token, single_body(number), result_ttl=0)
    before = len_events(installation)
    url = f"redis://127.0.0.1:{installation.valkey_port}"
    worker = Child(
        "plain", python("-m", "rq.cli", "worker", "-u", url, "-q", "plain"), installation.env, installation.home
    )
    worker.start()
    wait_for(lambda: len_events(installation) > before, "the first job", 60)
    began, first = time.perf_counter(), len_events(installation)
    wait_for(lambda: len_events(installation) >= before + ONE_BY_ONE, "all jobs", 300)
    took = time.perf_counter() - began
    worker.stop()
    return (before + ONE_BY_ONE - first) / took


def measure(backend: str, *options: str, others: bool = True) -> dict[str, float]:
    """Every contender on one installation, in turns; medians."""
    with tempfile.TemporaryDirectory() as home, installed(Path(home), backend, "--limits", "off", *options) as there:
        connection = there.connect("ACCTSE", "bench")
        there.sandbox.put_profiles("ACCTSE", *[address(number) for number in range(PEOPLE)])
        # Events alone are compared: with fields on, every event owes a profile write besides.
        sharing.choose_fields(connection.workspace_id, None, [])
        found: dict[str, list[float]] = {}
        for round_ in range(ROUNDS):
            rate, per_cpu = ours(there, connection, round_)
            found.setdefault("events/s", []).append(rate)
            found.setdefault("events per CPU second", []).append(per_cpu)
            found.setdefault("raw ceiling, events/s", []).append(ceiling(there, connection, round_))
        if others:
            found["SDK in a loop, events/s"] = [sdk(there)]
            found["RQ job an event, events/s"] = [rq_jobs(there)]
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Print the table and keep the figures."""
    found: dict[str, Any] = {}
    for backend in ("sqlite", "postgresql"):
        found[backend] = measure(backend)
        best = max(found[backend]["SDK in a loop, events/s"], found[backend]["RQ job an event, events/s"])
        found[backend]["times the best other"] = found[backend]["events/s"] / best
        found[backend]["share of the raw ceiling"] = (
            found[backend]["events/s"] / found[backend]["raw ceiling, events/s"]
        )
    found["postgresql at 200 ms"] = measure("postgresql", "--latency", "200", others=False)
    print(table("One worker process, events only", found))
    save("throughput", found)


if __name__ == "__main__":
    main()
