"""One bite of one task: a Run with the task's row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import update
from sqlalchemy.orm import Session

from jobs import claim
from jobs.claim import Claim
from jobs.run import Run
from webapp import clock
from webapp.database import affected, run_writing
from webapp.klaviyo.answers import Answer
from webapp.klaviyo.client import Call
from webapp.models import Connection, Lane, Task, TaskState
from webapp.services.oauth import grants
from webapp.services.tasks import WORKED_ON

T = TypeVar("T")


class TaskProblem(Exception):
    """The task cannot be done: a sentence for the person who asked, saying what to do."""


class TaskStopped(Exception):
    """Somebody paused or cancelled the task meanwhile: this bite's result is dropped."""


@dataclass(slots=True)
class TaskRun:
    """What a task's step works with. The grant is taken when the first call is made."""

    held: Claim
    connection: Connection
    lane: Lane
    task: Task
    ends_at: float
    _run: Run | None = field(default=None)

    @property
    def klaviyo(self) -> Run:
        """The Run for calls. Raises grants.GrantEnded or grants.GrantUnavailable."""
        if self._run is None:
            grant = grants.usable(self.held.connection_id)
            self._run = Run(self.held, self.connection, grant, self.lane, self.ends_at, alone_until=self.ends_at)
        return self._run

    def call(self, call: Call, *, size: int = 1) -> Answer:
        """Call Klaviyo within the account's budgets. Raises Hold, TaskProblem where the scope is missing."""
        answer = self.klaviyo.call(call, size=size)
        if answer.status == 403 and answer.is_json:
            scopes = " ".join(call.endpoint.scopes)
            raise TaskProblem(f"Klaviyo does not allow it: {scopes} is missing. Reconnect to grant it.")
        return answer

    def write(self, work: Callable[[Session], T]) -> T:
        """`work(session)` in one transaction, under the lane's fence, with the calls made so far. Raises FenceLost."""
        if self._run is not None:
            return self._run.write(work)

        def guarded(session: Session) -> T:
            claim.guard(session, self.held)
            return work(session)

        return run_writing(guarded)

    def flush(self) -> None:
        """Write down the calls that were made, whatever became of the bite."""
        if self._run is not None:
            self._run.flush()

    def save(
        self,
        session: Session,
        *,
        cursor: dict[str, Any] | None = None,
        done: int | None = None,
        total: int | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        """Store where the task stands, in the transaction of the bite. Raises TaskStopped if it was stopped."""
        given = {"cursor": cursor, "done": done, "total": total, "result": result}
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        statement = update(Task).where(Task.id == self.task.id, Task.state.in_(WORKED_ON))
        if affected(session, statement.values(**values, tries=0)) != 1:
            raise TaskStopped
        for name, value in values.items():
            setattr(self.task, name, value)


def finish(session: Session, task: Task, state: TaskState, error: str | None = None) -> None:
    """End a task that is still being worked on; it is done only where nobody asked for more since the bite began."""
    states = (TaskState.RUNNING,) if state is TaskState.DONE else WORKED_ON
    statement = update(Task).where(Task.id == task.id, Task.state.in_(states))
    session.execute(statement.values(state=state, error=error, finished_at=clock.now()))
