"""Every kind of task, by name."""

from __future__ import annotations

from collections.abc import Callable

from jobs.tasks import settle_rest
from jobs.tasks.run import TaskRun

# Quick ones, which a person waits for, go before long ones; a long one gives way after every bite.
QUICK = 0
LONG = 5

KINDS: dict[str, tuple[int, Callable[[TaskRun], bool]]] = {
    "settle_rest": (QUICK, settle_rest.step),
}
