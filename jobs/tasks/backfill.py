"""Kind `backfill`: everybody known here is owed one `fields` delivery to one account, below live traffic.

Arguments: `account`, `count` (the count it was started from). The cursor: `after` and `up_to`, the last person done and
the last there is; `first` and `last`, the deliveries it made; `made`, `left_out`; `counted_to`, up to where `outcomes`
of the result counts them. It never gets more than AHEAD in front of what its lane has sent, so that a pause means a
pause. A person of another store gets one only where they are in this account.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from jobs import claim
from jobs.run import Hold
from jobs.tasks import existing
from jobs.tasks.existing import Known
from jobs.tasks.run import TaskProblem, TaskRun
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import ActivityType, Kind, Origin
from webapp.database import reading, run_writing
from webapp.models import Activity, Connection, ConnectionState, Delivery
from webapp.models.delivery import PRIORITY_BACKFILL
from webapp.services import lanes
from webapp.services.activities.delivery_maker import LIFE
from webapp.services.sharing import backfills
from webapp.services.sharing.backfills import InLine
from webapp.upserts import insert_or_ignore

BITE = 1000
AHEAD = 15_000  # two import jobs: one that is looked up and one behind it
UNDER_WAY = 50_000  # with those in import jobs that Klaviyo is at; they are counted each time
LOOK_SECONDS, LONGEST_LOOK_SECONDS = 1, 15
PROFILE = '{"first_name":null,"last_name":null,"fields":{}}'  # a sync tells us nothing new of anybody
ENDED = "This account was disconnected. What was in line is settled with it."
MOVED = "This connection has another Klaviyo account now. Start a new sync."


def step(run: TaskRun) -> bool:
    """The next thousand people, or a look at how far those in line are; whether more is to do."""
    if run.task.total is None:
        total, up_to = existing.extent(run)
        begun = {"after": 0, "up_to": up_to, "made": 0, "left_out": 0, "looks": 0}
        run.write(lambda session: run.save(session, total=total, cursor=begun))
        return True
    cursor, result, line = _counted(run)
    waiting = line.waiting
    if cursor["after"] >= cursor["up_to"]:
        run.write(lambda session: _save(session, run, cursor, result, waiting))
        if waiting:
            raise _look_later(run, cursor)
        return False
    if line.unsent >= AHEAD or waiting >= UNDER_WAY:
        run.write(lambda session: _save(session, run, cursor, result, waiting))
        raise _look_later(run, cursor)
    bite = existing.following(run, cursor["after"], cursor["up_to"], BITE)
    current = existing.settings(run)
    ours = {person.id for person in bite if existing.is_taken(run, current, person)}
    owed = [person for person in bite if person.found or person.id in ours]
    cursor["left_out"] += len(bite) - len(owed)
    cursor["after"] = bite[-1].id if len(bite) == BITE else cursor["up_to"]
    run_writing(lambda session: _owe(session, run, (owed, ours), dict(cursor), result, waiting))
    return True


def _counted(run: TaskRun) -> tuple[dict[str, Any], dict[str, Any], InLine]:
    """The cursor and the result with everything counted that has ended by now, and what waits."""
    cursor = dict(run.task.cursor)
    if "first" not in cursor:
        return cursor, {"outcomes": []}, InLine(0, None, 0)
    with reading() as session:
        line = backfills.in_line(session, run.task)
        below = cursor["last"] + 1 if line.first is None else line.first
        ended = backfills.ended_between(session, run.task, cursor["counted_to"], below)
    outcomes = backfills.counted(run.task) + ended
    cursor["looks"] = 0 if ended else cursor["looks"] + 1
    cursor["counted_to"] = max(cursor["counted_to"], below - 1)
    return cursor, {"outcomes": [[s, r, number] for (s, r), number in sorted(outcomes.items())]}, line


def _look_later(run: TaskRun, cursor: dict[str, Any]) -> Hold:
    """Every second while it moves, more seldom while nothing does, as in a paused connection."""
    seconds = min(LONGEST_LOOK_SECONDS, max(LOOK_SECONDS, cursor["looks"] // 5))
    return Hold(until=clock.now() + timedelta(seconds=seconds))


def _save(session: Session, run: TaskRun, cursor: dict[str, Any], result: dict[str, Any], waiting: int) -> None:
    _check_connection(session, run)
    run.save(session, cursor=cursor, result=result, done=cursor["made"] - waiting + cursor["left_out"])


def _owe(
    session: Session,
    run: TaskRun,
    people: tuple[list[Known], set[int]],
    cursor: dict[str, Any],
    result: dict[str, Any],
    waiting: int,
) -> None:
    """Activities, deliveries, counters, the cursor: one commit. The fields lane's row comes before the tasks lane's.

    A disconnect locks them in that order too; once we hold the first we see what it did, or it settles what we made.
    """
    made = _insert(session, run, people)
    if made:
        cursor.setdefault("first", made[0])
        cursor.setdefault("counted_to", made[0] - 1)
        cursor["last"] = made[-1]
        cursor["made"] += len(made)
        lanes.owe(session, {(run.connection.id, Kind.FIELDS): len(made)})
    claim.guard(session, run.held)
    _save(session, run, cursor, result, waiting + len(made))


def _insert(session: Session, run: TaskRun, owed: tuple[list[Known], set[int]]) -> list[int]:
    """The deliveries' ids in their order. Whoever is of another store is never created by theirs."""
    people, ours = owed
    if not people:
        return []
    now = clock.now()
    common = {
        "workspace_id": run.connection.workspace_id,
        "type": ActivityType.PROFILE,
        "origin": Origin.BACKFILL,
        "occurred_at": now,
        "accepted_at": now,
        "profile": PROFILE,
        "route": "backfill",
    }
    rows = [{**common, "external_id": _external_id(run, person), "person_id": person.id} for person in people]
    table = Activity.__table__
    statement = insert_or_ignore(session, table).returning(table.c.id, table.c.person_id)
    activities = sorted((row.id, row.person_id) for row in session.execute(statement, rows))
    common = {
        "workspace_id": run.connection.workspace_id,
        "connection_id": run.connection.id,
        "kind": Kind.FIELDS,
        "status": Status.WAITING,
        "reason": Reason.BACKLOG,
        "priority": PRIORITY_BACKFILL,
        "due_at": now,
        "created_at": now,
        "expires_at": now + LIFE,
    }
    deliveries = [
        {**common, "activity_id": activity, "person_id": person, "only_existing": person not in ours}
        for activity, person in activities
    ]
    return sorted(session.scalars(insert(Delivery).returning(Delivery.id), deliveries)) if deliveries else []


def _external_id(run: TaskRun, person: Known) -> str:
    return f"backfill-{run.task.id}-{person.id}"


def _check_connection(session: Session, run: TaskRun) -> None:
    """Nothing is owed to an account that is no longer ours to write to. Raises TaskProblem."""
    statement = select(Connection.state, Connection.klaviyo_account_id).where(Connection.id == run.connection.id)
    state, account = session.execute(statement).one()
    if state is ConnectionState.DISCONNECTED:
        raise TaskProblem(ENDED)
    if account != run.task.arguments["account"]:
        raise TaskProblem(MOVED)
