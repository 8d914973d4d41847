"""What fails, is skipped and waits, by cause, with counts of a window: never more than MOST rows a cause are read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from webapp import clock
from webapp.catalogue.reasons import REASONS, Reason, Status
from webapp.catalogue.words import Kind
from webapp.extensions import db
from webapp.models import Delivery
from webapp.services.deliveries import waiting_reasons
from webapp.services.deliveries.ranges import around, outcome, tally

MOST = 10_000
WINDOWS = {1: "last hour", 24: "last 24 hours", 168: "last 7 days"}
LOOKED_AT = (Status.FAILED, Status.WAITING, Status.SKIPPED)


@dataclass(frozen=True, slots=True)
class Group:
    """One cause. `more`: there are more than were counted.

    `newest_at` is when its newest activity was accepted, `detail` what Klaviyo said of that one; `connections` whose
    they are; `kinds` what they write; `held_by` what the last calls of their lines came to, as in "answered 500".
    """

    status: Status
    reason: Reason
    count: int
    more: bool
    newest_at: datetime
    detail: str | None
    connections: tuple[int, ...]
    kinds: tuple[Kind, ...]
    held_by: tuple[str, ...]


def groups(workspace_id: int, hours: int, connection_id: int | None = None) -> list[Group]:
    """By status (failed, waiting, skipped), the commonest first. What waits is counted whatever its age."""
    session = db.session()
    holds = waiting_reasons.of_workspace(session, workspace_id)
    since, _ = around(session, clock.now() - timedelta(hours=hours))
    counts: dict[tuple[Status, Reason], tuple[int, int]] = {}
    owners: dict[tuple[Status, Reason], set[int]] = defaultdict(set)
    kinds: dict[tuple[Status, Reason], set[Kind]] = defaultdict(set)
    held_by: dict[tuple[Status, Reason], set[str]] = defaultdict(set)
    capped: set[tuple[Status, Reason]] = set()
    for status in LOOKED_AT:
        for stored in sorted(REASONS[status]):
            above = 0 if status is Status.WAITING else since
            rows = tally(session, outcome(workspace_id, status, stored), above=above, most=MOST)
            is_capped = sum(row[2] for row in rows) >= MOST
            for owner, kind, number, newest in rows:
                if connection_id not in {None, owner}:
                    continue
                key = (status, waiting_reasons.reason_of(status, stored, owner, kind, holds))
                before, last = counts.get(key, (0, 0))
                counts[key] = (before + number, max(last, newest))
                owners[key] |= {owner} if owner is not None else set()
                kinds[key].add(kind)
                held = holds.get((owner or 0, kind)) if key[1] is Reason.RETRYING else None
                held_by[key] |= {held.detail} if held is not None and held.detail else set()
                capped |= {key} if is_capped else set()
    newest_ones = _newest([newest for _, newest in counts.values()])
    found = [
        Group(
            *key,
            number,
            key in capped,
            *newest_ones[newest],
            connections=tuple(sorted(owners[key])),
            kinds=tuple(sorted(kinds[key])),
            held_by=tuple(sorted(held_by[key])),
        )
        for key, (number, newest) in counts.items()
    ]
    return sorted(found, key=lambda group: (LOOKED_AT.index(group.status), -group.count, group.reason))


def _newest(ids: list[int]) -> dict[int, tuple[datetime, str | None]]:
    statement = select(Delivery.id, Delivery.created_at, Delivery.detail).where(Delivery.id.in_(ids))
    return {row.id: (row.created_at, row.detail) for row in db.session.execute(statement)}
