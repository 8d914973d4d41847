"""A job that never ends is ended, in its own thread; one that did is left alone, and no thread is begun for each."""

from __future__ import annotations

import threading
import time

import pytest
from rq.timeouts import JobTimeoutException

from jobs import net
from jobs.net import Net


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a guard of the test's own."""
    monkeypatch.setattr(net, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(net, "_guard", net._Guard())


def busy(seconds: float) -> None:
    """Work that can be interrupted: an error from another thread comes between two steps of Python."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)


def test_a_job_over_its_time_is_ended_in_its_own_thread() -> None:
    began = time.monotonic()
    with pytest.raises(JobTimeoutException), Net(0.05, JobTimeoutException, job_id="a-job"):
        busy(30)
    assert time.monotonic() - began < 20


def test_what_comes_after_a_job_is_left_alone() -> None:
    with Net(0.05, JobTimeoutException, job_id="a-job"):
        pass
    busy(0.2)


def test_the_next_job_has_a_time_of_its_own() -> None:
    with Net(0.05, JobTimeoutException, job_id="a-job"):
        pass
    with Net(60, JobTimeoutException, job_id="another"):
        busy(0.2)


def test_one_thread_keeps_the_time_of_all_jobs() -> None:
    before = set(threading.enumerate())
    for number in range(50):
        with Net(60, JobTimeoutException, job_id=f"job-{number}"):
            pass
    assert set(threading.enumerate()) - before == {net._guard._thread}
