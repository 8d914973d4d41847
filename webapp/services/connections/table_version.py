"""What the connection table depends on, summed up in one statement, so that an unchanged poll costs next to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import ScalarSelect, Select, bindparam, func, or_, select

from webapp import clock
from webapp.database import one_of, plain
from webapp.forms.connection_filters import Filters
from webapp.models import Alert, Connection, Grant, Lane, Role, Task, Workspace
from webapp.models.types import UtcDateTime
from webapp.services import tasks
from webapp.services.connections import settling


def _made() -> Select[Any]:
    c, totals = Connection, (Lane.made, Lane.delivered, Lane.skipped, Lane.failed, Lane.failures)
    sums: list[Any] = [
        func.sum(c.id * c.row_version),
        func.sum(c.id * c.profiles_created),
        func.sum(c.id * func.coalesce(Grant.version, 0)),
        func.max(c.last_delivered_at),
        func.max(c.list_missing_at),
        func.count(c.list_missing_at),
        *(func.sum(Lane.id * total) for total in totals),
        func.count(Lane.id).filter(Lane.held_until > bindparam("now", type_=UtcDateTime())),
        _alerts(),
        _unsettled(),
    ]
    return (
        select(*sums)
        .select_from(Connection)
        .join(Lane, Lane.connection_id == c.id)
        .outerjoin(Grant, Grant.connection_id == c.id)
        .where(one_of(c.id))
    )


def _alerts() -> ScalarSelect[Any]:
    """Open alerts, and closed ones nobody has dismissed."""
    statement = select(func.coalesce(func.sum(Alert.id), 0) * 1000 + func.count(Alert.closed_at))
    told = or_(Alert.closed_at.is_(None), Alert.dismissed_at.is_(None))
    return statement.where(Alert.workspace_id == bindparam("workspace_id"), told).scalar_subquery()


def _unsettled() -> ScalarSelect[Any]:
    """How far the settling of what waited is."""
    statement = select(func.coalesce(func.sum(Task.id + Task.done), 0)).where(
        Task.workspace_id == bindparam("workspace_id"),
        Task.kind == settling.KIND,
        Task.state.in_(tasks.UNFINISHED),
    )
    return statement.scalar_subquery()


_SUMS = _made()


class Look(NamedTuple):
    """`version`: a short text that changes whenever the page would look different, and once a minute besides.

    `alerts`, `unsettled`: whether there is any of either in the workspace, so that nobody asks in vain.
    """

    version: str
    alerts: bool
    unsettled: bool


def look(workspace: Workspace, filters: Filters, role: Role, ids: Sequence[int]) -> Look:
    """Sum up a page of connections.

    Counters are weighted by their row's id: two changes that cancel each other out in a plain sum do not here.
    """
    now = clock.now()
    where = {"ids": ids, "now": now, "workspace_id": workspace.id}
    facts = tuple(plain(_SUMS, where).one())
    minute = int(now.timestamp() // 60)
    known = (facts, tuple(ids), workspace.version, filters, role, minute)
    return Look(sha256(repr(known).encode()).hexdigest()[:16], bool(facts[-2]), bool(facts[-1]))
