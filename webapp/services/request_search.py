"""From Klaviyo's request id to the deliveries that call carried."""

from __future__ import annotations

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp.models import Attempt, AttemptDelivery, Batch, Connection, Delivery
from webapp.services.activities import LIFE
from webapp.services.delivery_ranges import SLACK, id_at, scan

ATTEMPTS = 10


def deliveries_of(session: Session, workspace_id: int, request_id: str, limit: int) -> list[int]:
    """Up to `limit` deliveries of the calls with this request id. Those a call did not deliver are named by it."""
    statement = (
        select(Attempt)
        .join(Connection, Connection.id == Attempt.connection_id)
        .where(Attempt.request_id == request_id, Connection.workspace_id == workspace_id)
        .limit(ATTEMPTS)
    )
    found: set[int] = set()
    for attempt in session.scalars(statement).all():
        named = select(AttemptDelivery.delivery_id).where(AttemptDelivery.attempt_id == attempt.id).limit(limit)
        found |= set(session.scalars(named))
        if attempt.batch_id is not None:
            found |= _of_batch(session, attempt, attempt.batch_id, limit)
    return sorted(found, reverse=True)[:limit]


def _of_batch(session: Session, attempt: Attempt, batch_id: int, limit: int) -> set[int]:
    batch = session.get(Batch, batch_id)
    if batch is None:
        return set()
    if batch.members:
        return set(_members(batch.members))
    # Its deliveries carry its id, which has no index: they were accepted in the seven days before the call.
    looked = scan(
        session,
        [((Delivery.connection_id, batch.connection_id),)],
        wanted=min(limit, batch.size),
        above=id_at(session, attempt.started_at - LIFE - SLACK) - 1,
        below=id_at(session, attempt.started_at + SLACK),
        matches=lambda row: row.batch_id == batch_id,
    )
    return {row.id for row in looked.rows}


def _members(text: str) -> list[int]:
    """The delivery ids of an open batch: a list of them, or of `[person id, version, [delivery ids]]`."""
    ids: list[int] = []
    for member in orjson.loads(text):
        ids += [member] if isinstance(member, int) else member[2]
    return ids
