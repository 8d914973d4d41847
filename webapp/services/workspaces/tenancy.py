"""Tenants and who may see them."""

from __future__ import annotations

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.orm import Session

from webapp.extensions import db
from webapp.models import Membership, Role, User, Workspace

_VISIBLE = (
    select(Workspace, Membership.role)
    .outerjoin(Membership, and_(Membership.workspace_id == Workspace.id, Membership.user_id == bindparam("user_id")))
    .where(Workspace.slug == bindparam("slug"))
)


def visible(user: User, slug: str) -> tuple[Workspace, Role] | None:
    """The workspace and the user's role in it; None where it is not theirs to see."""
    row = db.session.execute(_VISIBLE, {"user_id": user.id, "slug": slug}).one_or_none()
    if row is None:
        return None
    workspace: Workspace = row[0]
    role = role_of(user, row[1])
    return (workspace, role) if role else None


def role_of(user: User, membership: Role | None) -> Role | None:
    """What a user is where this is their membership: support agents see what they are no members of."""
    return Role.SUPPORT if membership is None and user.is_support else membership


def all_visible(user: User) -> list[Workspace]:
    """The workspaces a user may see: all for support agents."""
    statement = select(Workspace).order_by(Workspace.name)
    if not user.is_support:
        statement = statement.join(Membership, Membership.workspace_id == Workspace.id).where(
            Membership.user_id == user.id
        )
    return list(db.session.scalars(statement))


def owned(user: User) -> list[Workspace]:
    """The workspaces a user may connect Klaviyo to."""
    mine = and_(Membership.workspace_id == Workspace.id, Membership.user_id == user.id, Membership.role == Role.OWNER)
    return list(db.session.scalars(select(Workspace).join(Membership, mine).order_by(Workspace.name)))


def changed(session: Session, workspace_id: int) -> None:
    """Raise the version that cached settings are keyed by; in the transaction of every change they depend on."""
    session.execute(update(Workspace).where(Workspace.id == workspace_id).values(version=Workspace.version + 1))
