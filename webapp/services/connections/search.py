"""Finding connections of a workspace for the table: filter, search, sort and paging, all of it in SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    not_,
    or_,
    select,
)

from webapp.catalogue.incidents import Incident
from webapp.database import plain
from webapp.dialects import db_now
from webapp.forms.connection_filters import DELIVERING, DISCONNECTED, LIVE, NEEDS_YOU, PAUSED, WAITING, Filters
from webapp.klaviyo import scopes
from webapp.models import Alert, Connection, ConnectionState, Grant, Lane, LaneKind, Store

PAGE = 50

_live = Connection.state != ConnectionState.DISCONNECTED
# As a list that is read once, not as a question to each connection.
_alerted = Connection.id.in_(select(Alert.connection_id).where(Alert.closed_at.is_(None)))
_getting_nothing = Connection.id.in_(
    select(Alert.connection_id).where(Alert.closed_at.is_(None), Alert.cause.in_([Incident.FAILING, Incident.SILENT]))
)
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
# What Klaviyo did not take at the last try waits in it. The 0 stands in the statement, for the index that knows them.
_failing = select(Lane.connection_id).where(
    Lane.failures > literal_column("0"),
    Lane.kind != LaneKind.TASKS,
    Lane.made > Lane.delivered + Lane.skipped + Lane.failed,
)
_retried = Connection.id.in_(_failing)
# Its row says so, until the next try.
_retrying = Connection.id.in_(
    _failing.where(Lane.workspace_id == bindparam("workspace_id"), Lane.held_until > db_now())
)
_STATUS: dict[str, ColumnElement[bool]] = {
    LIVE: _live,
    NEEDS_YOU: _needs_you,
    DELIVERING: and_(
        Connection.state == ConnectionState.ACTIVE,
        Connection.paused_at.is_(None),
        not_(_getting_nothing),
        not_(_retrying),
    ),
    PAUSED: and_(_live, Connection.paused_at.is_not(None)),
    WAITING: and_(_live, _waiting > 0),
    DISCONNECTED: Connection.state == ConnectionState.DISCONNECTED,
}
_needed = sorted({scope for feature in scopes.FEATURES for scope in feature.needs})
_in_part = Connection.id.in_(
    select(Grant.connection_id).where(or_(*(not_(Grant.scopes.contains(scope)) for scope in _needed)))
)
# Worst first.
RANK = case(
    (Connection.state == ConnectionState.DISCONNECTED, 9),
    (Connection.state == ConnectionState.NEEDS_REAUTHORIZATION, 0),
    (_needs_you, 1),
    (Connection.paused_at.is_not(None), 2),
    (_retried, 3),
    (_in_part, 4),
    else_=5,
)
_SORT: dict[str, Any] = {
    "added": Connection.id,
    "store": func.lower(func.coalesce(Store.name, "")),
    "account": func.lower(Connection.account_name),
    "status": RANK,
    "last": func.coalesce(Connection.last_delivered_at, Connection.created_at),
    "waiting": _waiting,
}


@cache
def _statement(status: str, sort: str, *, down: bool, searched: bool) -> Select[Any]:
    """Connection ids that fit, in order. Made once for each kind of question: making it costs more than running it."""
    order = _SORT[sort]
    statement = (
        select(Connection.id)
        .outerjoin(Store, Store.id == Connection.store_id)
        .where(Connection.workspace_id == bindparam("workspace_id"), _STATUS[status])
        .order_by(order.desc() if down else order, Connection.id)
    )
    if searched:
        places = (Store.name, Connection.account_name, Connection.klaviyo_account_id)
        wanted = bindparam("wanted", type_=String)
        statement = statement.where(or_(*(func.lower(place).like(func.lower(wanted), escape="\\") for place in places)))
    return statement


def parameters(workspace_id: int, filters: Filters) -> dict[str, Any]:
    """What `page` is asked with."""
    where = {"workspace_id": workspace_id, "offset": (filters.page - 1) * PAGE}
    escaped = re.sub(r"([\\%_])", r"\\\1", filters.search)
    return {**where, "wanted": f"%{escaped}%"} if escaped else where


@cache
def page(status: str, sort: str, *, down: bool, searched: bool) -> Select[Any]:
    """The ids of one page, in order, for `parameters`. PAGE stands in it: a number known later is planned as many."""
    statement = _statement(status, sort, down=down, searched=searched)
    return statement.limit(literal_column(str(PAGE))).offset(bindparam("offset", type_=Integer))


@cache
def _total(status: str, *, searched: bool) -> Select[Any]:
    fitting = _statement(status, "added", down=False, searched=searched).order_by(None).subquery()
    return select(func.count()).select_from(fitting)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many connections of a workspace are live, deliver, need somebody, are paused, are disconnected.

    `reconnect`: how many wait for a new grant; `told`: how many alerts are closed and not dismissed; `incidents`: how
    many go on.
    """

    live: int
    delivering: int
    need_you: int
    paused: int
    disconnected: int
    reconnect: int
    told: int
    incidents: int

    def of(self, status: str) -> int | None:
        """How many have a status of the filter; None where that is not counted here."""
        known = {
            LIVE: self.live,
            DELIVERING: self.delivering,
            NEEDS_YOU: self.need_you,
            PAUSED: self.paused,
            DISCONNECTED: self.disconnected,
        }
        return known.get(status)


_COUNTED = (
    *(_STATUS[status] for status in (LIVE, DELIVERING, NEEDS_YOU, PAUSED, DISCONNECTED)),
    Connection.state == ConnectionState.NEEDS_REAUTHORIZATION,
)
_COUNTS = select(
    *(func.count().filter(condition) for condition in _COUNTED),
    select(func.count(Alert.id))
    .where(Alert.workspace_id == bindparam("workspace_id"), Alert.closed_at.is_not(None), Alert.dismissed_at.is_(None))
    .scalar_subquery(),
    select(func.count(Alert.id))
    .where(Alert.workspace_id == bindparam("workspace_id"), Alert.closed_at.is_(None))
    .scalar_subquery(),
).where(Connection.workspace_id == bindparam("workspace_id"))


def counts(workspace_id: int) -> Counts:
    """All of them in one statement."""
    return Counts(*(int(count) for count in plain(_COUNTS, {"workspace_id": workspace_id}).one()))


def total(workspace_id: int, filters: Filters, counted: Counts) -> int:
    """How many fit on all pages together."""
    known = counted.of(filters.status)
    if known is not None and not filters.search:
        return known
    statement = _total(filters.status, searched=bool(filters.search))
    return int(plain(statement, parameters(workspace_id, filters)).scalar() or 0)
