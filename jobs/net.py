"""RQ's time limit of a job, kept by one thread of the process. RQ's own is a thread a job: as dear as the wake-up.

A drain ends by its own deadlines long before; this catches what has none.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from rq.timeouts import JobTimeoutException, TimerDeathPenalty

LOOK_SECONDS = 1.0


class Net(TimerDeathPenalty):
    """`with Net(seconds, error)`: `error` is raised in this thread, within a second of the time's end."""

    def __init__(self, timeout: float, exception: type[BaseException] = JobTimeoutException, **named: Any) -> None:
        super().__init__(timeout, exception, **named)  # type: ignore[no-untyped-call]  # RQ ships no types for it

    def setup_death_penalty(self) -> None:
        """The time begins."""
        _guard.watch(self, time.monotonic() + self._timeout)

    def cancel_death_penalty(self) -> None:
        """The job is over: after this nothing is raised any more."""
        _guard.watch(None, float("inf"))


class _Guard:
    """The thread, begun with the first job. A worker has one job at a time."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._job: Net | None = None
        self._until = float("inf")
        self._thread: threading.Thread | None = None

    def watch(self, job: Net | None, until: float) -> None:
        """This is the job now, until then (monotonic seconds)."""
        with self._turn:
            self._job, self._until = job, until
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._work, name="net", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            with self._turn:
                if self._job is not None and time.monotonic() >= self._until:
                    self._job.handle_death_penalty()  # type: ignore[no-untyped-call]  # RQ ships no types
                    self._job = None


_guard = _Guard()
