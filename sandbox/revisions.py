"""Which API revisions live: one each quarter on the 15th, stable for a year, deprecated for another, then retired."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache

from sandbox.errors import Problem, Refused, invalid

_FIRST_YEAR = 2023
_QUARTER_MONTHS = (1, 4, 7, 10)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def today() -> date:
    """The date of now in UTC."""
    return datetime.now(UTC).date()


@lru_cache(maxsize=64)
def headers_for(revision: str | None, now: date) -> dict[str, str]:
    """The headers that answer a request's `revision`. Raises Refused: 400 missing or unknown, 410 retired."""
    if not revision:
        raise invalid("A revision header is required.", parameter="revision")
    released = _released(revision, now)
    if released is None:
        raise invalid(f"{revision!r} is not a released API revision.", parameter="revision")
    retires = released.replace(year=released.year + 2)
    if now >= retires:
        raise Refused(410, Problem(f"API revision {revision} was retired on {retires}.", code="gone", title="Gone."))
    headers = {"X-Klaviyo-Api-Revision": revision}
    if now >= released.replace(year=released.year + 1):
        headers["X-Klaviyo-Api-Retirement-Date"] = retires.isoformat()
    return headers


def _released(revision: str, now: date) -> date | None:
    if not _DATE.fullmatch(revision):
        return None
    year, month, day = (int(part) for part in revision.split("-"))
    if day != 15 or month not in _QUARTER_MONTHS or year < _FIRST_YEAR:
        return None
    released = date(year, month, day)
    return released if released <= now else None
