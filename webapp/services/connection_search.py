"""Finding connections of a workspace for the table: filter, search, sort and paging, all of it in SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select

from webapp.extensions import db
from webapp.forms.connection_filters import DELIVERING, DISCONNECTED, LIVE, NEEDS_YOU, PAUSED, WAITING, Filters
from webapp.models import Alert, Connection, ConnectionState, Grant, Lane, Store

PAGE = 50

_live = Connection.state != ConnectionState.DISCONNECTED
_alerted = select(Alert.id).where(Alert.connection_id == Connection.id, Alert.closed_at.is_(None)).exists()
_needs_you = and_(
    _live,
    or_(
        Connection.state == ConnectionState.NEEDS_REAUTHORIZATION,
        Connection.list_missing_at.is_not(None),
        _alerted,
    ),
)
_waiting = (
    select(func.sum(Lane.made - Lane.delivered - Lane.skipped - Lane.failed))
    .where(Lane.connection_id == Connection.id)
    .scalar_subquery()
)
_STATUS: dict[str, ColumnElement[bool]] = {
    LIVE: _live,
    NEEDS_YOU: _needs_you,
    DELIVERING: and_(Connection.state == ConnectionState.ACTIVE, Connection.paused_at.is_(None)),
    PAUSED: and_(_live, Connection.paused_at.is_not(None)),
    WAITING: and_(_live, _waiting > 0),
    DISCONNECTED: Connection.state == ConnectionState.DISCONNECTED,
}
# Worst first.
RANK = case(
    (Connection.state == ConnectionState.DISCONNECTED, 9),
    (Connection.state == ConnectionState.NEEDS_REAUTHORIZATION, 0),
    (_needs_you, 1),
    (Connection.paused_at.is_not(None), 2),
    else_=3,
)
_SORT: dict[str, Any] = {
    "added": Connection.id,
    "store": func.lower(func.coalesce(Store.name, "")),
    "account": func.lower(Connection.account_name),
    "status": RANK,
    "last": func.coalesce(Connection.last_delivered_at, Connection.created_at),
    "waiting": _waiting,
}


def fitting(workspace_id: int, filters: Filters, *columns: Any) -> Select[Any]:
    """One page of the connections that fit, in order: `columns` of Connection, Store and Grant."""
    order = _SORT[filters.sort]
    statement = (
        select(*columns)
        .select_from(Connection)
        .outerjoin(Store, Store.id == Connection.store_id)
        .outerjoin(Grant, Grant.connection_id == Connection.id)
        .where(Connection.workspace_id == workspace_id, _STATUS[filters.status])
        .order_by(order.desc() if filters.down else order, Connection.id)
        .limit(PAGE)
        .offset((filters.page - 1) * PAGE)
    )
    if filters.search:
        wanted = filters.search.lower()
        places = (Store.name, Connection.account_name, Connection.klaviyo_account_id)
        statement = statement.where(or_(*(func.lower(place).contains(wanted, autoescape=True) for place in places)))
    return statement


def counts(workspace_id: int) -> tuple[int, int, int, int]:
    """How many connections are live, deliver, need somebody, are disconnected."""
    conditions = (_STATUS[LIVE], _STATUS[DELIVERING], _needs_you, _STATUS[DISCONNECTED])
    sums = [func.coalesce(func.sum(case((condition, 1), else_=0)), 0) for condition in conditions]
    row = db.session.execute(select(*sums).where(Connection.workspace_id == workspace_id)).one()
    return int(row[0]), int(row[1]), int(row[2]), int(row[3])
