"""Ingest to Klaviyo on an idle system: how long after the 202 an event stands in the sandbox. `make bench`."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.browsing import enable, sign_in
from tests.stack import Stack, running

RUNS = 40
RESULTS = Path(__file__).parent / "results"


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
    found = {}
    for backend in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory() as home, running(Path(home), backend=backend) as stack:
            taken = measure(stack)
        found[backend] = {"p50_ms": statistics.median(taken), "p99_ms": taken[-1], "runs": RUNS}
        print(f"{backend:12} p50 {found[backend]['p50_ms']:6.0f} ms   slowest of {RUNS} {taken[-1]:6.0f} ms")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latency.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
