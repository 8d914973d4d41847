"""A page of connections and all it depends on, summed up in one statement: an unchanged poll costs next to nothing."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import ScalarSelect, Select, Text, bindparam, cast, func, or_, select

from webapp import clock
from webapp.database import plain
from webapp.forms.connection_filters import Filters
from webapp.models import Alert, Connection, Grant, Lane, Role, Task, Workspace
from webapp.models.types import UtcDateTime
from webapp.services import tasks
from webapp.services.connections import search as connection_search
from webapp.services.connections import settling


@cache
def _statement(status: str, sort: str, *, down: bool, searched: bool) -> Select[Any]:
    """The page's ids in order, then sums over it. Made once for each kind of question."""
    page = connection_search.page(status, sort, down=down, searched=searched).cte("page")
    c, totals = Connection, (Lane.made, Lane.delivered, Lane.skipped, Lane.failed, Lane.failures)
    sums: list[Any] = [
        # An ordered list that is added up row by row keeps its order, on both databases.
        select(func.aggregate_strings(cast(page.c.id, Text), ",")).scalar_subquery(),
        func.sum(c.id * c.row_version),
        func.sum(c.id * c.profiles_created),
        func.sum(c.id * func.coalesce(Grant.version, 0)),
        func.max(c.last_delivered_at),
        func.max(c.list_missing_at),
        func.count(c.list_missing_at),
        *(func.sum(Lane.id * total) for total in totals),
        func.sum(Lane.id).filter(Lane.held_until > bindparam("now", type_=UtcDateTime())),
        _alerts(),
        _unsettled(),
    ]
    return (
        select(*sums)
        .select_from(page)
        .join(Connection, c.id == page.c.id)
        .join(Lane, Lane.connection_id == page.c.id)
        .outerjoin(Grant, Grant.connection_id == page.c.id)
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


class Look(NamedTuple):
    """`ids`: of the page, in order. `version`: a short text that changes whenever the page would look different.

    And once a minute besides. `alerts`, `unsettled`: whether there is any of either in the workspace, so that nobody
    asks in vain.
    """

    ids: tuple[int, ...]
    version: str
    alerts: bool
    unsettled: bool


def look(workspace: Workspace, filters: Filters, role: Role) -> Look:
    """Find a page of connections and sum it up.

    Counters are weighted by their row's id: two changes that cancel each other out in a plain sum do not here.
    """
    now = clock.now()
    statement = _statement(filters.status, filters.sort, down=filters.down, searched=bool(filters.search))
    facts = tuple(plain(statement, {"now": now, **connection_search.parameters(workspace.id, filters)}).one())
    minute = int(now.timestamp() // 60)
    known = (facts, workspace.version, filters, role, minute)
    ids = tuple(map(int, facts[0].split(","))) if facts[0] else ()
    return Look(ids, sha256(repr(known).encode()).hexdigest()[:16], bool(facts[-2]), bool(facts[-1]))
