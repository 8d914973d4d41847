"""What is sent together: a row written before the call, closed with its outcome. While open, nobody knows its end."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from jobs.run import Run
from webapp import clock
from webapp.dialects import db_now
from webapp.klaviyo.endpoints import Endpoint
from webapp.models import Batch, BatchOutcome, Lane


def open_batch(session: Session, run: Run, endpoint: Endpoint, members: list[Any], *, size: int) -> Batch:
    """A new open batch; in the transaction that reserves its budget."""
    values = {
        "lane_id": run.held.lane_id,
        "connection_id": run.held.connection_id,
        "endpoint": endpoint.name,
        "size": size,
        "members": orjson.dumps(members).decode(),
        "fence": run.held.fence,
        "outcome": BatchOutcome.UNKNOWN,
        "started_at": clock.now(),
    }
    batch = session.scalars(insert(Batch).returning(Batch), [values]).one()
    _point(session, run)
    return batch


def members(batch: Batch) -> list[Any]:
    """What the batch holds."""
    found: list[Any] = orjson.loads(batch.members or "[]")
    return found


def shrink(session: Session, batch: Batch, left: list[Any], *, size: int) -> None:
    """The batch goes on with fewer members: erased, refused or put off ones are out."""
    values = {"members": orjson.dumps(left).decode(), "size": size}
    session.execute(update(Batch).where(Batch.id == batch.id).values(**values))
    batch.members, batch.size = values["members"], size  # type: ignore[assignment]  # the same values


def unknown_again(session: Session, batch: Batch) -> int:
    """No answer once more; how many times now."""
    times = batch.unknown_times + 1
    session.execute(update(Batch).where(Batch.id == batch.id).values(unknown_times=times))
    batch.unknown_times = times
    return times


def close(session: Session, run: Run, batch: Batch, outcome: BatchOutcome) -> None:
    """Its end is known: what it delivered says so itself, the members are forgotten."""
    values = {"outcome": outcome, "finished_at": clock.now(), "members": None}
    session.execute(update(Batch).where(Batch.id == batch.id).values(**values))
    _point(session, run)


def accept_job(session: Session, run: Run, batch: Batch, job_id: str, look_in: float) -> None:
    """Klaviyo took an import job: members stay until the job is complete, which is asked in `look_in` seconds."""
    values = {"outcome": BatchOutcome.ACCEPTED, "job_id": job_id, "job_due_at": db_now(look_in)}
    session.execute(update(Batch).where(Batch.id == batch.id).values(**values))
    _point(session, run)


def due_jobs(session: Session, lane_id: int, limit: int = 10) -> list[Batch]:
    """Accepted import jobs that are to be asked about now."""
    statement = select(Batch).where(Batch.lane_id == lane_id, Batch.job_due_at <= db_now())
    return list(session.scalars(statement.order_by(Batch.job_due_at).limit(limit)))


def open_ones(session: Session, run: Run) -> list[Batch]:
    """The batches whose end nobody knows, oldest first."""
    statement = select(Batch).where(Batch.lane_id == run.held.lane_id, Batch.outcome == BatchOutcome.UNKNOWN)
    return list(session.scalars(statement.order_by(Batch.id)))


def _point(session: Session, run: Run) -> None:
    """`lanes.unknown_batch_id` names the oldest open batch, so that a drain sees it with its claim."""
    oldest = (
        select(func.min(Batch.id))
        .where(Batch.lane_id == run.held.lane_id, Batch.outcome == BatchOutcome.UNKNOWN)
        .scalar_subquery()
    )
    lane = (
        update(Lane).where(Lane.id == run.held.lane_id).values(unknown_batch_id=oldest).returning(Lane.unknown_batch_id)
    )
    run.lane.unknown_batch_id = session.scalar(lane)
