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
from sqlalchemy import delete, select, text, update

from benchmarks import sandbox_rate
from benchmarks.installation import Installation, address, close_gaps, installed
from benchmarks.report import Figure, tell
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.dialects import among
from webapp.klaviyo.payloads import BULK_EVENTS
from webapp.models import Activity, Connection, Delivery, Lane, LaneKind, Person
from webapp.services.sharing import choices

EVENTS = 60_000
PEOPLE = 5_000
SDK_EVENTS = 1_500
JOBS = 300
ROUNDS = 3


def ours(installation: Installation, connection: Connection, round_: int) -> tuple[float, float]:
    """One worker process through RQ, with sweeper and Valkey: (events/s, events per CPU second)."""
    installation.backlog(connection.workspace_id, EVENTS, PEOPLE, prefix=f"ours-{round_}")
    forget_fields()
    drained = installation.drain(1)
    return drained.count / drained.seconds, drained.count / drained.cpu


def forget_fields() -> None:
    """Events alone are compared: the profile write that each of them owes besides is taken away."""
    with writing() as session:
        session.execute(delete(Delivery).where(Delivery.kind == Kind.FIELDS))
        session.execute(update(Lane).where(Lane.kind == LaneKind.FIELDS).values(made=0, skipped=0, next_at=None))
    close_gaps(Delivery.__tablename__)


def len_events(installation: Installation) -> int:
    """Events the account holds."""
    found: int = installation.sandbox.accounts()["ACCTSE"]["events"]
    return found


def ceiling(installation: Installation, connection: Connection, round_: int) -> float:
    """The same rows read, encoded in bulk bodies, posted and updated, by the shortest script there is: events/s."""
    installation.backlog(connection.workspace_id, EVENTS, PEOPLE, prefix=f"ceiling-{round_}")
    forget_fields()
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


def sdk(installation: Installation, events: int) -> float:
    """Klaviyo's own SDK in a loop: events/s."""
    from klaviyo_api import KlaviyoAPI

    token = installation.sandbox.grant("ACCTSE")["access_token"]
    client = KlaviyoAPI("", access_token=token, max_retries=0, test_host=installation.sandbox.url)
    began = time.perf_counter()
    for number in range(events):
        client.Events.create_event(single_body(number))
    return events / (time.perf_counter() - began)


def rq_jobs(installation: Installation) -> float:
    """One RQ job an event, each posting with `requests`, one worker process: events/s."""
    import redis
    from rq import Queue

    from tests.processes import Child, python, wait_for

    token = installation.sandbox.grant("ACCTSE")["access_token"]
    queue = Queue("plain", connection=redis.Redis(port=installation.valkey_port))
    for number in range(JOBS):
        queue.enqueue("benchmarks.plain_job.send", installation.sandbox.url, token, single_body(number), result_ttl=0)
    before = len_events(installation)
    url = f"redis://127.0.0.1:{installation.valkey_port}"
    worker = Child(
        "plain", python("-m", "rq.cli", "worker", "-u", url, "-q", "plain"), installation.env, installation.home
    )
    worker.start()
    wait_for(lambda: len_events(installation) > before, "the first job", 60)
    began, first = time.perf_counter(), len_events(installation)
    wait_for(lambda: len_events(installation) >= before + JOBS, "all jobs", 300)
    took = time.perf_counter() - began
    worker.stop()
    return (before + JOBS - first) / took


def measure(backend: str, *options: str, sdk_events: int = SDK_EVENTS, job: bool = True) -> dict[str, float]:
    """Every contender on one installation, in turns; medians. `sdk_events`: how many the SDK sends in each turn."""
    with tempfile.TemporaryDirectory() as home, installed(Path(home), backend, "--limits", "off", *options) as there:
        connection = there.connect("ACCTSE", "bench")
        there.sandbox.put_profiles("ACCTSE", *[address(number) for number in range(PEOPLE)])
        # Events alone are compared: with fields on, every event owes a profile write besides.
        choices.choose_fields(connection.workspace_id, None, [])
        found: dict[str, list[float]] = {}
        for round_ in range(ROUNDS):
            rate, per_cpu = ours(there, connection, round_)
            found.setdefault("events/s", []).append(rate)
            found.setdefault("events per CPU second", []).append(per_cpu)
            found.setdefault("raw ceiling, events/s", []).append(ceiling(there, connection, round_))
            found.setdefault("SDK in a loop, events/s", []).append(sdk(there, sdk_events))
        if job:
            found["RQ job an event, events/s"] = [rq_jobs(there)]
    return {name: statistics.median(values) for name, values in found.items()}


LATENCY = 200


def figures(backend: str, found: dict[str, float], best: float) -> list[Figure]:
    """Beside their aims; `best`: the better of the two other ways, events/s."""
    ours_, ceiling_ = found["events/s"], found["raw ceiling, events/s"]
    return [
        Figure(f"{backend}: one worker", ours_, "events/s", at_least=15_000),
        Figure(f"{backend}: one worker, per CPU second", found["events per CPU second"], "events"),
        Figure(f"{backend}: SDK in a loop", found["SDK in a loop, events/s"], "events/s"),
        Figure(f"{backend}: an RQ job an event", found["RQ job an event, events/s"], "events/s"),
        Figure(f"{backend}: times the best of those two", ours_ / best, "times", at_least=25),
        Figure(f"{backend}: raw ceiling", ceiling_, "events/s"),
        Figure(f"{backend}: share of the raw ceiling", 100 * ours_ / ceiling_, "%", at_least=50),
    ]


def main() -> None:
    """Print the table and keep the figures."""
    told = [Figure("the sandbox alone", sandbox_rate.rate(100), "events/s")]
    for backend in ("sqlite", "postgresql"):
        found = measure(backend)
        best = max(found["SDK in a loop, events/s"], found["RQ job an event, events/s"])
        told += figures(backend, found, best)
    slow = measure("postgresql", "--latency", str(LATENCY), sdk_events=10, job=False)
    alone = BULK_EVENTS * 1000 / LATENCY
    told += [
        Figure(f"at {LATENCY} ms: one worker", slow["events/s"], "events/s"),
        Figure(f"at {LATENCY} ms: what the latency alone allows", alone, "events/s"),
        Figure(f"at {LATENCY} ms: share of that", 100 * slow["events/s"] / alone, "%"),
        Figure(f"at {LATENCY} ms: SDK in a loop", slow["SDK in a loop, events/s"], "events/s"),
        Figure(
            f"at {LATENCY} ms: times that", slow["events/s"] / slow["SDK in a loop, events/s"], "times", at_least=25
        ),
        Figure(f"at {LATENCY} ms: raw ceiling", slow["raw ceiling, events/s"], "events/s"),
        Figure(
            f"at {LATENCY} ms: share of it", 100 * slow["events/s"] / slow["raw ceiling, events/s"], "%", at_least=50
        ),
    ]
    tell("throughput", "One worker process, events only, the sandbox with --limits off on this machine", told)


if __name__ == "__main__":
    main()
