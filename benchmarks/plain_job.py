"""What one would write first: a job an event."""

from __future__ import annotations

from typing import Any

import requests


def send(url: str, token: str, body: dict[str, Any]) -> None:
    """Post one event."""
    headers = {"Authorization": f"Bearer {token}", "revision": "2026-07-15", "Accept": "application/vnd.api+json"}
    headers["Content-Type"] = "application/vnd.api+json"
    answer = requests.post(f"{url}/api/events", json=body, headers=headers, timeout=10)
    answer.raise_for_status()
