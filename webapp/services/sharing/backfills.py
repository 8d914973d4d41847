"""Syncing the people known here to one Klaviyo account: counted first, then written by a worker, fields only.

A backfill owes every person of the connection's one `fields` delivery with an activity of its own, below live traffic.
What came of those is counted from their rows: they lie between two delivery ids that the task remembers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import and_, exists, func, select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin
from webapp.database import run_writing
from webapp.extensions import db
from webapp.models import Activity, Connection, Delivery, Grant, LaneKind, Task, TaskState
from webapp.models.delivery import PRIORITY_BACKFILL, PRIORITY_RESEND
from webapp.services import audit, lanes, tasks
from webapp.services.connections import lifecycle
from webapp.services.connections.lifecycle import Refusal
from webapp.services.workspaces import snapshot

KIND, COUNT_KIND = "backfill", "backfill_count"
NAME_LENGTH = 100
COUNT_LIVES = timedelta(hours=1)
NEEDS = frozenset({"profiles:read", "profiles:write"})
IN_BULK = frozenset({"lists:read", "lists:write"})
COLD_PER_SECOND = 1250.0  # look-ups bound it: 750 calls a minute of 100 people
SINGLY_PER_SECOND = 12.5  # 750 profiles a minute, where import jobs are not granted
# A sync's deliveries: in line as it put them there, or sent again since, behind live traffic by another priority. Each
# is a question of its own: asked with OR, all that waits in the lane, and all activities, could be read.
_ITS = (
    Delivery.priority == PRIORITY_BACKFILL,
    and_(
        Delivery.priority == PRIORITY_RESEND,
        exists().where(Activity.id == Delivery.activity_id, Activity.origin == Origin.BACKFILL),
    ),
)

Outcomes = Counter[tuple[Status, Reason]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill is. `waiting`: deliveries made and without a final status; `left_out`: people of other stores
    who are not in this account; `outcomes`: how many ended how.
    """

    total: int | None
    waiting: int = 0
    left_out: int = 0
    outcomes: Outcomes = field(default_factory=Counter)

    def of(self, status: Status) -> int:
        """How many ended with a status."""
        return sum(number for (found, _), number in self.outcomes.items() if found == status)

    @property
    def done(self) -> int:
        """People it has come to an end with."""
        return self.outcomes.total() + self.left_out

    @property
    def skipped(self) -> list[tuple[Reason, int]]:
        """Why people were skipped, and how many, most first."""
        found = [(reason, number) for (status, reason), number in self.outcomes.items() if status is Status.SKIPPED]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))


@dataclass(frozen=True, slots=True)
class Row:
    """A backfill with its connection and how far it is."""

    task: Task
    connection: Connection
    progress: Progress


def targets(workspace_id: int) -> list[Connection]:
    """The live connections, oldest first."""
    return lifecycle.live(db.session(), workspace_id)


def connection_of(workspace_id: int, connection_id: int) -> Connection | None:
    """A live connection of this workspace."""
    return next((found for found in targets(workspace_id) if found.id == connection_id), None)


def terms(session: Session, connection: Connection) -> dict[str, object]:
    """What a count holds for: the account, the sync behavior and the fields shared. Anything else needs a new count."""
    settings = snapshot.load(session, connection.workspace_id)
    return {
        "account": connection.klaviyo_account_id,
        "behavior": str(connection.sync_behavior),
        "fields": sorted(settings.fields_on),
    }


def ask_count(workspace_id: int, connection_id: int, actor_id: int) -> Task:
    """Let a worker count. Raises LookupError, Refusal."""

    def work(session: Session) -> Task:
        connection = _own(session, workspace_id, connection_id)
        arguments = dict(terms(session, connection))
        return tasks.ask(
            session, workspace_id, connection.id, COUNT_KIND, arguments=arguments, name="Count", actor_id=actor_id
        )

    return run_writing(work)


def count_of(connection: Connection) -> Task | None:
    """The newest count that still holds, whatever its state; None where people must be counted (again)."""
    found = tasks.latest(connection.id, COUNT_KIND)
    if found is None or found.arguments != terms(db.session(), connection):
        return None
    return None if found.finished_at and found.finished_at < clock.now() - COUNT_LIVES else found


def seconds_needed(connection: Connection, people: int) -> float:
    """About how long so many people take, where nobody was looked up before."""
    grant = _grant(db.session(), connection)
    in_bulk = grant is not None and grant.scope_set >= IN_BULK
    return people / (COLD_PER_SECOND if in_bulk else SINGLY_PER_SECOND)


def _grant(session: Session, connection: Connection) -> Grant | None:
    return session.scalar(select(Grant).where(Grant.connection_id == connection.id))


def start(workspace_id: int, connection_id: int, actor_id: int, *, name: str, count_id: int) -> Task:
    """Start what was counted. Raises LookupError; Refusal where the count no longer holds or another is under way."""
    return run_writing(lambda session: _start(session, workspace_id, connection_id, actor_id, name, count_id))


def _start(session: Session, workspace_id: int, connection_id: int, actor_id: int, name: str, count_id: int) -> Task:
    connection = _own(session, workspace_id, connection_id)
    lanes.nudge(session, connection.id, LaneKind.TASKS)  # its row's lock: two people start one after the other
    others = select(Task.id).where(
        Task.connection_id == connection.id, Task.kind == KIND, Task.state.in_(tasks.UNFINISHED)
    )
    if session.scalar(others.limit(1)) is not None:
        raise Refusal("A sync of this account is not finished. Wait for it, or cancel it.")
    counted = session.get(Task, count_id)
    fits = (
        counted is not None
        and counted.connection_id == connection.id
        and counted.kind == COUNT_KIND
        and counted.state is TaskState.DONE
        and counted.arguments == terms(session, connection)
    )
    if not fits:
        raise Refusal("Settings changed since people were counted. Count again, then start.")
    grant = _grant(session, connection)
    if grant is None or not grant.scope_set >= NEEDS:
        raise Refusal("Klaviyo does not allow us to write profiles. Reconnect, and allow everything asked.")
    name = " ".join(name.split())[:NAME_LENGTH] or default_name()
    task = tasks.ask(
        session,
        workspace_id,
        connection.id,
        KIND,
        arguments={"account": connection.klaviyo_account_id, "count": count_id},
        name=name,
        actor_id=actor_id,
    )
    audit.record(
        session,
        workspace_id=workspace_id,
        actor_id=actor_id,
        action="backfill.started",
        subject=("task", task.id),
        after={"name": name, "connection": connection.id},
    )
    return task


def default_name(*, resync: bool = False) -> str:
    """What a sync is called where nobody gave it a name."""
    return f"{'Resync' if resync else 'Sync'} of {clock.now():%-d %b %Y}"


def _own(session: Session, workspace_id: int, connection_id: int) -> Connection:
    connection = session.get(Connection, connection_id)
    if connection is None or connection.workspace_id != workspace_id:
        raise LookupError("no such connection")
    if not connection.is_live:
        raise Refusal("This connection has been disconnected. Add a new one.")
    return connection


def get(workspace_id: int, task_id: int) -> Row | None:
    """A backfill of this workspace; None for anything else."""
    task = tasks.get(workspace_id, task_id)
    if task is None or task.kind != KIND:
        return None
    return Row(task, db.session.get_one(Connection, task.connection_id), progress(db.session(), task))


def history(workspace_id: int) -> list[Row]:
    """The last backfills, newest first."""
    found = tasks.history(workspace_id, [KIND])
    ids = {task.connection_id for task in found}
    known = {row.id: row for row in db.session.scalars(select(Connection).where(Connection.id.in_(ids)))}
    return [Row(task, known[task.connection_id], progress(db.session(), task)) for task in found]


def move(workspace_id: int, task_id: int, actor_id: int, to: TaskState) -> None:
    """Pause, resume or cancel. Raises LookupError."""
    task = tasks.get(workspace_id, task_id)
    if task is None or task.kind != KIND:
        raise LookupError("no such backfill")
    tasks.move(workspace_id, task_id, actor_id, to=to)


def progress(session: Session, task: Task) -> Progress:
    """How far it is at this moment, also after it was paused or cancelled: what is in line still goes out."""
    first = task.cursor.get("first")
    if first is None:
        return Progress(task.total, left_out=task.cursor.get("left_out", 0))
    outcomes = counted(task) + ended_between(session, task, task.cursor["counted_to"], task.cursor["last"] + 1)
    left_out = task.cursor["left_out"]
    return Progress(task.total, task.cursor["made"] - outcomes.total(), left_out, outcomes)


def counted(task: Task) -> Outcomes:
    """What the task has counted already: every delivery up to `counted_to`."""
    return Counter({(Status(s), Reason(r)): number for s, r, number in task.result.get("outcomes", [])})


def ended_between(session: Session, task: Task, above: int, below: int) -> Outcomes:
    """How the backfill's deliveries between two ids (both excluded) ended."""
    statement = (
        select(Delivery.status, Delivery.reason, func.count())
        .where(
            Delivery.connection_id == task.connection_id,
            Delivery.id > above,
            Delivery.id < below,
            Delivery.kind == Kind.FIELDS,
            Delivery.status != Status.WAITING,
        )
        .group_by(Delivery.status, Delivery.reason)
    )
    ended: Outcomes = Counter()
    for its in _ITS:
        ended.update({(status, reason): number for status, reason, number in session.execute(statement.where(its))})
    return ended


class InLine(NamedTuple):
    """The backfill's deliveries that wait: how many, the first of them, how many Klaviyo has not been given yet."""

    waiting: int
    first: int | None
    unsent: int


def in_line(session: Session, task: Task) -> InLine:
    """What of a backfill waits at this moment."""
    waiting = (
        Delivery.connection_id == task.connection_id,
        Delivery.kind == Kind.FIELDS,
        Delivery.status == Status.WAITING,
        Delivery.id > task.cursor["counted_to"],  # what was counted, and sent again since, is a resend's
    )
    unsent = func.count().filter(Delivery.reason != Reason.KLAVIYO_PROCESSING)
    found = select(func.count(), func.min(Delivery.id), unsent).where(*waiting)
    rows = [session.execute(found.where(its)).one() for its in _ITS]
    first = min((row[1] for row in rows if row[1] is not None), default=None)
    return InLine(sum(row[0] for row in rows), first, sum(row[2] for row in rows))
