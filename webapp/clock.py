"""The one clock of the program: aware UTC. Leases, `next_at` and budgets use the database's clock instead.

A worker follows the database's clock where that is another machine's: what it writes is compared with what others
wrote, and a machine whose clock is wrong, or is set while it works, must not hold anything back or send it early.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_followed: tuple[datetime, float] | None = None


def now() -> datetime:
    """The present moment, aware, in UTC."""
    if _followed is None:
        return datetime.now(UTC)
    moment, at = _followed
    return moment + timedelta(seconds=time.monotonic() - at)


def follow(moment: datetime) -> None:
    """It is `moment` now, says the clock that counts; from here on this process goes by that."""
    global _followed  # noqa: PLW0603 - a process has one clock
    _followed = (as_utc(moment), time.monotonic())


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError for a naive one: a time without a zone is a guess."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    return moment.astimezone(UTC)


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z, to the microsecond only where there is one: `2026-11-23T10:00:00Z`."""
    return as_utc(moment).isoformat().replace("+00:00", "Z")
