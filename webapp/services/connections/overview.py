"""The workspaces one may see, the one that needs help most first, each with its worst connection."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, and_, case, func, literal, select

from webapp.dialects import without_capitals
from webapp.extensions import db
from webapp.models import Connection, ConnectionState, Membership, User, Workspace
from webapp.services.connections import search as connection_search
from webapp.services.connections import table as connection_table

PAGE = 50
BEHIND = 2**40
NONE = 9


@dataclass(frozen=True, slots=True)
class Seen:
    """A workspace, how many live connections it has, and the row of the worst; None: it has none."""

    workspace: Workspace
    live: int
    worst: connection_table.Row | None


def of(user: User, search: str = "", page: int = 1) -> tuple[list[Seen], int]:
    """One page of workspaces, worst first, then by name; and how many there are in all."""
    live = and_(Connection.workspace_id == Workspace.id, Connection.state != ConnectionState.DISCONNECTED)
    # The rank in front, the connection's id behind it: the smallest names the worst connection.
    key = connection_search.RANK * literal(BEHIND, BigInteger) + Connection.id
    worst = func.min(case((Connection.id.is_not(None), key)))
    statement = (
        select(Workspace, func.count(Connection.id), worst, func.count().over())
        .outerjoin(Connection, live)
        .group_by(Workspace.id)
        .order_by(func.coalesce(worst, literal(NONE * BEHIND, BigInteger)), Workspace.name)
        .limit(PAGE)
        .offset((page - 1) * PAGE)
    )
    if not user.is_support:
        mine = and_(Membership.workspace_id == Workspace.id, Membership.user_id == user.id)
        statement = statement.join(Membership, mine)
    if search:
        statement = statement.where(func.lower(Workspace.name).contains(without_capitals(search), autoescape=True))
    found = db.session.execute(statement).all()
    rows = connection_table.of([row[2] % BEHIND for row in found if row[2] is not None])
    seen = [Seen(row[0], row[1], rows.get(row[2] % BEHIND) if row[2] is not None else None) for row in found]
    return seen, found[0][3] if found else 0
