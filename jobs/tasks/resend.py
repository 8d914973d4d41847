"""Kind `resend`: deliveries are put in line again, oldest first, in bites. Arguments: a selection and its `part`."""

from __future__ import annotations

from collections import Counter

from sqlalchemy.orm import Session

from jobs.tasks.run import TaskRun
from webapp.database import reading
from webapp.services.resends import resending
from webapp.services.resends import selection as resend_selection
from webapp.services.resends.selection import Bite

BITE = 500


def step(run: TaskRun) -> bool:
    """One bite; whether more is to do."""
    selection = resend_selection.from_arguments(run.task.arguments)
    after = int(run.task.cursor.get("after", 0))
    with reading() as session:
        bite = resend_selection.bite(
            session,
            run.task.workspace_id,
            selection,
            part=run.task.arguments["part"],
            after=after,
            size=BITE,
        )
    run.write(lambda session: _put(session, run, bite))
    return bite.following is not None


def _put(session: Session, run: TaskRun, bite: Bite) -> None:
    resent, left = resending.again(session, run.task.workspace_id, bite.ids)
    before = run.task.result
    sums = Counter(before.get("left", {}))
    sums.update({str(why): number for why, number in left.items()})
    run.save(
        session,
        cursor={"after": bite.following or run.task.cursor.get("after", 0)},
        done=run.task.done + len(bite.ids),
        result={"resent": before.get("resent", 0) + resent, "left": dict(sums)},
    )
