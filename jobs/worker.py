"""An RQ worker of ours: `python -m jobs.worker fast|slow`. One queue, one allow-listed job, no pickles.

One queue only: with two, RQ loses a job for good when it is killed between taking and preparing it.
"""

from __future__ import annotations

import gc
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

import redis
from redis.client import Pipeline
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from jobs import context
from jobs.net import Net
from webapp import log, queue
from webapp.settings import WrongSetting, load

SIGN_SECONDS = 1.0
QUEUES = {"fast": queue.FAST, "slow": queue.SLOW}


class RefusedJob(Exception):
    """Somebody put another function than ours into the queue."""


class LaneJob(Job):
    """A job that can be nothing but a drain of a lane, whatever stands in Redis."""

    def restore(self, raw_data: Any) -> Any:
        """Of what stands there only the lane counts: RQ would import callbacks by name and call webhooks anywhere."""
        super().restore(raw_data)
        self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None
        self.webhooks = []
        self.retries_left = self.repeats_left = None
        self.timeout = queue.DRAIN_SECONDS

    @property
    def func(self) -> Any:
        """The drain. Raises RefusedJob for any other name or arguments than a lane's number and its fence."""
        given = [type(argument) for argument in self.args]
        if self.func_name != queue.DRAIN or given not in ([int], [int, int]) or self.kwargs:
            raise RefusedJob
        from jobs.drain import drain

        return drain

    def heartbeat(self, timestamp: datetime, ttl: int, pipeline: Pipeline | None = None, xx: bool = False) -> None:
        """A sign of life of a job that begins. One that is done goes at once."""
        if pipeline is not None:
            super().heartbeat(timestamp, ttl, pipeline, xx)

    def cleanup(self, ttl: int | None = None, pipeline: Pipeline | None = None, remove_from_queue: bool = True) -> None:
        """Done: nothing is left. A wake-up has no result, dependents or other executions, which RQ would ask for."""
        if ttl != 0:
            super().cleanup(ttl, pipeline, remove_from_queue)
            return
        place = self.connection if pipeline is None else pipeline
        place.delete(self.key)


class LaneWorker(SimpleWorker):
    """Runs drains in its own process: no fork a job. A drain ends by its own deadlines; RQ's is a net."""

    max_connection_wait_time = 1.0  # RQ would wait up to a minute after a Redis that was away for long
    _seen_at = _asked_at = -SIGN_SECONDS

    def request_stop(self, signum: Any, frame: Any) -> None:
        """SIGTERM: finish the call in hand, then leave, also while Redis is away (RQ would wait for it)."""
        context.life.is_ending = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]  # RQ ships no types for it

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """A sign of life, once a second: RQ would give five a drain, each of three questions."""
        if time.monotonic() - self._seen_at < SIGN_SECONDS:
            return
        self._seen_at = time.monotonic()
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            return
        with self.connection.pipeline() as together:
            super().heartbeat(timeout, together)
            together.execute()

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """What it does now, told where it is news."""
        if pipeline is not None or state != self.get_state():
            super().set_state(state, pipeline)

    def check_for_suspension(self, burst: bool) -> None:
        """Whether somebody said `rq suspend`, asked once a second and not before each drain."""
        if time.monotonic() - self._asked_at >= SIGN_SECONDS:
            super().check_for_suspension(burst)
            self._asked_at = time.monotonic()

    def handle_job_success(
        self, job: Job, queue: Queue, started_job_registry: StartedJobRegistry, execution: Execution
    ) -> None:
        """Count it and let nothing of it stay: RQ would ask for those that depend on it first."""
        with self.connection.pipeline() as together:
            self.increment_successful_job_count(together)
            self.increment_total_working_time(datetime.now(UTC) - execution.created_at, together)
            job.cleanup(0, together)
            self.cleanup_execution(job, together, execution)
            together.execute()

    death_penalty_class = Net
    job_class = LaneJob


def _spare_the_collector() -> None:
    """What start-up made stays; batches are thousands of small things that die by themselves. Measured: a fifth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def _share_the_interpreter() -> None:
    """One batch is prepared beside the call of another: an answer that came in waits for half a ms at most, not 5."""
    sys.setswitchinterval(0.0005)


def _wait_for_redis() -> None:
    """RQ gives a worker up whose Redis is full, or lost a key that it works with; we begin anew."""
    try:
        time.sleep(0.5)
    except StopRequested:
        context.life.is_ending = True


def main(kind: str) -> None:
    """Work until told to stop; an absent Redis is waited for."""
    try:
        settings = load()
        context.app()
    except WrongSetting as problem:
        sys.exit(str(problem))
    _spare_the_collector()
    _share_the_interpreter()
    logging.getLogger("rq.worker").setLevel(logging.WARNING)
    while not context.life.is_ending:
        connection = redis.Redis.from_url(settings.redis_url, socket_connect_timeout=2)
        try:
            wanted = Queue(QUEUES[kind], connection=connection, serializer=JSONSerializer, job_class=LaneJob)
            worker = LaneWorker(
                [wanted], connection=connection, serializer=JSONSerializer, job_class=LaneJob, worker_ttl=60
            )
            worker.work(logging_level="WARNING", with_scheduler=False)
        except redis.RedisError as problem:
            log.get("worker").warning("redis", kind=type(problem).__name__)
        if not context.life.is_ending:
            _wait_for_redis()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in QUEUES:
        sys.exit("Say which: python -m jobs.worker fast|slow")
    main(sys.argv[1])
