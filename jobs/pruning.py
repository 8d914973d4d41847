"""Rows older than ninety days go, in bites: activities with their deliveries, the calls they were in, old sign-ins.

A bite a round would not do: where more comes than that, the tables would grow for ever.

Ids grow with time, so the oldest rows are found by the primary key and no table is ever scanned. A caller's id is
remembered as long as its activity.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from sqlalchemy import Table, delete, select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Status
from webapp.database import reading, run_writing
from webapp.dialects import among
from webapp.models.tables import ACTIVITIES, ATTEMPT_DELIVERIES, ATTEMPTS, AUDIT_ENTRIES, BATCHES, DELIVERIES, SESSIONS
from webapp.services.activities import refusals

KEPT = timedelta(days=90)
AUDIT_KEPT = timedelta(days=730)
BITE = 1000
LONGEST_SECONDS = 5.0  # of a round, with each kind of row: what else is looked at once a minute has to wait for it


def run() -> None:
    """All that is over goes, or as much of it as goes in a while; the next round goes on."""
    _through(_activities())
    for table, column, kept in (
        (ATTEMPTS, "started_at", KEPT),
        (BATCHES, "started_at", KEPT),
        (SESSIONS, "expires_at", KEPT),
        (AUDIT_ENTRIES, "at", AUDIT_KEPT),
    ):
        _through(partial(_prune, table, column, kept))
    _through(refusals.prune)


def _through(bite: Callable[[], bool]) -> None:
    """Bites until no more is over, for a while; after each a pause as long as it took, for those who deliver."""
    began = time.monotonic()
    ended = began
    while bite():
        before, ended = ended, time.monotonic()
        if ended - began > LONGEST_SECONDS:
            return
        time.sleep(ended - before)
        ended = time.monotonic()


def _oldest(table: Table, column: str, kept: timedelta, *, above: int = 0) -> list[int]:
    """Ids of the oldest rows that are over. `above`: behind this one."""
    wanted = select(table.c.id, table.c[column]).where(table.c.id > above).order_by(table.c.id).limit(BITE)
    until = clock.now() - kept
    with reading() as session:
        return [row[0] for row in session.execute(wanted) if row[1] < until]


def _activities() -> Callable[[], bool]:
    """A round's bites of activities, each behind the one before: thousands may stay, and nothing waits behind them.

    What was sent again waits for seven days from then on: until it has ended, its activity is needed and counted.
    """
    last = 0

    def bite() -> bool:
        nonlocal last
        ids = _oldest(ACTIVITIES, "accepted_at", KEPT, above=last)
        if not ids:
            return False
        last = ids[-1]
        with reading() as session:
            waits = (among(session, DELIVERIES.c.activity_id, ids), DELIVERIES.c.status == Status.WAITING)
            waiting = set(session.scalars(select(DELIVERIES.c.activity_id).where(*waits)))
        over = [id_ for id_ in ids if id_ not in waiting]
        if over:
            run_writing(lambda session: _delete_activities(session, over))
        return len(ids) == BITE

    return bite


def _delete_activities(session: Session, ids: list[int]) -> None:
    connection = session.connection()
    of_them = select(DELIVERIES.c.id).where(among(session, DELIVERIES.c.activity_id, ids))
    found = [row[0] for row in connection.execute(of_them)]
    connection.execute(delete(ATTEMPT_DELIVERIES).where(among(session, ATTEMPT_DELIVERIES.c.delivery_id, found)))
    connection.execute(delete(DELIVERIES).where(among(session, DELIVERIES.c.id, found)))
    connection.execute(delete(ACTIVITIES).where(among(session, ACTIVITIES.c.id, ids)))


def _prune(table: Table, column: str, kept: timedelta) -> bool:
    ids = _oldest(table, column, kept)
    if ids:
        run_writing(lambda session: session.connection().execute(delete(table).where(among(session, table.c.id, ids))))
    return len(ids) == BITE
