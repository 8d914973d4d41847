"""What only whoever runs the program may do to an account: another password, switching it off and on again."""

from __future__ import annotations

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session as DatabaseSession

from webapp import clock
from webapp.crypto import digest
from webapp.database import affected, run_writing
from webapp.models import Session, SignInFailure, User
from webapp.services import audit
from webapp.services.workspaces import users


def set_password(email: str, password: str) -> int:
    """Give an account another password; how many browsers were signed out by it. Raises LookupError."""
    hashed = users.hash_password(password)

    def work(session: DatabaseSession) -> int:
        return _change(session, email, "account.password_set", {"password_hash": hashed})

    return run_writing(work)


def switch(email: str, *, on: bool) -> int:
    """Let nobody sign in with an account, or again; how many browsers were signed out by it. Raises LookupError."""
    action = "account.switched_on" if on else "account.switched_off"

    def work(session: DatabaseSession) -> int:
        return _change(session, email, action, {"disabled_at": None if on else clock.now()})

    return run_writing(work)


def _change(session: DatabaseSession, email: str, action: str, values: dict[str, object]) -> int:
    user_id = session.scalar(select(User.id).where(User.email == email))
    if user_id is None:
        raise LookupError("nobody has this address")
    now = clock.now()
    session.execute(update(User).where(User.id == user_id).values(**values))
    session.execute(delete(SignInFailure).where(SignInFailure.subject == digest(f"account:{email}")))
    living = (Session.user_id == user_id, Session.ended_at.is_(None), Session.expires_at > now)
    ended = affected(session, update(Session).where(*living).values(ended_at=now))
    audit.record(session, workspace_id=None, actor_id=None, action=action, subject=("user", user_id))
    return ended
