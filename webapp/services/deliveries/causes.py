"""What fails, is skipped and waits, by cause, with counts of a window: never more than MOST rows a cause are read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import REASONS, Reason, Status
from webapp.catalogue.words import Kind
from webapp.dialects import index_range
from webapp.extensions import db
from webapp.models import Activity, Delivery, Person
from webapp.services.deliveries import waiting_reasons
from webapp.services.deliveries.ranges import LAST_ID, around, outcome, tally
from webapp.services.deliveries.resend_rules import UNROUTED

MOST = 10_000
WINDOWS = {1: "last hour", 24: "last 24 hours", 168: "last 7 days"}
Home = tuple[int | None, int | None]  # the store an activity named, and its person's
LOOKED_AT = (Status.FAILED, Status.WAITING, Status.SKIPPED)


@dataclass(frozen=True, slots=True)
class Group:
    """One cause. `more`: there are more than were counted.

    `newest_at` is when its newest activity was accepted, `detail` what Klaviyo said of that one; `connections` whose
    they are; `kinds` what they write; `held_by` what the last calls of their lines came to, as in "answered 500";
    `homes` where they came from, of what no connection took; `ended` when the last of each connection did, of what
    lacked a scope.
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
    homes: tuple[Home, ...]
    ended: tuple[tuple[int | None, datetime | None], ...] = ()


@dataclass(slots=True)
class _Seen:
    """What is known of a group so far."""

    number: int = 0
    newest: int = 0
    more: bool = False
    owners: set[int] = field(default_factory=set)
    kinds: set[Kind] = field(default_factory=set)
    held_by: set[str] = field(default_factory=set)

    def add(self, owner: int | None, kind: Kind, number: int, newest: int, *, is_capped: bool) -> None:
        """These rows are of it too."""
        self.number += number
        self.newest = max(self.newest, newest)
        self.more |= is_capped
        self.owners |= {owner} if owner is not None else set()
        self.kinds.add(kind)


def groups(workspace_id: int, hours: int, connection_id: int | None = None) -> list[Group]:
    """By status (failed, waiting, skipped), the commonest first. What waits is counted whatever its age."""
    session = db.session()
    holds = waiting_reasons.of_workspace(session, workspace_id)
    since, _ = around(session, clock.now() - timedelta(hours=hours))
    seen: dict[tuple[Status, Reason], _Seen] = defaultdict(_Seen)
    for status in LOOKED_AT:
        for stored in sorted(REASONS[status]):
            above = 0 if status is Status.WAITING else since
            rows = tally(session, outcome(workspace_id, status, stored), above=above, most=MOST)
            is_capped = sum(row[2] for row in rows) >= MOST
            for owner, kind, number, newest in rows:
                if connection_id not in {None, owner}:
                    continue
                alike = seen[status, waiting_reasons.reason_of(status, stored, owner, kind, holds)]
                alike.add(owner, kind, number, newest, is_capped=is_capped)
                held = holds.get((owner or 0, kind))
                alike.held_by |= {held.detail} if held is not None and held.detail else set()
    newest_ones = _newest([alike.newest for alike in seen.values()])
    found = [
        Group(
            *key,
            alike.number,
            alike.more,
            *newest_ones[alike.newest],
            connections=tuple(sorted(alike.owners)),
            kinds=tuple(sorted(alike.kinds)),
            held_by=tuple(sorted(alike.held_by)) if key[1] is Reason.RETRYING else (),
            homes=_homes(session, workspace_id, *key, above=since) if key[1] in UNROUTED else (),
            ended=_ended(session, workspace_id, *key, above=since) if key[1] is Reason.SCOPE_MISSING else (),
        )
        for key, alike in seen.items()
    ]
    return sorted(found, key=lambda group: (LOOKED_AT.index(group.status), -group.count, group.reason))


def _homes(session: Session, workspace_id: int, status: Status, reason: Reason, *, above: int) -> tuple[Home, ...]:
    """Where a cause's newest rows came from, each once."""
    prefix = outcome(workspace_id, status, reason)
    where, order = index_range(session, prefix, Delivery.id, above=above, below=LAST_ID)
    columns = (Delivery.activity_id, Delivery.person_id)
    looked = select(*columns).where(where).order_by(*order).limit(MOST).subquery()
    pairs = (
        select(Activity.store_id, Person.home_store_id)
        .select_from(looked)
        .join(Activity, Activity.id == looked.c.activity_id)
        .outerjoin(Person, Person.id == looked.c.person_id)
    )
    return tuple((row[0], row[1]) for row in session.execute(pairs.distinct()))


def _ended(
    session: Session, workspace_id: int, status: Status, reason: Reason, *, above: int
) -> tuple[tuple[int | None, datetime | None], ...]:
    """When the last of a cause's newest rows ended, by connection."""
    where, order = index_range(session, outcome(workspace_id, status, reason), Delivery.id, above=above, below=LAST_ID)
    looked = select(Delivery.connection_id, Delivery.settled_at).where(where).order_by(*order).limit(MOST).subquery()
    last = select(looked.c.connection_id, func.max(looked.c.settled_at)).group_by(looked.c.connection_id)
    return tuple((row[0], row[1]) for row in session.execute(last))


def _newest(ids: list[int]) -> dict[int, tuple[datetime, str | None]]:
    statement = select(Delivery.id, Delivery.created_at, Delivery.detail).where(Delivery.id.in_(ids))
    return {row.id: (row.created_at, row.detail) for row in db.session.execute(statement)}
