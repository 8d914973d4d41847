"""What one would write instead of a worker of ours, and the least any program could do: events a second of each."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import requests
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from benchmarks.installation import Installation, address
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.dialects import among
from webapp.klaviyo.payloads import BULK_EVENTS
from webapp.models import Activity, Connection, Delivery, Person

JOBS = 300


def ceiling(installation: Installation, connection: Connection) -> float:
    """What waits is read, encoded in bulk bodies, posted and updated, by the shortest script there is."""
    http = requests.Session()
    http.headers.update(_headers(installation.sandbox.grant("ACCTSE")["access_token"]))
    count, began = 0, time.perf_counter()
    while rows := _waiting(connection):
        answer = http.post(f"{installation.sandbox.url}/api/event-bulk-create-jobs", data=_bulk_body(rows), timeout=30)
        assert answer.status_code == 202, answer.text
        with writing() as session:
            _mark_delivered(session, [row.id for row in rows])
        count += len(rows)
    return count / (time.perf_counter() - began)


def sdk(installation: Installation, people: int, events: int) -> float:
    """Klaviyo's own SDK in a loop, with nothing to read and nothing to keep."""
    client = _sdk_client(installation)
    began = time.perf_counter()
    for number in range(events):
        properties = {"tierId": "gold", "tierName": "Gold", "pointsBalance": number}
        client.Events.create_event(_single_body(address(number % people), properties, str(uuid.uuid4())))
    return events / (time.perf_counter() - began)


def sdk_over_rows(installation: Installation, connection: Connection) -> float:
    """The same loop over what waits, each marked once it is sent, so that an end in the middle costs one event."""
    client = _sdk_client(installation)
    count, began = 0, time.perf_counter()
    while rows := _waiting(connection):
        for row in rows:
            client.Events.create_event(_single_body(row.email, orjson.loads(row.properties), f"s-{row.external_id}"))
            with writing() as session:
                _mark_delivered(session, [row.id])
        count += len(rows)
    return count / (time.perf_counter() - began)


def rq_jobs(installation: Installation) -> float:
    """One RQ job an event, each posting with `requests`, one worker process."""
    import redis
    from rq import Queue

    from tests.processes import Child, python, wait_for

    token = installation.sandbox.grant("ACCTSE")["access_token"]
    queue = Queue("plain", connection=redis.Redis(port=installation.valkey_port))
    for number in range(JOBS):
        body = _single_body(address(number), {"tierId": "gold", "pointsBalance": number}, str(uuid.uuid4()))
        queue.enqueue("benchmarks.plain_job.send", installation.sandbox.url, token, body, result_ttl=0)
    before = _len_events(installation)
    url = f"redis://127.0.0.1:{installation.valkey_port}"
    worker = Child(
        "plain", python("-m", "rq.cli", "worker", "-u", url, "-q", "plain"), installation.env, installation.home
    )
    worker.start()
    wait_for(lambda: _len_events(installation) > before, "the first job", 60)
    began, first = time.perf_counter(), _len_events(installation)
    wait_for(lambda: _len_events(installation) >= before + JOBS, "all jobs", 300)
    took = time.perf_counter() - began
    worker.stop()
    return (before + JOBS - first) / took


def _waiting(connection: Connection) -> Sequence[Any]:
    """The next thousand: `id`, `external_id`, `properties` as JSON text, `email`."""
    wanted = (
        select(Delivery.id, Activity.external_id, Activity.properties, Person.email)
        .join(Activity, Activity.id == Delivery.activity_id)
        .join(Person, Person.id == Delivery.person_id)
        .where(Delivery.connection_id == connection.id, Delivery.kind == Kind.EVENT, Delivery.status == "waiting")
    )
    with reading() as session:
        return session.execute(wanted.order_by(Delivery.id).limit(BULK_EVENTS)).all()


def _mark_delivered(session: Session, ids: Sequence[int]) -> None:
    session.execute(
        update(Delivery)
        .where(among(session, Delivery.id, ids))
        .values(status="delivered", reason="written")
        .execution_options(synchronize_session=False)
    )


def _len_events(installation: Installation) -> int:
    found: int = installation.sandbox.accounts()["ACCTSE"]["events"]
    return found


def _sdk_client(installation: Installation) -> Any:
    from klaviyo_api import KlaviyoAPI

    token = installation.sandbox.grant("ACCTSE")["access_token"]
    return KlaviyoAPI("", access_token=token, max_retries=0, test_host=installation.sandbox.url)


def _headers(token: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "revision": "2026-07-15",
        "Content-Type": "application/vnd.api+json",
        "Accept": "application/vnd.api+json",
    }


def _single_body(email: str, properties: dict[str, Any], unique_id: str) -> dict[str, Any]:
    attributes = {
        "properties": properties,
        "metric": _METRIC,
        "profile": {"data": {"type": "profile", "attributes": {"email": email}}},
        "time": datetime.now(UTC).isoformat(),
        "unique_id": unique_id,
    }
    return {"data": {"type": "event", "attributes": attributes}}


def _bulk_body(rows: Sequence[Any]) -> bytes:
    entries = {"events-bulk-create": {"data": [_entry(row) for row in rows]}}
    return orjson.dumps({"data": {"type": "event-bulk-create-job", "attributes": entries}})


def _entry(row: Any) -> dict[str, Any]:
    event = {
        "properties": orjson.Fragment(row.properties),
        "metric": _METRIC,
        "unique_id": f"c-{row.external_id}",
    }
    attributes = {
        "profile": {"data": {"type": "profile", "attributes": {"email": row.email}}},
        "events": {"data": [{"type": "event", "attributes": event}]},
    }
    return {"type": "event-bulk-create", "attributes": attributes}


_METRIC = {"data": {"type": "metric", "attributes": {"name": "Cevoid: Tier Earned"}}}
