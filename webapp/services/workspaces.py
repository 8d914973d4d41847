"""Tenants and who may see them."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from webapp.extensions import db
from webapp.models import Membership, Role, User, Workspace


def visible(user: User, slug: str) -> tuple[Workspace, Role] | None:
    """The workspace and the user's role in it; None where it is not theirs to see."""
    workspace = db.session.scalar(select(Workspace).where(Workspace.slug == slug))
    if workspace is None:
        return None
    role = db.session.scalar(
        select(Membership.role).where(Membership.workspace_id == workspace.id, Membership.user_id == user.id)
    )
    if role is None and user.is_support:
        role = Role.SUPPORT
    return (workspace, role) if role else None


def all_visible(user: User) -> list[Workspace]:
    """The workspaces a user may see: all for support agents."""
    statement = select(Workspace).order_by(Workspace.name)
    if not user.is_support:
        statement = statement.join(Membership, Membership.workspace_id == Workspace.id).where(
            Membership.user_id == user.id
        )
    return list(db.session.scalars(statement))


def changed(session: Session, workspace_id: int) -> None:
    """Raise the version that cached settings are keyed by; in the transaction of every change they depend on."""
    session.execute(update(Workspace).where(Workspace.id == workspace_id).values(version=Workspace.version + 1))
