"""The one clock of the program: aware UTC. Leases, `next_at` and budgets use the database's clock instead."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError for a naive one: a time without a zone is a guess."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    return moment.astimezone(UTC)


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z, to the microsecond only where there is one: `2026-11-23T10:00:00Z`."""
    return as_utc(moment).isoformat().replace("+00:00", "Z")
