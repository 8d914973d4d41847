"""Kind `elsewhere`: people whose activities went to other accounts are looked up in this one.

Whoever is found is owed what is shared of them, by a delivery of the activity that told of them; from then on ingest
owes it with each change. Somebody whom another look-up found here since it was told is owed it too, unless this account
refused what they were owed last: a look-up says when it was made, not whether they were known before it. Nobody is ever
created by it. The cursor: `after`, the last delivery of the others looked at, from the first time it was woken on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session

from jobs import choose, claim, lookup
from jobs.fields.lane import NEEDS
from jobs.run import Hold
from jobs.tasks import existing
from jobs.tasks.run import TaskRun
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin
from webapp.database import affected, reading, run_writing
from webapp.dialects import among, unindexed, unindexed_word
from webapp.models import Activity, ConnectionState, Delivery, Grant, Person, ProfileLink
from webapp.models.delivery import PRIORITY_BACKFILL, PRIORITY_RESEND
from webapp.services import lanes
from webapp.services.activities.delivery_maker import LIFE
from webapp.services.deliveries import ranges as delivery_ranges
from webapp.services.deliveries.ranges import LAST_ID, AnyRow
from webapp.services.people import records
from webapp.upserts import insert_or_ignore

LOOKED = 800  # rows a bite, so at most eight look-ups at once
DAILY = timedelta(days=1)
# Ids are given before they are committed: rows this young may still have elder brothers that nobody sees yet.
YOUNG = timedelta(seconds=2)
CLOCKS = timedelta(minutes=1)  # what two machines' clocks may differ by
REFUSED = frozenset({Reason.SCOPE_MISSING, Reason.REJECTED, Reason.PAYLOAD_TOO_LARGE})


class _Told(NamedTuple):
    """What tells of a person: the last such delivery, and when the first one was accepted."""

    delivery_id: int
    since: datetime


def step(run: TaskRun) -> bool:
    """The next deliveries of the other accounts; whether more follow."""
    if "after" not in run.task.cursor:
        _begin(run)  # also where nothing can be done yet: what comes meanwhile is looked at later
    if run.connection.state is not ConnectionState.ACTIVE or run.connection.is_paused:
        return False
    rows = _following(run)
    now = clock.now()
    old = [row for row in rows if row.created_at <= now - YOUNG]
    if rows and not old:
        raise Hold(until=now + YOUNG)
    if not old:
        return False
    told = _told(old)
    unknown, found = _people(run, told)
    if unknown and "profiles:read" in run.klaviyo.grant.scopes:
        run.klaviyo.share = choose.low_share(run.klaviyo)
        found |= set(lookup.look_up(run.klaviyo, unknown))
    owed = [told[person_id].delivery_id for person_id in sorted(found)]
    run_writing(lambda session: _owe(session, run, owed, {"after": old[-1].id}))
    return len(rows) == LOOKED or len(old) < len(rows)


def _begin(run: TaskRun) -> None:
    """What was there before this account, or before yesterday, tells of nobody new."""
    with reading() as session:
        after, _ = delivery_ranges.around(session, max(run.connection.created_at, clock.now() - DAILY))
    run.write(lambda session: run.save(session, cursor={"after": after}))


def _following(run: TaskRun) -> list[AnyRow]:
    """The next deliveries of the workspace's other accounts, and of those that no account takes, oldest first."""
    current = existing.settings(run)
    others = [connection.id for connection in current.connections if connection.id != run.connection.id]
    ranges = [((Delivery.connection_id, other),) for other in others]
    unrouted = delivery_ranges.outcome(run.task.workspace_id, Status.SKIPPED, Reason.NO_ROUTE)
    with reading() as session:
        above = run.task.cursor["after"]
        return delivery_ranges.merged(
            session, [*ranges, unrouted], above=above, below=LAST_ID, limit=LOOKED, oldest_first=True
        )


def _told(rows: Sequence[AnyRow]) -> dict[int, _Told]:
    """Person id -> what tells of them."""
    synced = _synced(rows)
    found: dict[int, _Told] = {}
    for row in rows:
        if row.person_id and _tells(row) and row.id not in synced:
            first = found.get(row.person_id)
            found[row.person_id] = _Told(row.id, first.since if first else row.created_at)
    return found


def _tells(row: AnyRow) -> bool:
    """Whether it may be about a change of the person's fields. A sync of another account is none."""
    if row.priority >= PRIORITY_BACKFILL:
        return False
    return row.kind is Kind.FIELDS or (row.kind is Kind.EVENT and row.reason is Reason.NO_ROUTE)


def _synced(rows: Sequence[AnyRow]) -> set[int]:
    """What of these a sync owed and somebody sent again since, which its priority does not tell any more."""
    again = [row.id for row in rows if row.priority == PRIORITY_RESEND]
    if not again:
        return set()
    statement = select(Delivery.id).join(Activity, Activity.id == Delivery.activity_id)
    with reading() as session:
        its = (among(session, Delivery.id, again), Activity.origin == Origin.BACKFILL)
        return set(session.scalars(statement.where(*its)))


def _people(run: TaskRun, told: Mapping[int, _Told]) -> tuple[dict[int, str], set[int]]:
    """Of those of whom something is shared: person id -> address of who was not looked up here since yesterday.

    And who has been found here since they were told of, so that acceptance owed them nothing, and lacks something.
    """
    current = existing.settings(run)
    columns = ProfileLink.found, ProfileLink.looked_up_at, ProfileLink.fields_version
    link = and_(ProfileLink.connection_id == run.connection.id, ProfileLink.person_id == Person.id)
    with reading() as session:
        statement = (
            select(Person.id, Person.email, Person.fields, *columns)
            .outerjoin(ProfileLink, link)
            .where(among(session, Person.id, told), Person.email.is_not(None), Person.tested_only.is_(False))
        )
        rows = session.execute(statement).all()
        lacking: set[int] = set()
        unknown: dict[int, str] = {}
        yesterday = clock.now() - DAILY
        for person_id, email, fields, found, looked_up_at, version in rows:
            written = version if found else 0
            if not records.shared_changes(orjson.loads(fields), written, current.fields, current.fields_on):
                continue
            if not found and (looked_up_at is None or looked_up_at < yesterday):
                unknown[person_id] = str(email)
            elif found and looked_up_at is not None and looked_up_at >= told[person_id].since - CLOCKS:
                lacking.add(person_id)
        return unknown, lacking - _waiting(session, run, lacking) - _refused(session, run, lacking)


def _waiting(session: Session, run: TaskRun, people: set[int]) -> set[int | None]:
    """Which of these people this account is about to be written something of."""
    if not people:
        return set()
    waits = unindexed_word(Delivery.status) == Status.WAITING.value
    return set(session.scalars(select(Delivery.person_id).where(*_here(session, run, people), waits)))


def _refused(session: Session, run: TaskRun, people: set[int]) -> set[int | None]:
    """Of which of these people this account refused the last that it was owed: it would again, until that changes.

    Without a call a scope was missing, whoever was there: that says something only as long as it still is.
    """
    if not people:
        return set()
    last = select(func.max(Delivery.id)).where(*_here(session, run, people)).group_by(Delivery.person_id)
    columns = Delivery.person_id, Delivery.reason, Delivery.batch_id
    ended = session.execute(select(*columns).where(among(session, Delivery.id, session.scalars(last))))
    refused = [row for row in ended if row.reason in REFUSED]
    scopes = session.scalar(select(Grant.scopes).where(Grant.connection_id == run.connection.id)) if refused else None
    may_write = set((scopes or "").split()) >= NEEDS
    return {row.person_id for row in refused if row.batch_id is not None or not may_write}


def _here(session: Session, run: TaskRun, people: set[int]) -> tuple[ColumnElement[bool], ...]:
    """What this account was owed of these people's fields, found by them."""
    account = unindexed(Delivery.connection_id) == run.connection.id
    return among(session, Delivery.person_id, people), account, Delivery.kind == Kind.FIELDS


def _owe(session: Session, run: TaskRun, told_by: list[int], cursor: dict[str, Any]) -> None:
    """Deliveries, counters, the cursor: one commit. The fields lane's row comes before the tasks lane's."""
    statement = select(Delivery.activity_id, Delivery.person_id, Delivery.event).where(
        among(session, Delivery.id, told_by)
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
        if len(made) < len(rows):
            _owe_again(session, run, [row["activity_id"] for row in rows])
        lanes.owe(session, {(run.connection.id, Kind.FIELDS): len(made)})
    claim.guard(session, run.held)
    run.save(session, cursor=cursor)


def _owe_again(session: Session, run: TaskRun, activity_ids: list[int]) -> None:
    """What this account was owed of the same activity and skipped, as nobody was there, waits once more.

    Whatever else it ended as stays: it was written, or may not be, or is somebody's to resend.
    """
    now = clock.now()
    mine = (unindexed(Delivery.connection_id) == run.connection.id, Delivery.kind == Kind.FIELDS)
    missed = (Delivery.status == Status.SKIPPED, Delivery.reason == Reason.NOT_IN_KLAVIYO)
    statement = update(Delivery).where(among(session, Delivery.activity_id, activity_ids), *mine, *missed)
    waiting: dict[str, Any] = {
        "status": Status.WAITING,
        "reason": Reason.BACKLOG,
        "due_at": now,
        "expires_at": now + LIFE,
        "settled_at": None,
        "detail": None,
        "batch_id": None,
        "attempts": 0,
        "only_existing": True,
    }
    again = statement.values(**waiting).execution_options(synchronize_session=False)
    counts = lanes.Counts(skipped=-affected(session, again))
    lanes.count(session, run.task.workspace_id, run.connection.id, Kind.FIELDS, counts)
