"""Syncing 100,000 people nobody has looked up, at documented limits. `python -m benchmarks.backfill [people]`.

A thousand look-ups at 750 a minute are what bounds it. From the button to the task's end, import jobs confirmed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.installation import Installation, address, installed
from benchmarks.piles import add_people
from benchmarks.report import Figure, tell
from tests.processes import wait_for
from tests.rows import Rows
from webapp.database import reading, writing
from webapp.models import Connection, Task, TaskState
from webapp.services import tasks
from webapp.services.sharing import backfills

PEOPLE = 100_000


def begin(connection: Connection) -> int:
    """The task, as the button makes it once people were counted."""
    user = Rows().user()
    with writing() as session:
        task = tasks.ask(
            session,
            connection.workspace_id,
            connection.id,
            backfills.KIND,
            arguments={"account": connection.klaviyo_account_id, "count": 0},
            name="Sync existing people",
            actor_id=user.id,
        )
        return task.id


def state(task_id: int) -> TaskState:
    """How the task stands."""
    with reading() as session:
        return session.get_one(Task, task_id).state


def measure(there: Installation, people: int) -> float:
    """Seconds until everybody is written."""
    connection = there.connect("ACCTSE", "bench")
    for start in range(0, people, 5_000):
        there.sandbox.put_profiles("ACCTSE", *[address(number) for number in range(start, start + 5_000)])
    with writing() as session:
        add_people(session, connection.workspace_id, people)
    with there.working(2):
        time.sleep(3)
        began = time.perf_counter()
        task_id = begin(connection)
        wait_for(lambda: state(task_id) not in tasks.UNFINISHED, "the sync's end", 600)
        took = time.perf_counter() - began
    with reading() as session:
        task = session.get_one(Task, task_id)
        written = [number for status, _, number in task.result["outcomes"] if status == "delivered"]
    assert sum(written) == people, (task.state, task.error, task.result)
    return took


def main() -> None:
    """Print the table and keep the figures."""
    people = int(sys.argv[1]) if len(sys.argv) > 1 else PEOPLE
    options = ("--limits", "documented")
    with tempfile.TemporaryDirectory() as home, installed(Path(home), "postgresql", *options) as there:
        took = measure(there, people)
        refused = sum(
            row["count"] for row in there.sandbox.call("GET", "/requests")["requests"] if row["status"] == 429
        )
    figures = [
        Figure(f"{people:,} people nobody has looked up", took, "s", at_most=90),
        Figure("calls answered 429", refused),
    ]
    tell("backfill", "Sync existing people at documented limits", figures)


if __name__ == "__main__":
    main()
