"""What is kept of every call that was made: a row of `attempts`, and what it held where it did not deliver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import insert
from sqlalchemy.orm import Session

from jobs.outcomes import outcome
from webapp import clock
from webapp.klaviyo.answers import Answer
from webapp.klaviyo.client import Call
from webapp.models import Batch
from webapp.models.tables import ATTEMPT_DELIVERIES, ATTEMPTS

_PLAIN = insert(ATTEMPTS)
_NUMBERED = _PLAIN.returning(ATTEMPTS.c.id, sort_by_parameter_order=True)


def write(session: Session, rows: Sequence[Mapping[str, Any]], undelivered: Sequence[Sequence[int]]) -> None:
    """Keep rows of calls; beside each the ids of the deliveries it held and did not deliver."""
    if any(undelivered):
        numbers = session.connection().execute(_NUMBERED, rows).scalars()
        held = [
            {"attempt_id": number, "delivery_id": delivery_id}
            for number, ids in zip(numbers, undelivered, strict=True)
            for delivery_id in ids
        ]
        session.connection().execute(insert(ATTEMPT_DELIVERIES), held)
    elif rows:
        session.connection().execute(_PLAIN, rows)


def row_of(connection_id: int, call: Call, answer: Answer, size: int, batch: Batch | None) -> dict[str, Any]:
    """One of them. `size`: how many items the call held; None: no batch was opened for it."""
    return {
        "batch_id": batch.id if batch else None,
        "connection_id": connection_id,
        "endpoint": call.endpoint.name,
        "size": size,
        "started_at": clock.now() - timedelta(milliseconds=answer.duration_ms),
        "duration_ms": answer.duration_ms,
        "http_status": answer.status,
        "outcome": outcome(answer),
        "request_id": answer.request_id,
        "revision": answer.revision,
        "retry_after": answer.retry_after,
        "error": None if answer.ok else answer.sentence,
    }


def deliveries_of(batch: Batch | None) -> list[int]:
    """The deliveries a batch holds: ids of events, or those in `[person, version, [ids], profile]` of fields."""
    found: list[Any] = orjson.loads(batch.members) if batch is not None and batch.members else []
    return [each for member in found for each in (member[2] if isinstance(member, list) else [member])]
