"""What is sent together: a row written before the call, closed with its outcome. While open, nobody knows its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import orjson
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from jobs.run import Run
from webapp import clock
from webapp.database import after_commit
from webapp.dialects import db_now, durable_with_the_next, one_of
from webapp.klaviyo.endpoints import Endpoint
from webapp.models import Batch, BatchOutcome
from webapp.models.tables import BATCHES

NOT_SENT = 0
_OPEN = insert(BATCHES).returning(BATCHES.c.id)
_THIS = BATCHES.c.id == bindparam("batch")
_SHRINK = update(BATCHES).where(_THIS).values(members=bindparam("left"), size=bindparam("how_many"))
_UNKNOWN_AGAIN = update(BATCHES).where(_THIS).values(unknown_times=bindparam("times"))
_SENT_UNDER = update(BATCHES).where(_THIS).values(fence=bindparam("sent_under"), started_at=bindparam("now"))
_CARRIED = select(BATCHES.c.id, BATCHES.c.carried).where(one_of(BATCHES.c.id), BATCHES.c.carried.is_not(None))
_CLOSE = update(BATCHES).where(_THIS).values(outcome=bindparam("end"), finished_at=bindparam("now"), members=None)
# Where this is forgotten nobody knows the batch's end: it goes again, as after a worker that died just before.
_CLOSE_REPEATABLE = _CLOSE.where(durable_with_the_next())


def open_batch(
    session: Session,
    run: Run,
    endpoint: Endpoint,
    members: list[Any],
    *,
    size: int,
    sent: bool = True,
    unknown_times: int = 0,
    carried: Mapping[int, int] | None = None,
) -> Batch:
    """A new open batch; in the transaction that reserves its budget, or that takes its members out of another.

    `carried`: person id -> the version of their fields that goes with it, or a newer one.
    """
    values = {
        "lane_id": run.held.lane_id,
        "connection_id": run.held.connection_id,
        "endpoint": endpoint.name,
        "size": size,
        "members": orjson.dumps(members).decode(),
        "carried": orjson.dumps(carried, option=orjson.OPT_NON_STR_KEYS).decode() if carried else None,
        "fence": run.held.fence if sent else NOT_SENT,
        "outcome": BatchOutcome.UNKNOWN,
        "unknown_times": unknown_times,
        "started_at": clock.now(),
    }
    batch = Batch(id=session.connection().scalar(_OPEN, values), **values)
    after_commit(session, partial(run.open_batches.add, batch.id))
    return batch


def members(batch: Batch) -> list[Any]:
    """What the batch holds."""
    found: list[Any] = orjson.loads(batch.members or "[]")
    return found


def carried(session: Session, batch_ids: Iterable[int]) -> dict[int, dict[int, int]]:
    """Batch id -> what it carried of its people's fields, see `Batch.carried`."""
    rows = session.connection().execute(_CARRIED, {"ids": list(batch_ids)})
    return {id_: {int(person): version for person, version in orjson.loads(text).items()} for id_, text in rows}


def shrink(session: Session, batch: Batch, left: list[Any], *, size: int) -> None:
    """The batch goes on with fewer members: erased, refused or put off ones are out."""
    members = orjson.dumps(left).decode()
    session.connection().execute(_SHRINK, {"batch": batch.id, "left": members, "how_many": size})
    batch.members, batch.size = members, size


def unknown_again(session: Session, batch: Batch) -> int:
    """No answer once more; how many times now."""
    times = batch.unknown_times + 1
    session.connection().execute(_UNKNOWN_AGAIN, {"batch": batch.id, "times": times})
    batch.unknown_times = times
    return times


def note_sending(session: Session, batch: Batch, fence: int) -> None:
    """Under which fence it is sent from here on; NOT_SENT where Klaviyo certainly has nothing of what it holds."""
    batch.fence, batch.started_at = fence, clock.now()
    session.connection().execute(_SENT_UNDER, {"batch": batch.id, "sent_under": fence, "now": batch.started_at})


def close(session: Session, run: Run, batch: Batch, outcome: BatchOutcome, *, repeatable: bool = False) -> None:
    """Its end is known: what it delivered says so itself, the members are forgotten.

    `repeatable`: it may go once more as it was, so that the commit need not wait for the disk.
    """
    statement = _CLOSE_REPEATABLE if repeatable else _CLOSE
    session.connection().execute(statement, {"batch": batch.id, "end": outcome, "now": clock.now()})
    after_commit(session, partial(run.open_batches.discard, batch.id))


def accept_job(session: Session, run: Run, batch: Batch, job_id: str, look_in: float) -> None:
    """Klaviyo took an import job: members stay until the job is complete, which is asked in `look_in` seconds."""
    # From here on those looks are counted at which nobody could read how it stands.
    values = {"outcome": BatchOutcome.ACCEPTED, "job_id": job_id, "job_due_at": db_now(look_in), "unknown_times": 0}
    session.execute(update(Batch).where(Batch.id == batch.id).values(**values))
    after_commit(session, partial(run.open_batches.discard, batch.id))


def note_over(session: Session, batch: Batch, members: list[Any]) -> None:
    """Its import job is over, as just seen; `members` say who failed. What became of them is still to be found out."""
    batch.members, batch.finished_at = orjson.dumps(members).decode(), clock.now()
    values = {"members": batch.members, "finished_at": batch.finished_at}
    session.execute(update(Batch).where(Batch.id == batch.id).values(**values))


def due_jobs(session: Session, lane_id: int, limit: int = 10) -> list[Batch]:
    """Accepted import jobs that are to be asked about now."""
    statement = select(Batch).where(Batch.lane_id == lane_id, Batch.job_due_at <= db_now())
    return list(session.scalars(statement.order_by(Batch.job_due_at).limit(limit)))


def open_ones(session: Session, run: Run) -> list[Batch]:
    """The batches whose end nobody knows, oldest first."""
    statement = select(Batch).where(Batch.lane_id == run.held.lane_id, Batch.outcome == BatchOutcome.UNKNOWN)
    return list(session.scalars(statement.order_by(Batch.id)))
