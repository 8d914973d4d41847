"""Klaviyo's own clock: which revision of its interface serves us, when it retires, and which limits it announced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.extensions import db
from webapp.klaviyo.endpoints import ALL, REVISION
from webapp.models import Attempt, Budget, Connection
from webapp.models.tables import CONNECTIONS

# A revision is stable for a year, deprecated for another, then gone.
LIFE_YEARS = 2
RECENT = timedelta(seconds=60)
_THIS = CONNECTIONS.c.id == bindparam("this")
_SERVED = update(CONNECTIONS).where(_THIS).values(served_revision=bindparam("by"), retires_at=bindparam("until"))
LOOKED = 5_000


@dataclass(frozen=True, slots=True)
class Revision:
    """`asked` is what we ask for, `served` what Klaviyo said it answered with; `retires` ours by its rule.

    `announced`: the date Klaviyo announced for it; None while it announces none.
    """

    asked: str
    served: str | None
    retires: date
    announced: str | None

    @property
    def days_left(self) -> int:
        """Until it retires, by the earlier of the two dates."""
        dates = [self.retires]
        if self.announced:
            try:
                dates.append(date.fromisoformat(self.announced[:10]))
            except ValueError:
                return (self.retires - clock.now().date()).days  # Klaviyo wrote it in another way: shown as it is
        return (min(dates) - clock.now().date()).days


@dataclass(frozen=True, slots=True)
class Limit:
    """One endpoint's limits by window in seconds, and how much of each this connection has left by our own count."""

    endpoint: str
    limits: dict[int, int]
    left: dict[int, int]
    learned: bool
    blocked_seconds: int


def note(session: Session, connection: Connection, revision: str | None, retires: str | None) -> None:
    """Remember what an answer said of the revision, where it is news. In the transaction that writes the attempts."""
    if revision is None or (revision, retires) == (connection.served_revision, connection.retires_at):
        return
    session.connection().execute(_SERVED, {"this": connection.id, "by": revision, "until": retires})
    connection.served_revision, connection.retires_at = revision, retires


def revision_of(connection: Connection) -> Revision:
    """The revision a connection is served by."""
    released = date.fromisoformat(REVISION)
    retires = released.replace(year=released.year + LIFE_YEARS)
    return Revision(REVISION, connection.served_revision, retires, connection.retires_at)


def limits_of(connection: Connection) -> list[Limit]:
    """Every endpoint used so far, in the catalogue's order. Calls of other workspaces are neither seen nor said."""
    session = db.session()
    statement = select(Budget).where(Budget.klaviyo_account_id == connection.klaviyo_account_id)
    budgets = {budget.endpoint: budget for budget in session.scalars(statement)}
    now = clock.now()
    recent = (
        select(Attempt.endpoint, Attempt.started_at)
        .where(Attempt.connection_id == connection.id)
        .order_by(Attempt.id.desc())
        .limit(LOOKED)
    )
    ages: dict[str, list[float]] = {}
    for row in session.execute(recent):
        if row.started_at < now - RECENT:
            break
        ages.setdefault(row.endpoint, []).append((now - row.started_at).total_seconds())
    found = []
    for endpoint in ALL:
        budget = budgets.get(endpoint.name)
        if budget is None:
            continue
        documented = {1: endpoint.per_second, 60: endpoint.per_minute}
        limits = {int(window): calls for window, calls in budget.limits.items()} or documented
        mine = ages.get(endpoint.name, [])
        left = {window: max(0, calls - sum(1 for age in mine if age <= window)) for window, calls in limits.items()}
        blocked = (budget.blocked_until - now).total_seconds() if budget.blocked_until else 0
        found.append(Limit(endpoint.name, limits, left, limits != documented, max(0, round(blocked))))
    return found
