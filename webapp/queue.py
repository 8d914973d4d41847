"""Waking lanes through RQ: the one import of rq outside jobs/. Best effort: the sweeper finds what is missed here."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import redis
from rq import Queue, Worker
from rq.queue import EnqueueData
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from webapp.extensions import settings

FAST, SLOW = "cevoid-fast", "cevoid-slow"
DRAIN = "jobs.drain.drain"
AWAY_SECONDS = 1.0
ANSWER_SECONDS = 0.05
LOOK_SECONDS = 1.0
FAILED_FOR = 60
DRAIN_SECONDS = 60
WAKE_UP_SECONDS = 60
AT_ONCE = 100  # in one go to Redis, which has 50 ms for it
SHOWN = 100
OTHERS = {
    "finished": FinishedJobRegistry,
    "deferred": DeferredJobRegistry,
    "scheduled": ScheduledJobRegistry,
    "canceled": CanceledJobRegistry,
}
_away_until = 0.0


class WakeUp(NamedTuple):
    """A lane that is to be drained, whether it is slow, and its fence by now.

    Whoever claims it next sees to everything there is by then, so that a wake-up from before that is void.
    """

    lane_id: int
    slow: bool
    fence: int


@cache
def connection(url: str) -> redis.Redis:
    """A connection whose calls give up after 50 ms: an ingest call never waits for Redis."""
    return redis.Redis.from_url(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, retry=None)


def is_away() -> bool:
    """Whether Redis was away just now; it is not asked again so soon."""
    return time.monotonic() < _away_until


def wake(wanted: Iterable[WakeUp]) -> bool:
    """Ask workers to drain lanes. False where Redis is away; never raises."""
    global _away_until  # noqa: PLW0603 - one process, one Redis
    if is_away():
        return False
    everybody = list(wanted)
    try:
        for name, of_slow in ((FAST, False), (SLOW, True)):
            these = [each for each in everybody if each.slow == of_slow]
            for start in range(0, len(these), AT_ONCE):
                _queue(name).enqueue_many([_job(each) for each in these[start : start + AT_ONCE]])
    except redis.RedisError:
        _away_until = time.monotonic() + AWAY_SECONDS
        return False
    return True


def _job(asked: WakeUp) -> EnqueueData:
    return Queue.prepare_data(
        DRAIN,
        args=(asked.lane_id, asked.fence),
        result_ttl=0,
        failure_ttl=FAILED_FOR,
        ttl=WAKE_UP_SECONDS,
        timeout=DRAIN_SECONDS,
    )


def somebody_waits(*, slow: bool) -> bool:
    """Whether wake-ups stand in line for a worker of this sort. False where Redis is away; never raises."""
    if is_away():
        return False
    try:
        return bool(_queue(SLOW if slow else FAST).count)
    except redis.RedisError:
        return False


def head_of_line(*, slow: bool) -> datetime | None:
    """When the wake-up was asked for that is next in line, by the asker's clock. Never raises.

    None where nobody stands there, or Redis is away.
    """
    if is_away():
        return None
    try:
        return _oldest(_queue(SLOW if slow else FAST))
    except redis.RedisError:
        return None


def _oldest(queue: Queue) -> datetime | None:
    first = next(iter(queue.get_jobs(0, 1)), None)
    return _aware(first.enqueued_at) if first is not None else None


def _queue(name: str) -> Queue:
    return Queue(name, connection=connection(settings().redis_url), serializer=JSONSerializer)


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """One worker as Redis knows it. `seen_at`: its last sign of life."""

    name: str
    queue: str
    state: str
    born_at: datetime | None
    seen_at: datetime | None
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """One queue: wake-ups waiting, started, and the newest that failed with when (job id, moment).

    `others`: RQ's other registries by name, which ours leave empty: nothing is finished, deferred or put off there.
    """

    name: str
    waiting: int
    oldest_at: datetime | None
    started: tuple[str, ...]
    others: tuple[tuple[str, int], ...]
    failed: int
    newest_failed: tuple[tuple[str, datetime], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What Redis knows of workers and queues at this moment."""

    workers: tuple[WorkerSeen, ...]
    queues: tuple[QueueSeen, ...]


def look() -> Seen | None:
    """Workers, queues and RQ's own registries, read only: nothing is cleaned up by looking. None: Redis is away."""
    reader = redis.Redis.from_url(
        settings().redis_url, socket_timeout=LOOK_SECONDS, socket_connect_timeout=LOOK_SECONDS, retry=None
    )
    try:
        workers = [_worker(each) for each in Worker.all(connection=reader, serializer=JSONSerializer)[:SHOWN]]
        queues = tuple(_queue_seen(name, reader) for name in (FAST, SLOW))
        return Seen(tuple(sorted(workers, key=lambda each: (each.queue, each.name))), queues)
    except redis.RedisError:
        return None
    finally:
        reader.close()


def _worker(worker: BaseWorker) -> WorkerSeen:
    return WorkerSeen(
        name=str(worker.name),
        queue=", ".join(worker.queue_names()),
        state=str(worker.get_state()),
        born_at=_aware(worker.birth_date),
        seen_at=_aware(worker.last_heartbeat),
        done=worker.successful_job_count,
        failed=worker.failed_job_count,
    )


def _queue_seen(name: str, reader: redis.Redis) -> QueueSeen:
    queue = Queue(name, connection=reader, serializer=JSONSerializer)
    started = StartedJobRegistry(queue=queue).get_job_ids(0, SHOWN - 1, cleanup=False)
    failed = FailedJobRegistry(queue=queue)
    # Scored by when they are forgotten, which is a fixed time after they failed.
    newest: Any = reader.zrevrange(failed.key, 0, 9, withscores=True)
    return QueueSeen(
        name=name,
        waiting=queue.count,
        oldest_at=_oldest(queue),
        started=tuple(started),
        others=tuple((name, int(reader.zcard(registry(queue=queue).key))) for name, registry in OTHERS.items()),
        failed=failed.get_job_count(cleanup=False),
        newest_failed=tuple((each[0].decode(), datetime.fromtimestamp(each[1] - FAILED_FOR, UTC)) for each in newest),
    )


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
