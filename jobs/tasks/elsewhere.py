"""Kind `elsewhere`: people whose activities went to other accounts are looked up in this one.

Whoever is found is owed what is shared of them, by a delivery of the activity that told of them; from then on ingest
owes it with each change. Nobody is ever created by it. The cursor: `after`, the last delivery of the others looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from jobs import choose, claim, lookup
from jobs.run import Hold
from jobs.tasks import existing
from jobs.tasks.run import TaskRun
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading, run_writing
from webapp.dialects import among
from webapp.models import ConnectionState, Delivery, Person, ProfileLink
from webapp.models.delivery import PRIORITY_BACKFILL
from webapp.services import lanes
from webapp.services.activities.ingest import LIFE
from webapp.services.deliveries import ranges as delivery_ranges
from webapp.services.deliveries.ranges import LAST_ID, AnyRow
from webapp.services.people import records
from webapp.upserts import insert_or_ignore

LOOKED = 800  # rows a bite, so at most eight look-ups at once
DAILY = timedelta(days=1)
# Ids are given before they are committed: rows this young may still have elder brothers that nobody sees yet.
YOUNG = timedelta(seconds=2)


def step(run: TaskRun) -> bool:
    """The next deliveries of the other accounts; whether more follow."""
    if run.connection.state is not ConnectionState.ACTIVE or run.connection.is_paused:
        return False
    rows = _following(run)
    now = clock.now()
    old = [row for row in rows if row.created_at <= now - YOUNG]
    if rows and not old:
        raise Hold(until=now + YOUNG)
    if not old:
        return False
    told = {row.person_id: row.id for row in old if row.person_id and _tells(row)}
    unknown = _unknown(run, told)
    found: set[int] = set()
    if unknown and "profiles:read" in run.klaviyo.grant.scopes:
        run.klaviyo.share = choose.low_share(run.klaviyo)
        found = set(lookup.look_up(run.klaviyo, unknown))
    owed = [told[person_id] for person_id in sorted(found)]
    run_writing(lambda session: _owe(session, run, owed, {"after": old[-1].id}))
    return len(rows) == LOOKED or len(old) < len(rows)


def _following(run: TaskRun) -> list[AnyRow]:
    """The next deliveries of the workspace's other accounts, and of those that no account takes, oldest first."""
    current = existing.settings(run)
    others = [connection.id for connection in current.connections if connection.id != run.connection.id]
    ranges = [((Delivery.connection_id, other),) for other in others]
    unrouted = delivery_ranges.outcome(run.task.workspace_id, Status.SKIPPED, Reason.NO_ROUTE)
    with reading() as session:
        after = run.task.cursor.get("after")
        if after is None:  # what was there before this account, or before yesterday, tells of nobody new
            since = max(run.connection.created_at, clock.now() - DAILY)
            after, _ = delivery_ranges.around(session, since)
        return delivery_ranges.merged(
            session, [*ranges, unrouted], above=after, below=LAST_ID, limit=LOOKED, oldest_first=True
        )


def _tells(row: AnyRow) -> bool:
    """Whether it may be about a change of the person's fields."""
    return row.kind is Kind.FIELDS or (row.kind is Kind.EVENT and row.reason is Reason.NO_ROUTE)


def _unknown(run: TaskRun, told: Mapping[int, int]) -> dict[int, str]:
    """Person id -> address of those of whom something is shared, and who were not looked up here since yesterday."""
    current = existing.settings(run)
    link = and_(ProfileLink.connection_id == run.connection.id, ProfileLink.person_id == Person.id)
    with reading() as session:
        statement = (
            select(Person.id, Person.email, Person.fields, ProfileLink.found, ProfileLink.looked_up_at)
            .outerjoin(ProfileLink, link)
            .where(among(session, Person.id, told), Person.email.is_not(None), Person.tested_only.is_(False))
        )
        rows = session.execute(statement).all()
    yesterday = clock.now() - DAILY
    return {
        person_id: str(email)
        for person_id, email, fields, found, looked_up_at in rows
        if not found
        and (looked_up_at is None or looked_up_at < yesterday)
        and records.shared_changes(orjson.loads(fields), 0, current.fields, current.fields_on)
    }


def _owe(session: Session, run: TaskRun, told_by: list[int], cursor: dict[str, Any]) -> None:
    """Deliveries, counters, the cursor: one commit. The fields lane's row comes before the tasks lane's."""
    statement = select(Delivery.activity_id, Delivery.person_id, Delivery.event).where(
        among(session, Delivery.id, told_by), Delivery.priority < PRIORITY_BACKFILL
    )
    now = clock.now()
    rows = [
        {
            "workspace_id": run.task.workspace_id,
            "activity_id": row.activity_id,
            "connection_id": run.connection.id,
            "kind": Kind.FIELDS,
            "person_id": row.person_id,
            "event": row.event,
            "status": Status.WAITING,
            "reason": Reason.BACKLOG,
            "due_at": now,
            "created_at": now,
            "expires_at": now + LIFE,
            "only_existing": True,
        }
        for row in session.execute(statement.order_by(Delivery.activity_id))
    ]
    if rows:
        table = Delivery.__table__
        made = session.execute(insert_or_ignore(session, table).returning(table.c.id), rows).all()
        lanes.owe(session, {(run.connection.id, Kind.FIELDS): len(made)})
    claim.guard(session, run.held)
    run.save(session, cursor=cursor)
