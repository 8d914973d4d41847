"""Budgets: calls per (Klaviyo account, endpoint) in any one second and any minute, shared through the database.

Windows slide, since the phase of Klaviyo's is unknown. A reservation is made in the commit of the batch row, before the
call, and is never given back. The documented limits are the start; announced ones replace them, in both directions.
What was spent is kept in steps of a tenth of a second, each counted until its end has left the window.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp.dialects import db_now, insert_or_ignore
from webapp.klaviyo.answers import Answer
from webapp.klaviyo.endpoints import Endpoint
from webapp.models import Budget

STEP_MS = 100
Spent = list[list[int]]


class OverBudget(Exception):
    """Nothing may be sent before `until` (database's clock)."""

    def __init__(self, until: datetime) -> None:
        super().__init__("over budget")
        self.until = until


def reserve(session: Session, account_id: str, endpoint: Endpoint, calls: int = 1, *, share: float = 1.0) -> int:
    """Take up to `calls`, within `share` of each limit; how many were taken, at least one. Raises OverBudget."""
    budget = _locked(session, account_id, endpoint)
    # Asked by itself: the statement that locks would read the clock before it waits for the lock.
    now = session.scalar(select(db_now()))
    assert now is not None
    if budget.blocked_until is not None and budget.blocked_until > now:
        raise OverBudget(budget.blocked_until)
    stamp = int(now.timestamp() * 1000)
    limits = {int(window): max(1, int(most * share)) for window, most in budget.limits.items()}
    spent = [entry for entry in budget.spent if entry[0] + STEP_MS > stamp - max(limits) * 1000]
    free, wait_ms = room(spent, limits, stamp)
    if free < 1:
        raise OverBudget(now + timedelta(milliseconds=wait_ms))
    taken = min(calls, free)
    step = stamp - stamp % STEP_MS
    if spent and spent[-1][0] == step:
        spent[-1] = [step, spent[-1][1] + taken]
    else:
        spent.append([step, taken])
    budget.spent = spent
    return taken


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


def learn(session: Session, account_id: str, endpoint: Endpoint, answer: Answer) -> None:
    """Correct a budget by what Klaviyo announced, or by its 429."""
    if answer.status != 429 and not answer.limits:
        return
    statement = select(Budget).where(Budget.klaviyo_account_id == account_id, Budget.endpoint == endpoint.name)
    budget = session.scalar(statement)
    if budget is None:
        return
    announced = {str(window): calls for window, calls in answer.limits.items() if 0 < window <= 60}
    limits = {**budget.limits, **announced}
    if answer.status == 429:
        budget = _locked(session, account_id, endpoint)
        until = session.scalar(select(db_now(float(answer.retry_after or 1))))
        # One of several answers at once: a short wait does not end a long one.
        if until is not None and (budget.blocked_until is None or budget.blocked_until < until):
            budget.blocked_until = until
    elif limits != budget.limits:
        _locked(session, account_id, endpoint).limits = limits


def _locked(session: Session, account_id: str, endpoint: Endpoint) -> Budget:
    key = {"klaviyo_account_id": account_id, "endpoint": endpoint.name}
    wanted = select(Budget).filter_by(**key).with_for_update().execution_options(populate_existing=True)
    found = session.scalar(wanted)
    if found is None:
        limits = {"1": endpoint.per_second, "60": endpoint.per_minute}
        session.execute(insert_or_ignore(session, Budget.__table__), [{**key, "limits": limits, "spent": []}])
        found = session.execute(wanted).scalar_one()
    return found
