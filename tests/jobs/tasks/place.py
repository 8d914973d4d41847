"""A connected workspace with people to sync, and its tasks lane worked on in the test's own process."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import func, select, update

from jobs.claim import claim, release
from jobs.tasks import lane as tasks_lane
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.database import reading, writing
from webapp.dialects import db_now
from webapp.models import (
    Connection,
    Delivery,
    Lane,
    LaneKind,
    Person,
    Task,
    TaskState,
    Workspace,
)
from webapp.services.sharing import backfills, choices

POINTS = '{"points":{"v":120,"at":"2026-11-23T10:00:00Z","n":1}}'


class Place:
    """A workspace with Sweden's account connected, and people."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.workspace: Workspace = rows.workspace("mine")
        choices.choose_fields(self.workspace.id, None, ["points"])
        self.store = rows.store(self.workspace, "se")
        self.connection: Connection = rows.connection(self.workspace, self.store, klaviyo_account_id="ACCTSE")

    def people(self, number: int, **values: Any) -> list[Person]:
        values = {"fields": POINTS, "fields_version": 1, "home_store_id": self.store.id, **values}
        return [self.rows.person(self.workspace, **values) for _ in range(number)]

    def counted(self) -> Task:
        """A finished count of the present settings."""
        with writing() as session:
            terms = backfills.terms(session, session.get_one(Connection, self.connection.id))
            task = Task(
                workspace_id=self.workspace.id,
                connection_id=self.connection.id,
                kind=backfills.COUNT_KIND,
                state=TaskState.DONE,
                arguments=terms,
                created_at=clock.now(),
                due_at=clock.now(),
                finished_at=clock.now(),
            )
            session.add(task)
        return task

    def start(self, name: str = "First sync") -> Task:
        count = self.counted()
        return backfills.start(self.workspace.id, self.connection.id, 1, name=name, count_id=count.id)

    def work(self, task: Task) -> Task:
        """Work on it now, and see how it stands."""
        with writing() as session:
            session.execute(update(Task).where(Task.id == task.id).values(due_at=db_now()))
        work(self.connection)
        return self.read(task)

    def read(self, task: Task) -> Task:
        with reading() as session:
            return session.get_one(Task, task.id)

    def made(self) -> int:
        with reading() as session:
            return session.scalar(select(func.count(Delivery.id))) or 0

    def progress(self, task: Task) -> backfills.Progress:
        with reading() as session:
            return backfills.progress(session, session.get_one(Task, task.id))

    def end(self, status: Status, reason: Reason, number: int) -> None:
        """The fields lane ends the first ones that wait."""
        waiting = select(Delivery.id).where(Delivery.status == Status.WAITING).order_by(Delivery.id).limit(number)
        with writing() as session:
            ids = list(session.scalars(waiting))
            session.execute(update(Delivery).where(Delivery.id.in_(ids)).values(status=status, reason=reason))

    def give_to_klaviyo(self, number: int) -> None:
        """The fields lane sends the last ones that wait in an import job, which is not complete yet."""
        waiting = (
            select(Delivery.id).where(Delivery.status == Status.WAITING).order_by(Delivery.id.desc()).limit(number)
        )
        with writing() as session:
            ids = list(session.scalars(waiting))
            now_there = update(Delivery).where(Delivery.id.in_(ids)).values(reason=Reason.KLAVIYO_PROCESSING)
            session.execute(now_there)


def work(connection: Connection) -> None:
    """Do what is due in a connection's tasks lane."""
    with writing() as session:
        mine = (Lane.connection_id == connection.id, Lane.kind == LaneKind.TASKS)
        session.execute(update(Lane).where(*mine).values(next_at=db_now(), held_until=None))
    with reading() as session:
        lane_id = session.execute(select(Lane.id).where(*mine)).scalar_one()
    held = claim(lane_id)
    assert held is not None
    again, due_at = tasks_lane.work(held, time.monotonic() + 5)
    release(held, again=again, due_at=due_at)
