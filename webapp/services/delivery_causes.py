"""What fails, is skipped and waits, by cause, with counts of a window: never more than MOST rows a cause are read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from webapp import clock
from webapp.catalogue.reasons import REASONS, Reason, Status
from webapp.extensions import db
from webapp.models import Delivery
from webapp.services import waiting_reasons
from webapp.services.delivery_ranges import around, outcome, tally

MOST = 10_000
WINDOWS = {1: "last hour", 24: "last 24 hours", 168: "last 7 days"}
LOOKED_AT = (Status.FAILED, Status.WAITING, Status.SKIPPED)


@dataclass(frozen=True, slots=True)
class Group:
    """One cause. `more`: there are more than were counted. `newest_at` is when its newest activity was accepted."""

    status: Status
    reason: Reason
    count: int
    more: bool
    newest_at: datetime


def groups(workspace_id: int, hours: int, connection_id: int | None = None) -> list[Group]:
    """By status (failed, waiting, skipped), the commonest first. What waits is counted whatever its age."""
    session = db.session()
    holds = waiting_reasons.of_workspace(session, workspace_id)
    since, _ = around(session, clock.now() - timedelta(hours=hours))
    counts: dict[tuple[Status, Reason], tuple[int, int]] = {}
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
                capped |= {key} if is_capped else set()
    moments = _moments([newest for _, newest in counts.values()])
    found = [
        Group(status, reason, number, (status, reason) in capped, moments[newest])
        for (status, reason), (number, newest) in counts.items()
    ]
    return sorted(found, key=lambda group: (LOOKED_AT.index(group.status), -group.count, group.reason))


def _moments(ids: list[int]) -> dict[int, datetime]:
    statement = select(Delivery.id, Delivery.created_at).where(Delivery.id.in_(ids))
    return {row.id: row.created_at for row in db.session.execute(statement)}
