"""Budgets: calls per (Klaviyo account, endpoint) in any one second and any minute, shared through the database.

Windows slide, since the phase of Klaviyo's is unknown. A reservation is made in the commit of the batch row, before the
call, and is never given back. The documented limits are the start; announced ones replace them, in both directions.
What was spent is kept in steps of a tenth of a second, each counted until its end has left the window.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.orm import Session

from webapp.dialects import db_now
from webapp.klaviyo.answers import Answer
from webapp.klaviyo.endpoints import Endpoint
from webapp.models.tables import BUDGETS
from webapp.upserts import insert_or_ignore

STEP_MS = 100
Spent = list[list[int]]


_THIS = and_(BUDGETS.c.klaviyo_account_id == bindparam("account"), BUDGETS.c.endpoint == bindparam("endpoint_name"))
_COLUMNS = (BUDGETS.c.limits, BUDGETS.c.spent, BUDGETS.c.blocked_until)
_ROW = select(*_COLUMNS).where(_THIS).with_for_update().subquery()
# The clock stands outside: where it stood beside the columns it could be read before the lock is waited for.
_LOCKED = select(_ROW, db_now().label("now"))
_SPEND = update(BUDGETS).where(_THIS).values(spent=bindparam("now_spent"))
_LEARN = update(BUDGETS).where(_THIS).values(limits=bindparam("now_limits"))
_BLOCK = update(BUDGETS).where(_THIS).values(blocked_until=bindparam("until"))


class OverBudget(Exception):
    """Nothing may be sent before `until` (database's clock)."""

    def __init__(self, until: datetime) -> None:
        super().__init__("over budget")
        self.until = until


class Reserved(NamedTuple):
    """How many calls were taken, at least one, and the limits they were taken from (window in seconds -> calls).

    `left`: how many more could be taken now.
    """

    calls: int
    limits: dict[str, int]
    left: int = 0


class _Budget(NamedTuple):
    limits: dict[str, int]
    spent: Spent
    blocked_until: datetime | None
    now: datetime


def reserve(session: Session, account_id: str, endpoint: Endpoint, calls: int = 1, *, share: float = 1.0) -> Reserved:
    """Take up to `calls`, within `share` of each limit. Raises OverBudget."""
    this = _key(account_id, endpoint)
    budget = _locked(session, this, endpoint)
    now = budget.now
    if budget.blocked_until is not None and budget.blocked_until > now:
        raise OverBudget(budget.blocked_until)
    stamp = int(now.timestamp() * 1000)
    limits = {int(window): max(1, int(most * share)) for window, most in budget.limits.items()}
    longest = max(limits) * 1000
    # What was spent later than that from now on is from before the clock was set back: nobody waits for its moment.
    spent = [entry for entry in budget.spent if stamp - longest < entry[0] + STEP_MS <= stamp + longest]
    free, wait_ms = room(spent, limits, stamp)
    if free < 1:
        raise OverBudget(now + timedelta(milliseconds=wait_ms))
    taken = min(calls, free)
    step = stamp - stamp % STEP_MS
    if spent and spent[-1][0] == step:
        spent[-1] = [step, spent[-1][1] + taken]
    else:
        spent.append([step, taken])
    session.connection().execute(_SPEND, {**this, "now_spent": spent})
    return Reserved(taken, budget.limits, free - taken)


def room(spent: Spent, limits: dict[int, int], now_ms: int) -> tuple[int, int]:
    """(calls free now, milliseconds until one is free where none is). Pure.

    `spent`: [start of the step in ms, calls], oldest first; `limits`: window in seconds -> calls.
    """
    free, wait = min(limits.values()), 0
    for window, most in limits.items():
        since = now_ms - window * 1000
        inside = [entry for entry in spent if entry[0] + STEP_MS > since]
        left = most - sum(calls for _, calls in inside)
        free = min(free, left)
        for start, calls in inside:
            if left >= 1:
                break
            left += calls
            wait = max(wait, start + STEP_MS - since)
    return free, max(1, wait)


def learn(session: Session, account_id: str, endpoint: Endpoint, answer: Answer, known: dict[str, int]) -> None:
    """Correct a budget by what Klaviyo announced, or by its 429. `known`: the limits the call was reserved under."""
    announced = {str(window): calls for window, calls in answer.limits.items() if 0 < window <= 60}
    is_news = any(known.get(window) != calls for window, calls in announced.items())
    if answer.status != 429 and not is_news:
        return
    this = _key(account_id, endpoint)
    budget = _locked(session, this, endpoint)
    if is_news:
        session.connection().execute(_LEARN, {**this, "now_limits": {**budget.limits, **announced}})
    if answer.status == 429:
        until = budget.now + timedelta(seconds=answer.retry_after or 1)
        # One of several answers at once: a short wait does not end a long one.
        if budget.blocked_until is None or budget.blocked_until < until:
            session.connection().execute(_BLOCK, {**this, "until": until})


def _key(account_id: str, endpoint: Endpoint) -> dict[str, Any]:
    return {"account": account_id, "endpoint_name": endpoint.name}


def _locked(session: Session, this: dict[str, Any], endpoint: Endpoint) -> _Budget:
    found = session.connection().execute(_LOCKED, this).one_or_none()
    if found is None:
        new = {
            "klaviyo_account_id": this["account"],
            "endpoint": endpoint.name,
            "limits": {"1": endpoint.per_second, "60": endpoint.per_minute},
            "spent": [],
        }
        made = insert_or_ignore(session, BUDGETS).returning(*_COLUMNS, db_now())
        found = session.connection().execute(made, new).one_or_none()
        found = session.connection().execute(_LOCKED, this).one() if found is None else found
    return _Budget(*found)
