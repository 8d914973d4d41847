"""Waking lanes through RQ: the one import of rq outside jobs/. Best effort: the sweeper finds what is missed here."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache

import redis
from rq import Queue
from rq.serializers import JSONSerializer

from webapp.extensions import settings

FAST, SLOW = "cevoid-fast", "cevoid-slow"
DRAIN = "jobs.drain.drain"
AWAY_SECONDS = 1.0
_away_until = 0.0


@cache
def connection(url: str) -> redis.Redis:
    """A connection whose calls give up after 50 ms: an ingest call never waits for Redis."""
    return redis.Redis.from_url(url, socket_timeout=0.05, socket_connect_timeout=0.05, retry=None)


def wake(lanes: Iterable[tuple[int, bool]]) -> bool:
    """Ask workers to drain lanes, `(lane id, whether it is slow)`. False where Redis is away; never raises."""
    global _away_until  # noqa: PLW0603 - one process, one Redis
    if time.monotonic() < _away_until:
        return False
    try:
        for lane_id, slow in lanes:
            _queue(SLOW if slow else FAST).enqueue_call(
                DRAIN, args=(lane_id,), result_ttl=0, failure_ttl=60, ttl=60, timeout=60
            )
    except redis.RedisError:
        _away_until = time.monotonic() + AWAY_SECONDS
        return False
    return True


def _queue(name: str) -> Queue:
    return Queue(name, connection=connection(settings().redis_url), serializer=JSONSerializer)
