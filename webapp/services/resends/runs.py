"""Sending failed and skipped deliveries again: counted first, named, done by a worker, abortable, with its history."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp.database import run_writing
from webapp.extensions import db
from webapp.forms.delivery_filters import Filters
from webapp.models import Connection, Task, TaskState, User
from webapp.services import audit, tasks
from webapp.services.activities import routing
from webapp.services.deliveries.resend_rules import UNROUTED, Left, refusal
from webapp.services.resends.selection import MOST_COUNTED, Selection, alike, chosen
from webapp.services.tasks import UNFINISHED
from webapp.services.workspaces import snapshot

KIND = "resend"
TOGETHER = 200  # the tasks of one resend are written at once: their ids are near each other
NAME = 100


@dataclass(slots=True)
class Plan:
    """What a resend would do. `parts`: connection id (0: to be routed) -> how many; `left`: how many are left out.

    `looked`: how many of a part a worker goes through, those it leaves out among them.
    """

    selection: Selection
    parts: Counter[int] = field(default_factory=Counter)
    looked: Counter[int] = field(default_factory=Counter)
    left: Counter[Left] = field(default_factory=Counter)
    more: bool = False

    @property
    def total(self) -> int:
        """How many would be sent again."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Resend:
    """One resend: its tasks, one a connection, and their sums."""

    tasks: list[Task]

    @property
    def id(self) -> int:
        """Its first task's id."""
        return self.tasks[0].id

    @property
    def is_over(self) -> bool:
        """Whether nothing more is put in line."""
        return all(task.state not in UNFINISHED for task in self.tasks)

    @property
    def total(self) -> int:
        """How many there were to send again."""
        return sum(task.arguments["planned"] for task in self.tasks)

    @property
    def resent(self) -> int:
        """How many were put in line again."""
        return sum(task.result.get("resent", 0) for task in self.tasks)

    @property
    def left(self) -> dict[Left, int]:
        """How many were left out, and why."""
        found: Counter[Left] = Counter()
        for task in self.tasks:
            found.update({Left(why): number for why, number in task.result.get("left", {}).items()})
        return dict(found)


def plan(workspace_id: int, ids: list[int], filters: Filters) -> Plan:
    """What would be sent again, counted, and what would not."""
    return _planned(db.session(), workspace_id, ids, filters)


def _planned(session: Session, workspace_id: int, ids: list[int], filters: Filters) -> Plan:
    settings = snapshot.load(session, workspace_id)
    owned = {c.id: c for c in session.scalars(select(Connection).where(Connection.workspace_id == workspace_id))}
    found = Plan(chosen(session, workspace_id, ids, filters))
    by_cause: Counter[Any] = Counter()
    for group in alike(session, workspace_id, found.selection):
        why = refusal(group, owned.get(group.connection_id), settings, is_erased=bool(group.is_erased))
        if why is None and group.connection_id is None:
            route = routing.route(settings, group.store_id, group.home_store_id)
            is_routed = group.reason in UNROUTED and route.connection_id is not None
            why = None if is_routed else Left.STILL_NO_ROUTE
        if why is None:
            found.parts[group.connection_id or 0] += group.number
        else:
            found.left[why] += group.number
        by_cause[group.status, group.reason] += group.number
        found.looked[group.connection_id or 0] += group.number
    found.more = found.selection.ids is None and any(number >= MOST_COUNTED for number in by_cause.values())
    return found


def start(workspace_id: int, actor_id: int, name: str, token: str, ids: list[int], filters: Filters) -> Resend | None:
    """Let workers do it, one task a connection; None where nothing would be sent. The same `token` starts one only."""

    def work(session: Session) -> list[Task]:
        before = _of_token(session, workspace_id, token)
        if before:
            return before
        planned = _planned(session, workspace_id, ids, filters)
        made = [
            _ask(session, workspace_id, actor_id, name, token, planned, part)
            for part in sorted(planned.parts, key=lambda part: (part == 0, part))
        ]
        if made:
            audit.record(
                session,
                workspace_id=workspace_id,
                actor_id=actor_id,
                action="deliveries.resent",
                subject=("resend", made[0].id),
                after={"name": name, "deliveries": planned.total, **planned.selection.words()},
            )
        return made

    found = run_writing(work)
    return Resend(found) if found else None


def _ask(session: Session, workspace_id: int, actor_id: int, name: str, token: str, planned: Plan, part: int) -> Task:
    lane_of = part or _any_live(session, workspace_id)
    arguments = {**planned.selection.arguments(), "part": part, "planned": planned.parts[part], "token": token}
    task = tasks.ask(session, workspace_id, lane_of, KIND, arguments=arguments, name=name, actor_id=actor_id)
    task.total = planned.looked[part]
    return task


def _any_live(session: Session, workspace_id: int) -> int:
    """Whose tasks lane routes what had no connection. Something is routed, so there is one."""
    return min(each.id for each in snapshot.load(session, workspace_id).connections)


def _of_token(session: Session, workspace_id: int, token: str) -> list[Task]:
    statement = select(Task).where(Task.workspace_id == workspace_id, Task.kind == KIND)
    recent = session.scalars(statement.order_by(Task.id.desc()).limit(TOGETHER))
    return sorted((task for task in recent if task.arguments.get("token") == token), key=lambda task: task.id)


def get(workspace_id: int, task_id: int) -> Resend | None:
    """The resend that a task belongs to; None for anybody else's."""
    task = tasks.get(workspace_id, task_id)
    if task is None or task.kind != KIND:
        return None
    near = select(Task).where(
        Task.workspace_id == workspace_id,
        Task.kind == KIND,
        Task.id > task_id - TOGETHER,
        Task.id < task_id + TOGETHER,
    )
    mine = [each for each in db.session.scalars(near) if each.arguments["token"] == task.arguments["token"]]
    return Resend(sorted(mine, key=lambda each: each.id))


def history(workspace_id: int) -> list[Resend]:
    """The latest resends, newest first."""
    by_token: dict[str, list[Task]] = defaultdict(list)
    for task in tasks.history(workspace_id, [KIND], limit=TOGETHER):
        by_token[task.arguments["token"]].insert(0, task)
    return [Resend(found) for found in by_token.values()]


def abort(workspace_id: int, resend: Resend, actor_id: int) -> None:
    """Put nothing more in line. What is in line already goes out."""
    for task in resend.tasks:
        tasks.move(workspace_id, task.id, actor_id, to=TaskState.CANCELLED)


def asked_by(found: Iterable[Resend]) -> dict[int, str]:
    """User id -> address of whoever asked for some resends."""
    ids = {task.created_by for each in found for task in each.tasks if task.created_by}
    statement = select(User.id, User.email).where(User.id.in_(ids))
    return {row.id: row.email for row in db.session.execute(statement)}
