"""Signed-in browsers, kept on our side so that they can be ended. The cookie's token is stored as SHA-256."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import String, and_, bindparam, select, update
from sqlalchemy.orm import Session as DatabaseSession

from webapp import clock
from webapp.crypto import digest, new_secret
from webapp.database import affected, writing
from webapp.extensions import db
from webapp.models import Membership, Role, Session, User, Workspace
from webapp.models.types import UtcDateTime
from webapp.services.workspaces import tenancy

IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=14)
TOUCH_EVERY = timedelta(minutes=5)


def cookie_name(*, secure: bool) -> str:
    """The cookie's name: bound to host and TLS where there is TLS."""
    return "__Host-cevoid" if secure else "cevoid"


def begin(user: User, browser: str) -> str:
    """A new session of `user`; the token for its cookie."""
    token, now = new_secret(), clock.now()
    with writing() as session:
        session.add(
            Session(
                user_id=user.id,
                token_hash=digest(token),
                created_at=now,
                active_at=now,
                expires_at=now + ABSOLUTE,
                browser=browser[:200],
            )
        )
    return token


class Visit(NamedTuple):
    """Who asks: their session, and, where it is theirs to see, the workspace they ask for with their role in it."""

    session: Session
    user: User
    workspace: Workspace | None
    role: Role | None


# Asked by every request of everybody: made once, and one question for all of it.
_LIVING = (
    select(Session, User, Workspace, Membership.role)
    .join(User, User.id == Session.user_id)
    .outerjoin(Workspace, Workspace.slug == bindparam("slug", type_=String))
    .outerjoin(Membership, and_(Membership.workspace_id == Workspace.id, Membership.user_id == User.id))
    .where(
        Session.token_hash == bindparam("hash"),
        Session.ended_at.is_(None),
        Session.expires_at > bindparam("now", type_=UtcDateTime()),
        Session.active_at > bindparam("since", type_=UtcDateTime()),
        User.disabled_at.is_(None),
    )
)


def find(token: str, slug: str | None = None) -> Visit | None:
    """The living session of a cookie's token, and its user. `slug`: of the workspace they ask for."""
    now = clock.now()
    where = {"hash": digest(token), "now": now, "since": now - IDLE, "slug": slug}
    row = db.session.execute(_LIVING, where).one_or_none()
    if row is None:
        return None
    session, user, workspace, membership = row
    role = tenancy.role_of(user, membership) if workspace else None
    return Visit(session, user, workspace if role else None, role)


def touch(row: Session) -> None:
    """Note activity, at most every few minutes: pages should not write."""
    now = clock.now()
    if now - row.active_at > TOUCH_EVERY:
        with writing() as session:
            session.execute(update(Session).where(Session.id == row.id).values(active_at=now))


def end(session_id: int, user_id: int) -> bool:
    """End one session of a user; whether it was theirs and not ended before."""
    theirs = (Session.id == session_id, Session.user_id == user_id, Session.ended_at.is_(None))
    with writing() as session:
        return affected(session, update(Session).where(*theirs).values(ended_at=clock.now())) > 0


def renew(session: DatabaseSession, session_id: int, user_id: int) -> tuple[str, int]:
    """Keep one session of a user under a new token and end all others: the token, how many were ended."""
    token, mine = new_secret(), (Session.user_id == user_id, Session.ended_at.is_(None))
    session.execute(update(Session).where(*mine, Session.id == session_id).values(token_hash=digest(token)))
    others = update(Session).where(*mine, Session.id != session_id, Session.expires_at > clock.now())
    return token, affected(session, others.values(ended_at=clock.now()))


def living(user_id: int) -> list[Session]:
    """A user's sessions that could still be used, newest first."""
    now = clock.now()
    statement = select(Session).where(
        Session.user_id == user_id,
        Session.ended_at.is_(None),
        Session.expires_at > now,
        Session.active_at > now - IDLE,
    )
    return list(db.session.scalars(statement.order_by(Session.id.desc())))
