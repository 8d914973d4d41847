"""Ingest to Klaviyo on an idle system: how long after the 202 an event stands in the sandbox. `make bench`."""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import Figure, tell
from tests.browsing import enable, sign_in
from tests.stack import Stack, running

RUNS = 100


def measure(stack: Stack) -> list[float]:
    """Milliseconds from before the post until Klaviyo has the event, one at a time."""
    enable(stack, sign_in(stack))
    taken = []
    for number in range(RUNS):
        before = len(stack.sandbox.events("ACCTSE"))
        activity = {
            "id": f"bench-{number}",
            "type": "event",
            "event": "tier_earned",
            "store": "se",
            "occurred_at": datetime.now(UTC).isoformat(),
            "profile": {"email": "ada@example.com"},
            "properties": {"tierId": "gold", "tierName": "Gold"},
        }
        started = time.perf_counter()
        stack.ingest(activity)
        while len(stack.sandbox.events("ACCTSE")) == before:
            time.sleep(0.002)
        taken.append((time.perf_counter() - started) * 1000)
        time.sleep(0.3)
    return sorted(taken)


def main() -> None:
    """Print a table and keep the figures."""
    figures = []
    for backend in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory() as home, running(Path(home), backend=backend) as stack:
            taken = measure(stack)
        figures += [
            Figure(f"{backend}: p50", statistics.median(taken), "ms", at_most=150),
            Figure(f"{backend}: p99", taken[int(len(taken) * 0.99) - 1], "ms", at_most=500),
        ]
    tell("latency", f"Ingest to Klaviyo on an idle system, {RUNS} times", figures)


if __name__ == "__main__":
    main()
