"""What the connection table depends on, summed up in one statement, so that an unchanged poll costs next to nothing."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from sqlalchemy import ScalarSelect, func, or_, select

from webapp import clock
from webapp.extensions import db
from webapp.forms.connection_filters import Filters
from webapp.models import Alert, Connection, Grant, Lane, Role, Task, Workspace
from webapp.services import connection_search, settling, tasks


def of(workspace: Workspace, filters: Filters, role: Role) -> str:
    """A short text that changes whenever the page for `filters` would look different, and once a minute besides.

    Counters are weighted by their row's id: two changes that cancel each other out in a plain sum do not here.
    """
    now = clock.now()
    c = Connection
    page = connection_search.fitting(
        workspace.id,
        filters,
        c.id,
        c.row_version,
        c.profiles_created,
        c.last_delivered_at,
        c.list_missing_at,
        c.account_name,
        Grant.version.label("grant_version"),
    ).subquery()
    totals = (Lane.made, Lane.delivered, Lane.skipped, Lane.failed, Lane.failures)
    sums: list[Any] = [
        func.count(),
        func.sum(page.c.id),
        func.sum(page.c.id * page.c.row_version),
        func.sum(page.c.id * page.c.profiles_created),
        func.sum(page.c.id * func.coalesce(page.c.grant_version, 0)),
        func.max(page.c.last_delivered_at),
        func.max(page.c.list_missing_at),
        func.count(page.c.list_missing_at),
        *(func.sum(Lane.id * total) for total in totals),
        func.count(Lane.id).filter(Lane.held_until > now),
        _alerts(workspace.id),
        _unsettled(workspace.id),
    ]
    row = db.session.execute(select(*sums).join_from(page, Lane, Lane.connection_id == page.c.id)).one()
    minute = int(now.timestamp() // 60)
    return sha256(repr((tuple(row), workspace.version, filters, role, minute)).encode()).hexdigest()[:16]


def _alerts(workspace_id: int) -> ScalarSelect[Any]:
    """Open alerts, and closed ones nobody has dismissed."""
    statement = select(func.coalesce(func.sum(Alert.id), 0) * 1000 + func.count(Alert.closed_at))
    told = or_(Alert.closed_at.is_(None), Alert.dismissed_at.is_(None))
    return statement.where(Alert.workspace_id == workspace_id, told).scalar_subquery()


def _unsettled(workspace_id: int) -> ScalarSelect[Any]:
    """How far the settling of what waited is."""
    return (
        select(func.coalesce(func.sum(Task.id + Task.done), 0))
        .where(
            Task.workspace_id == workspace_id,
            Task.kind == settling.KIND,
            Task.state.in_(tasks.UNFINISHED),
        )
        .scalar_subquery()
    )
