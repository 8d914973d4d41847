"""The calls a delivery was in, and back: from Klaviyo's request id to the deliveries that call carried."""

from __future__ import annotations

from datetime import datetime, timedelta

import orjson
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind
from webapp.dialects import db_now
from webapp.klaviyo.endpoints import SUBSCRIBE, UNSUBSCRIBE
from webapp.models import Attempt, AttemptDelivery, Batch, Connection, Delivery, Lane
from webapp.models.batch import BatchOutcome
from webapp.services.activities.delivery_maker import LIFE
from webapp.services.deliveries.ranges import SLACK, Wanted, around, scan
from webapp.services.lanes import LANE_OF

SHOWN = 50
SEARCHED = 10
OPEN_BATCHES = 20
# A consent's call and its outcome are this near each other; its row names no batch.
AROUND = timedelta(seconds=15)


def attempts_of(session: Session, delivery: Delivery) -> list[Attempt]:
    """The calls a delivery was in, oldest first: of its last batch, of an open one, and those that name it."""
    named = select(AttemptDelivery.attempt_id).where(AttemptDelivery.delivery_id == delivery.id)
    mine: list[ColumnElement[bool]] = [Attempt.id.in_(named)]
    batches = [each.id for each in _open_batches(session, delivery)]
    if delivery.batch_id is not None:
        batches.append(delivery.batch_id)
    if batches:
        mine.append(Attempt.batch_id.in_(batches))
    statement = select(Attempt).where(or_(*mine)).order_by(Attempt.id.desc()).limit(SHOWN)
    found = _its_own(session, delivery, list(session.scalars(statement))[::-1])
    if not found and delivery.kind is Kind.CONSENT and delivery.attempts and delivery.settled_at:
        return _consent_calls(session, delivery, delivery.settled_at)
    return found


def _its_own(session: Session, delivery: Delivery, found: list[Attempt]) -> list[Attempt]:
    """Without the calls of its batch that carried others: those that name only them, and what took a part it is not in.

    People written one by one, and halves of a refused call, share a batch.
    """
    ids = [attempt.id for attempt in found]
    names = select(AttemptDelivery.attempt_id).where(AttemptDelivery.attempt_id.in_(ids))
    naming = set(session.scalars(names.distinct()))
    mine = set(session.scalars(names.where(AttemptDelivery.delivery_id == delivery.id)))
    batch = session.get(Batch, delivery.batch_id) if delivery.batch_id is not None else None
    ended_elsewhere = delivery.status in {Status.FAILED, Status.SKIPPED} and bool(mine)

    def is_its_own(attempt: Attempt) -> bool:
        is_part = batch is not None and attempt.batch_id == batch.id and attempt.size < batch.size
        if attempt.id in naming and is_part:
            return attempt.id in mine
        return not (ended_elsewhere and is_part)

    return [attempt for attempt in found if is_its_own(attempt)]


def sending_since(session: Session, delivery: Delivery) -> datetime | None:
    """Since when a call that holds it has had no answer; None: none is under way.

    A batch stays unknown after a 500 too: an attempt made since it was sent says that the call has ended.
    """
    sent = {each.id: each for each in _sent(session, delivery)}
    since = Attempt.started_at >= Batch.started_at
    answered = select(Attempt.batch_id).join(Batch, Batch.id == Attempt.batch_id).where(Batch.id.in_(sent), since)
    ended = set(session.scalars(answered)) if sent else set()
    return min((each.started_at for each in sent.values() if each.id not in ended), default=None)


def is_being_sent(session: Session, delivery: Delivery) -> bool:
    """Whether somebody works on its line while a batch of unknown outcome holds it: that one goes first."""
    if not _sent(session, delivery):
        return False
    lane = select(Lane.id).where(Lane.connection_id == delivery.connection_id, Lane.kind == LANE_OF[delivery.kind])
    return session.scalar(lane.where(Lane.lease_until > db_now())) is not None


def _sent(session: Session, delivery: Delivery) -> list[Batch]:
    """The batches of unknown outcome that hold it. Parts of a refused import job only wait for their turn."""
    found = _open_batches(session, delivery)
    return [batch for batch in found if batch.outcome is BatchOutcome.UNKNOWN and batch.fence]


def _open_batches(session: Session, delivery: Delivery) -> list[Batch]:
    """The batches of its lane whose end is not known, where they hold it."""
    if delivery.status is not Status.WAITING:
        return []
    lane_id = session.scalar(
        select(Lane.id).where(Lane.connection_id == delivery.connection_id, Lane.kind == LANE_OF[delivery.kind])
    )
    is_open = or_(Batch.outcome == BatchOutcome.UNKNOWN, Batch.job_due_at.is_not(None))
    statement = select(Batch).where(Batch.lane_id == lane_id, is_open, Batch.members.is_not(None))
    found = session.scalars(statement.order_by(Batch.id.desc()).limit(OPEN_BATCHES))
    return [batch for batch in found if delivery.id in _members(batch.members or "[]")]


def _consent_calls(session: Session, delivery: Delivery, settled_at: datetime) -> list[Attempt]:
    """The account's subscription calls just before the consent ended: one of them carried it."""
    since, _ = around(session, settled_at - AROUND, Attempt.id, Attempt.started_at)
    statement = select(Attempt).where(
        Attempt.id >= since,
        Attempt.connection_id == delivery.connection_id,
        Attempt.endpoint.in_([SUBSCRIBE.name, UNSUBSCRIBE.name]),
        Attempt.started_at <= settled_at,
    )
    return list(session.scalars(statement.order_by(Attempt.id).limit(SEARCHED)))


def deliveries_of(session: Session, workspace_id: int, request_id: str, limit: int) -> list[int]:
    """Up to `limit` deliveries of the calls with this request id. Those a call did not deliver are named by it."""
    statement = (
        select(Attempt)
        .join(Connection, Connection.id == Attempt.connection_id)
        .where(Attempt.request_id == request_id, Connection.workspace_id == workspace_id)
        .limit(SEARCHED)
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
        above=around(session, attempt.started_at - LIFE - SLACK)[0],
        below=around(session, attempt.started_at + SLACK)[1],
        only=Wanted(lambda columns: [columns.batch_id == batch_id], lambda row: row.batch_id == batch_id),
    )
    return {row.id for row in looked.rows}


def _members(text: str) -> list[int]:
    """The delivery ids of an open batch: a list of them, or of `[person id, version, [delivery ids], ...]`."""
    ids: list[int] = []
    for member in orjson.loads(text):
        ids += [member] if isinstance(member, int) else member[2]
    return ids
