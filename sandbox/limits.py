"""Rate limits per (account, endpoint): fixed windows of one second, one minute and, for some, one day.

Each account's windows start at a phase of their own, as nobody outside knows where Klaviyo's start.
"""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

from sandbox.errors import throttled

_OFF = 1_000_000
_LENGTHS = (1, 60, 86_400)


class Tier(NamedTuple):
    """Requests allowed in a second, a minute, and a day (0: no daily limit)."""

    burst: int
    steady: int
    daily: int = 0


XS = Tier(1, 15)
M = Tier(10, 150)
M_DAILY = Tier(10, 150, 150)
L = Tier(75, 750)
XL = Tier(350, 3500)


class _Windows:
    __slots__ = ("counts", "numbers", "phase")

    def __init__(self, account: str) -> None:
        self.phase = zlib.crc32(account.encode()) % 60_000 / 1000
        self.numbers = [0, 0, 0]
        self.counts = [0, 0, 0]


class Limits:
    """Counts requests and refuses those over a limit. `factor` multiplies the documented ones; None is off."""

    def __init__(self, factor: float | None) -> None:
        self._factor = factor
        self._windows: dict[tuple[str, str], _Windows] = {}

    def scaled(self, tier: Tier) -> Tier:
        """What is enforced and announced for a documented tier."""
        if self._factor is None:
            return Tier(_OFF, _OFF)
        return Tier(*(math.ceil(limit * self._factor) for limit in tier))

    def forget(self) -> None:
        """Start every window anew."""
        self._windows.clear()

    def take(self, account: str, endpoint: str, tier: Tier, now: float) -> dict[str, str]:
        """Count one request and give its RateLimit headers. Raises Refused (429) when a window is full."""
        if self._factor is None:
            return _OFF_HEADERS
        allowed = self.scaled(tier)
        windows = self._windows.get((account, endpoint))
        if windows is None:
            windows = self._windows[account, endpoint] = _Windows(account)
        counts = windows.counts
        wait = 0.0
        for place, length in enumerate(_LENGTHS):
            number, into = divmod(now + windows.phase, length)
            if windows.numbers[place] != number:
                windows.numbers[place] = int(number)
                counts[place] = 0
            if allowed[place] and counts[place] >= allowed[place]:
                wait = max(wait, length - into)
        if wait:
            raise throttled(max(1, math.ceil(wait)))
        for place in range(3):
            counts[place] += 1
        return _headers(allowed, allowed.burst - counts[0])


def _headers(allowed: Tier, remaining: int) -> dict[str, str]:
    announced = f"{allowed.burst}, {allowed.burst};w=1, {allowed.steady};w=60"
    if allowed.daily:
        announced += f", {allowed.daily};w=86400"
    return {"RateLimit-Limit": announced, "RateLimit-Remaining": str(remaining), "RateLimit-Reset": "0"}


_OFF_HEADERS = _headers(Tier(_OFF, _OFF), _OFF - 1)
