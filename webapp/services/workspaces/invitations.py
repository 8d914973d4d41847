"""Asking somebody who has an account already into a workspace: a link that works for them, once they have it in hand.

The account may have been made elsewhere, by anybody who typed that address, and its password be known to them. So being
that account is not enough: whoever asks hands the link to the person, as they would a first password. And the person
has set a password of their own before, for whoever gave them the first one knows that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from webapp.database import reading, run_writing
from webapp.extensions import settings
from webapp.models import AuditEntry, Membership, Role, User, Workspace
from webapp.services import audit
from webapp.services.workspaces import members

LIFE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Invitation:
    """Into which workspace, as what, and by whom. `slug` and `name`: the workspace's.

    `by`: a user's id; None: whoever runs the program.
    """

    workspace_id: int
    slug: str
    name: str
    role: Role
    by: int | None


def make(workspace_id: int, user_id: int, role: Role, actor_id: int | None) -> str:
    """The token of a link for this one person. Nothing of it is kept: it says what it is for and is signed."""
    return str(_signer().dumps([workspace_id, user_id, str(role), actor_id]))


def read(token: str, user: User) -> Invitation | None:
    """What a token asks its reader into; None unless it is theirs, and its maker could still add them."""
    with reading() as session:
        return _read(session, token, user)


def accept(token: str, user: User) -> Invitation | None:
    """Join; None where there is nothing to join. Twice is once."""

    def work(session: Session) -> Invitation | None:
        found = _read(session, token, user)
        if found is not None:
            members.join(session, found.workspace_id, user.id, found.role, found.by, is_new=False)
        return found

    return run_writing(work)


def take_back(workspace_id: int, user_id: int, actor_id: int | None) -> None:
    """Make every link of before void that asks this person into this workspace, whoever made it."""
    subject = ("user", user_id)

    def work(session: Session) -> None:
        audit.record(session, workspace_id=workspace_id, actor_id=actor_id, action="member.uninvited", subject=subject)

    run_writing(work)


def has_own_password(user: User) -> bool:
    """Whether the person has changed the password that somebody gave them."""
    subject = (AuditEntry.subject_type == "user", AuditEntry.subject_id == str(user.id))
    known = AuditEntry.action.in_(("account.password_changed", "account.password_set"))
    newest = select(AuditEntry.actor_id).where(*subject, known).order_by(AuditEntry.id.desc()).limit(1)
    with reading() as session:
        return session.scalar(newest) == user.id


def _read(session: Session, token: str, user: User) -> Invitation | None:
    try:
        (workspace_id, user_id, role, by), made_at = _signer().loads(
            token, max_age=int(LIFE.total_seconds()), return_timestamp=True
        )
    except BadData:
        return None
    workspace = session.get(Workspace, workspace_id)
    if workspace is None or user_id != user.id or not _could_add(session, workspace_id, by):
        return None
    if _taken_back_since(session, workspace_id, user_id, made_at):
        return None
    return Invitation(workspace.id, workspace.slug, workspace.name, Role(role), by)


def _could_add(session: Session, workspace_id: int, user_id: int | None) -> bool:
    if user_id is None:
        return True
    statement = select(Membership.id).join(User, User.id == Membership.user_id)
    owner = (Membership.workspace_id == workspace_id, Membership.user_id == user_id, Membership.role == Role.OWNER)
    return session.scalar(statement.where(*owner, User.disabled_at.is_(None))) is not None


def _taken_back_since(session: Session, workspace_id: int, user_id: int, moment: datetime) -> bool:
    """Somebody who was removed does not come back with the link of before, nor come with one that was taken back."""
    found = exists().where(
        AuditEntry.workspace_id == workspace_id,
        AuditEntry.action.in_(("member.removed", "member.uninvited")),
        AuditEntry.subject_id == str(user_id),
        AuditEntry.at > moment,
    )
    return bool(session.scalar(select(found)))


def _signer() -> URLSafeTimedSerializer:
    values = settings()
    keys = [*reversed(values.secret_key_fallbacks), values.secret_key]  # the newest last
    return URLSafeTimedSerializer(keys, salt="invitation")
