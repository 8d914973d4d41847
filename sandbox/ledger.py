"""How many requests came, and how fast at most: what a test needs to prove that a client keeps the limits."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any


class _Sliding:
    """The largest number of arrivals in any span of `seconds`."""

    __slots__ = ("largest", "seconds", "times")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.times: deque[float] = deque()
        self.largest = 0

    def add(self, now: float) -> None:
        times = self.times
        times.append(now)
        start = now - self.seconds
        while times[0] <= start:
            times.popleft()
        self.largest = max(self.largest, len(times))


class Ledger:
    """Counts by (account, endpoint, status) and the sliding maxima by (account, endpoint)."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._rates: dict[tuple[str, str], tuple[_Sliding, _Sliding]] = {}

    def arrived(self, account: str, endpoint: str, now: float) -> None:
        """A request came in; `now` is monotonic seconds."""
        key = (account, endpoint)
        if key not in self._rates:
            self._rates[key] = (_Sliding(1.0), _Sliding(60.0))
        for sliding in self._rates[key]:
            sliding.add(now)

    def answered(self, account: str, endpoint: str, status: int) -> None:
        """A request was answered; status 0 is a connection that was dropped or held."""
        self._counts[account, endpoint, status] += 1

    def requests(self) -> list[dict[str, Any]]:
        """Rows of account, endpoint, status and count."""
        return [
            {"account": account, "endpoint": endpoint, "status": status, "count": count}
            for (account, endpoint, status), count in sorted(self._counts.items())
        ]

    def rates(self) -> list[dict[str, Any]]:
        """Rows of account, endpoint and the largest number of requests in any 1 s and any 60 s."""
        return [
            {"account": account, "endpoint": endpoint, "second": second.largest, "minute": minute.largest}
            for (account, endpoint), (second, minute) in sorted(self._rates.items())
        ]

    def forget(self) -> None:
        """Begin at nothing."""
        self._counts.clear()
        self._rates.clear()
