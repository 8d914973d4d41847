"""Kind `lists`: every list of a connection's Klaviyo account, ten a page, with its opt-in process.

Arguments: `account`, the Klaviyo account that was asked about. Result: `{"lists": [[id, name, opt-in process], ...]}`
by name. What the connection says of its own list is brought up to date on the way: renamed, gone, or there after all.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from jobs.tasks.run import TaskProblem, TaskRun
from webapp import clock
from webapp.klaviyo import parse, payloads
from webapp.models import Connection

MOST = 5_000


def step(run: TaskRun) -> bool:
    """A page of lists; whether another follows."""
    if run.task.arguments["account"] != run.connection.klaviyo_account_id:
        raise TaskProblem("This connection has another Klaviyo account now. Ask again.")
    cursor: dict[str, Any] = run.task.cursor
    answer = run.call(payloads.lists(cursor.get("page")))
    if not answer.ok:
        raise run.klaviyo.back_off()
    page, following = parse.lists(answer.json)
    found = [*cursor.get("lists", []), *([row.id, row.name, row.opt_in] for row in page)]
    if following and page and len(found) < MOST:
        run.write(lambda session: run.save(session, cursor={"page": following, "lists": found}, done=len(found)))
        return True
    run.write(lambda session: _done(session, run, found))
    return False


def _done(session: Session, run: TaskRun, found: list[list[str]]) -> None:
    result = {"lists": sorted(found, key=lambda row: row[1].casefold())}
    run.save(session, cursor={}, done=len(found), total=len(found), result=result)
    chosen = run.connection.list_id
    if chosen is None or len(found) >= MOST:
        return
    mine = update(Connection).where(Connection.id == run.connection.id, Connection.list_id == chosen)
    there = next((row for row in found if row[0] == chosen), None)
    if there is not None:
        session.execute(mine.values(list_name=there[1], list_opt_in=there[2], list_missing_at=None))
    else:
        session.execute(mine.where(Connection.list_missing_at.is_(None)).values(list_missing_at=clock.now()))
