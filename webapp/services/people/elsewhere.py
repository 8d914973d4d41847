"""Finding people of other stores in an account, so that a change of what is shared reaches it too.

Each account of a workspace that has several has one task: it goes through what the others' fields lanes are owed and
looks those people up, when first seen and then at most daily. It is woken after each of their drains, and when its own
account goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from webapp.database import affected, reading, run_writing
from webapp.dialects import db_now
from webapp.models import LaneKind, Task, TaskState
from webapp.services import lanes, tasks

KIND = "elsewhere"
NAME = "Looking for people of other stores"
AFTER = timedelta(seconds=3)  # the changes of a few seconds are looked at together
ENDED = (TaskState.DONE, TaskState.FAILED)


def wake(workspace_id: int, connection_ids: Iterable[int]) -> None:
    """There may be people to look for in these accounts."""
    statement = select(Task.id, Task.connection_id, Task.state).where(
        Task.workspace_id == workspace_id, Task.kind == KIND
    )
    with reading() as session:
        found = {row.connection_id: row for row in session.execute(statement)}
    for connection_id in sorted(connection_ids):
        task = found.get(connection_id)
        if task is None:
            run_writing(partial(_begin, workspace_id=workspace_id, connection_id=connection_id))
        elif task.state is not TaskState.WAITING:
            run_writing(partial(go_on, connection_id=connection_id))


def _begin(session: Session, workspace_id: int, connection_id: int) -> None:
    tasks.ask(session, workspace_id, connection_id, KIND, name=NAME)


def go_on(session: Session, connection_id: int) -> None:
    """The account's task, if it has one, looks again; also one that is ending just now, which stays to be done then."""
    mine = (Task.connection_id == connection_id, Task.kind == KIND)
    running = update(Task).where(*mine, Task.state == TaskState.RUNNING)
    if affected(session, running.values(state=TaskState.WAITING)):
        return
    lanes.nudge(session, connection_id, LaneKind.TASKS)  # the lane before the task, as its worker locks them
    again = update(Task).where(*mine, Task.state.in_(ENDED))
    values = {"state": TaskState.WAITING, "error": None, "finished_at": None, "tries": 0}
    affected(session, again.values(**values, due_at=db_now(AFTER.total_seconds())))
