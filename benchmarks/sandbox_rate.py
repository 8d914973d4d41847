"""How many events a second the Klaviyo sandbox checks and keeps, and what one costs it in CPU time and memory.

It shares a machine with what is benchmarked against it, so its own cost is what this keeps an eye on. Bodies are
built beforehand and sent as they are, so that nearly all the time is the sandbox's.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.sandbox_process import SandboxProcess

RESULTS = Path(__file__).parent / "results"
PEOPLE = 20_000
EVENTS_A_CALL = 1_000
TIME = "2026-11-23T10:00:00.123456+00:00"


def _body(profiles: list[dict[str, Any]]) -> bytes:
    entries = [
        {
            "type": "event-bulk-create",
            "attributes": {
                "profile": {"data": {"type": "profile", **profile}},
                "events": {
                    "data": [
                        {
                            "type": "event",
                            "attributes": {
                                "properties": {
                                    "shortId": str(100_000 + place),
                                    "postType": "image",
                                    "points": place,
                                    "tags": ["summer", "shoes"],
                                    "product": {"id": f"sku-{place}", "title": "Trail shoe"},
                                },
                                "metric": {
                                    "data": {
                                        "type": "metric",
                                        "attributes": {"name": "Uploaded Post"},
                                    }
                                },
                                "time": TIME,
                                "unique_id": str(uuid.uuid4()),
                            },
                        }
                    ]
                },
            },
        }
        for place, profile in enumerate(profiles)
    ]
    job = {"type": "event-bulk-create-job", "attributes": {"events-bulk-create": {"data": entries}}}
    return json.dumps({"data": job}, separators=(",", ":")).encode()


def _request(sandbox: SandboxProcess, token: str, body: bytes) -> bytes:
    head = (
        "POST /api/event-bulk-create-jobs HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{sandbox.port}\r\n"
        f"Authorization: Bearer {token}\r\n"
        "revision: 2026-07-15\r\n"
        "Content-Type: application/vnd.api+json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _send_all(port: int, requests: queue.SimpleQueue[bytes]) -> None:
    """Send requests over one connection until there are no more; every one must be answered 202."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while True:
            try:
                request = requests.get_nowait()
            except queue.Empty:
                return
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += connection.recv(65_536)
                assert answer, "the sandbox hung up"
            assert answer.startswith(b"HTTP/1.1 202 "), answer


def _cpu_and_memory(pid: int) -> tuple[float, int]:
    """CPU seconds so far and resident bytes of a process; zeros where the system has no /proc."""
    if not Path("/proc/self/stat").exists():
        return 0.0, 0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


def _measure(sandbox: SandboxProcess, account: str, *, by: str, calls: int, connections: int) -> dict[str, float]:
    token = str(sandbox.grant(account)["access_token"])
    ids = sandbox.put_profiles(account, *(f"person-{number}@example.com" for number in range(PEOPLE)))
    who = [
        {"id": each, "attributes": {}} if by == "id" else {"attributes": {"email": email}}
        for email, each in ids.items()
    ]
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for call in range(calls):
        first = call * EVENTS_A_CALL % PEOPLE
        requests.put(_request(sandbox, token, _body(who[first : first + EVENTS_A_CALL])))
    cpu_before, memory_before = _cpu_and_memory(sandbox.child.pid)
    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        for each in [pool.submit(_send_all, sandbox.port, requests) for _ in range(connections)]:
            each.result()
    seconds = time.perf_counter() - started
    cpu_after, memory_after = _cpu_and_memory(sandbox.child.pid)
    events = calls * EVENTS_A_CALL
    assert sandbox.accounts()[account]["events"] == events, "not every event was kept"
    return {
        "events": events,
        "seconds": round(seconds, 3),
        "events_per_second": round(events / seconds),
        "cpu_microseconds_per_event": round((cpu_after - cpu_before) / events * 1e6, 2),
        "memory_bytes_per_event": round((memory_after - memory_before) / events),
    }


def rate(calls: int) -> float:
    """Events a second that the sandbox takes by itself, people named by id."""
    with SandboxProcess("--limits", "off", "--no-seed-demo", "--extra-accounts", "1", "--memory") as sandbox:
        return _measure(sandbox, "AC0001", by="id", calls=calls, connections=1)["events_per_second"]


def main() -> None:
    """Measure with people named by id and by address; print a table and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300, help="bulk calls of 1,000 events for each way")
    parser.add_argument("--connections", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="with a state file instead of --memory")
    chosen = parser.parse_args()
    options = ["--limits", "off", "--no-seed-demo", "--extra-accounts", "2", *([] if chosen.keep else ["--memory"])]
    found: dict[str, dict[str, float]] = {}
    with SandboxProcess(*options) as sandbox:
        for account, by in (("AC0001", "id"), ("AC0002", "email")):
            row = _measure(sandbox, account, by=by, calls=chosen.calls, connections=chosen.connections)
            found[f"by_{by}"] = row
            print(
                f"people by {by:6} {row['events_per_second']:>9,.0f} events/s, each "
                f"{row['cpu_microseconds_per_event']:4.1f} us of CPU and {row['memory_bytes_per_event']:3,.0f} bytes"
            )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sandbox_rate.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
