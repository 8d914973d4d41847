"""People who sign in: passwords by argon2id, and a limit on guessing that needs no Redis."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session as DatabaseSession

from webapp import clock, published
from webapp.crypto import digest
from webapp.database import run_writing, writing
from webapp.extensions import db
from webapp.forms.invalid import Invalid
from webapp.models import SignInFailure, User
from webapp.services import audit
from webapp.services.workspaces import sessions
from webapp.upserts import upsert

FREE_TRIES = 5
FREE_TRIES_OF_AN_ADDRESS = 50  # a whole office, or everybody behind a proxy, comes from one
LONGEST_WAIT = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(hours=1)
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class TooManyTries(Exception):
    """Wait `seconds` before the next try."""

    def __init__(self, seconds: int) -> None:
        super().__init__("too many tries")
        self.seconds = seconds


def hash_password(password: str) -> str:
    """argon2id, 19 MiB, two passes."""
    return _hasher.hash(password)


@cache
def _nobodys_hash() -> str:
    """Made when first needed: it costs a fifth of a second, and most processes sign nobody in."""
    return _hasher.hash("a password nobody has")


def sign_in(email: str, password: str, address: str) -> User | None:
    """The user, or None for a wrong pair. Raises TooManyTries. An unknown address takes as long as a wrong password."""
    account, browser = digest(f"account:{email}"), digest(f"address:{address}")
    # Counted before the password is looked at: guesses at the same instant would all find the count of before.
    run_writing(lambda session: _count_a_try(session, {account: FREE_TRIES, browser: FREE_TRIES_OF_AN_ADDRESS}))
    user = db.session.scalar(select(User).where(User.email == email, User.disabled_at.is_(None)))
    try:
        fits = _hasher.verify(user.password_hash if user else _nobodys_hash(), password) and user is not None
    except VerificationError:
        fits = False
    fits = fits and not published.opens_nothing(password, email)
    if fits:
        run_writing(lambda session: _take_back(session, account, browser))
    return user if fits else None


def _count_a_try(session: DatabaseSession, free: dict[str, int]) -> None:
    """Count one for each subject, unless one of them has to wait. Raises TooManyTries."""
    now, table = clock.now(), SignInFailure.__table__
    session.execute(delete(SignInFailure).where(SignInFailure.last_at < now - FORGOTTEN_AFTER))
    mine = SignInFailure.subject.in_(free)
    for row in session.scalars(select(SignInFailure).where(mine).order_by(SignInFailure.subject).with_for_update()):
        over = row.failures - free[row.subject]
        wait = min(timedelta(seconds=2 ** min(over, 20)), LONGEST_WAIT) if over >= 0 else timedelta(0)
        left = (row.last_at + wait - now).total_seconds()
        if left > 0:
            raise TooManyTries(int(left) + 1)
    rows = [{"subject": subject, "failures": 1, "last_at": now} for subject in sorted(free)]
    changes = {"failures": table.c.failures + 1, "last_at": now}
    session.execute(upsert(session, table, key=["subject"], update=changes), rows)


def _take_back(session: DatabaseSession, account: str, browser: str) -> None:
    """It was no failure: the account's count begins anew, the address's loses this one."""
    session.execute(delete(SignInFailure).where(SignInFailure.subject == account))
    counted = (SignInFailure.subject == browser, SignInFailure.failures > 0)
    session.execute(update(SignInFailure).where(*counted).values(failures=SignInFailure.failures - 1))


def by_email(email: str) -> User | None:
    """The user with an address."""
    return db.session.scalar(select(User).where(User.email == email))


def change_password(user: User, session_id: int, current: str, new: str, address: str) -> tuple[str, int]:
    """Set another password; every other browser is signed out, and this one's cookie gets a new token.

    Gives the token and how many browsers were signed out. Raises Invalid for a wrong current password, TooManyTries.
    """
    if sign_in(user.email, current, address) is None:
        raise Invalid({"current": "This is not the password you sign in with now."})
    hashed = hash_password(new)
    with writing() as session:
        session.execute(update(User).where(User.id == user.id).values(password_hash=hashed))
        token, ended = sessions.renew(session, session_id, user.id)
        audit.record(
            session,
            workspace_id=None,
            actor_id=user.id,
            action="account.password_changed",
            subject=("user", user.id),
            after={"browsers_signed_out": ended},
        )
    return token, ended
