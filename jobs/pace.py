"""Budgets: calls per (Klaviyo account, endpoint) in any one second and any minute, shared through the database.

Windows slide, since the phase of Klaviyo's is unknown. A reservation is made in the commit of the batch row, before the
call, and is never given back. The documented limits are the start; announced ones replace them, in both directions.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp.database import db_now, insert_or_ignore
from webapp.klaviyo.answers import Answer
from webapp.klaviyo.endpoints import Endpoint
from webapp.models import Budget


class OverBudget(Exception):
    """Nothing may be sent before `until` (database's clock)."""

    def __init__(self, until: datetime) -> None:
        super().__init__("over budget")
        self.until = until


def reserve(session: Session, account_id: str, endpoint: Endpoint) -> None:
    """Take one call. Raises OverBudget."""
    budget = _locked(session, account_id, endpoint)
    now = session.scalar(select(db_now()))
    assert now is not None
    if budget.blocked_until is not None and budget.blocked_until > now:
        raise OverBudget(budget.blocked_until)
    stamp = int(now.timestamp() * 1000)
    limits = {int(window): calls for window, calls in budget.limits.items()}
    longest = max(limits) * 1000
    spent = [entry for entry in budget.spent if entry > stamp - longest]
    for window, calls in sorted(limits.items()):
        inside = [entry for entry in spent if entry > stamp - window * 1000]
        if len(inside) >= calls:
            free_at = inside[-calls] + window * 1000
            raise OverBudget(now + timedelta(milliseconds=max(1, free_at - stamp + 1)))
    budget.spent = [*spent, stamp]


def learn(session: Session, account_id: str, endpoint: Endpoint, answer: Answer) -> None:
    """Correct a budget by what Klaviyo announced, or by its 429."""
    if answer.status != 429 and not answer.limits:
        return
    statement = select(Budget).where(Budget.klaviyo_account_id == account_id, Budget.endpoint == endpoint.name)
    budget = session.scalar(statement)
    if budget is None:
        return
    announced = {str(window): calls for window, calls in answer.limits.items() if window <= 60}
    if answer.status == 429:
        budget = _locked(session, account_id, endpoint)
        budget.blocked_until = session.scalar(select(db_now(float(answer.retry_after or 1))))
    elif announced and announced != budget.limits:
        _locked(session, account_id, endpoint).limits = announced


def _locked(session: Session, account_id: str, endpoint: Endpoint) -> Budget:
    key = {"klaviyo_account_id": account_id, "endpoint": endpoint.name}
    wanted = select(Budget).filter_by(**key).with_for_update().execution_options(populate_existing=True)
    found = session.scalar(wanted)
    if found is None:
        limits = {"1": endpoint.per_second, "60": endpoint.per_minute}
        session.execute(insert_or_ignore(session, Budget.__table__), [{**key, "limits": limits, "spent": []}])
        found = session.execute(wanted).scalar_one()
    return found
