"""A worker runs drains and nothing else, whatever somebody wrote into Redis."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from jobs import worker
from webapp import queue


def job(function: str, *arguments: Any, **hash_: bytes) -> worker.LaneJob:
    """A job as it stands in Redis."""
    made = worker.LaneJob("a-job", connection=redis.Redis(), serializer=JSONSerializer)  # nothing is asked of it
    made.restore({b"data": json.dumps([function, None, list(arguments), {}]).encode(), **_keyed(hash_)})
    return made


def _keyed(values: dict[str, bytes]) -> dict[bytes, bytes]:
    return {name.encode(): value for name, value in values.items()}


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("os.system", ["true"]),
        ("builtins.eval", ["1"]),
        ("jobs.drain.claim", [1]),
        (queue.DRAIN, []),
        (queue.DRAIN, ["1"]),
        (queue.DRAIN, [True]),
        (queue.DRAIN, [1, True]),
        (queue.DRAIN, [1, 2, 3]),
    ],
)
def test_any_other_function_or_argument_is_refused(function: str, arguments: list[Any]) -> None:
    with pytest.raises(worker.RefusedJob):
        _ = job(function, *arguments).func


def test_a_drain_is_a_drain() -> None:
    from jobs.drain import drain

    assert job(queue.DRAIN, 7).func is drain
    assert job(queue.DRAIN, 7, 3).func is drain


def test_callbacks_webhooks_retries_and_timeouts_of_strangers_are_ignored() -> None:
    hook = [{"url": "http://127.0.0.1:9/", "job_status": "finished", "method": "GET", "headers": None, "timeout": 1}]
    found = job(
        queue.DRAIN,
        7,
        success_callback_name=b"os.getcwd",
        failure_callback_name=b"os.getcwd",
        stopped_callback_name=b"os.getcwd",
        webhooks=json.dumps(hook).encode(),
        timeout=b"-1",
        retries_left=b"5",
        repeats_left=b"5",
    )
    assert (found.success_callback, found.failure_callback, found.stopped_callback) == (None, None, None)
    assert (found.webhooks, found.timeout) == ([], queue.DRAIN_SECONDS)
    assert (found.retries_left, found.repeats_left) == (None, None)


def test_whether_workers_are_suspended_is_asked_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    moments = iter([100.0, 100.0, 100.5, 100.9, 101.0, 101.0, 101.2])  # one that asks looks once more when it has
    monkeypatch.setattr(SimpleWorker, "check_for_suspension", lambda *_: asked.append("asked"))
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    made = object.__new__(worker.LaneWorker)
    for _ in range(5):
        made.check_for_suspension(burst=False)
    monkeypatch.undo()
    assert len(asked) == 2
