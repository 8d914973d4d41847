"""Who belongs to a workspace, and with which role. There is always an owner who can sign in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import FromClause, Select, delete, select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.crypto import new_secret
from webapp.database import run_writing
from webapp.extensions import db
from webapp.forms.invalid import Invalid
from webapp.models import Authorization, Membership, Role, User
from webapp.services import audit
from webapp.services.workspaces import users
from webapp.upserts import insert_or_ignore

LAST_OWNER = "This is the only owner here. Make somebody else an owner first."


@dataclass(frozen=True, slots=True)
class Member:
    """A person's place in a workspace. `is_last_owner`: may be neither removed nor given another role."""

    user_id: int
    email: str
    name: str
    role: Role
    since: datetime
    is_disabled: bool
    is_last_owner: bool


@dataclass(frozen=True, slots=True)
class Added:
    """What came of adding somebody. `password`: made by us for a new account, to be shown once.

    Not `is_new`: they have an account, and are no member before they accept.
    """

    user_id: int
    email: str
    is_new: bool
    password: str | None = field(repr=False)


def of(workspace_id: int) -> list[Member]:
    """A workspace's members by address."""
    rows = db.session.execute(_all(workspace_id).order_by(User.email)).all()
    pairs = [(row[0], row[1]) for row in rows]
    return [
        Member(
            user_id=user.id,
            email=user.email,
            name=user.name,
            role=place.role,
            since=place.created_at,
            is_disabled=user.disabled_at is not None,
            is_last_owner=_is_last_owner(pairs, user.id),
        )
        for place, user in pairs
    ]


def one(workspace_id: int, user_id: int) -> Member | None:
    """One member; None for anybody who is not."""
    return next((member for member in of(workspace_id) if member.user_id == user_id), None)


def add(workspace_id: int, email: str, role: Role, password: str | None, actor_id: int | None) -> Added:
    """Add somebody new, with an account of theirs; whoever has one already is to be invited. Raises Invalid.

    The password counts for a new account only; without one it is made. Somebody else's password is never touched.
    """
    secret = hashed = None
    if users.by_email(email) is None:
        secret = password or new_secret()[:20]
        hashed = users.hash_password(secret)  # slow on purpose, so before the transaction
    user_id, is_new = run_writing(lambda session: _add(session, workspace_id, email, role, hashed, actor_id))
    return Added(user_id, email, is_new, secret if is_new and password is None else None)


def _add(
    session: Session, workspace_id: int, email: str, role: Role, hashed: str | None, actor_id: int | None
) -> tuple[int, bool]:
    now, is_new = clock.now(), False
    if hashed is not None:
        values = {"email": email, "name": "", "password_hash": hashed, "is_support": False, "created_at": now}
        is_new = _insert(session, User.__table__, values)
    user = session.scalar(select(User).where(User.email == email))
    if user is None or user.disabled_at is not None:
        raise Invalid({"email": "This account is switched off, so they could not sign in. Ask us to switch it on."})
    if is_new:
        join(session, workspace_id, user.id, role, actor_id, is_new=True)
        return user.id, True
    present = (Membership.workspace_id == workspace_id, Membership.user_id == user.id)
    if session.scalar(select(Membership.id).where(*present)) is not None:
        raise Invalid({"email": "This person is a member already. Change the role in their row."})
    audit.record(
        session,
        workspace_id=workspace_id,
        actor_id=actor_id,
        action="member.invited",
        subject=("user", user.id),
        after={"role": role},
    )
    return user.id, False


def join(session: Session, workspace_id: int, user_id: int, role: Role, actor_id: int | None, *, is_new: bool) -> None:
    """Make somebody a member, in `actor_id`'s name; whoever is one already keeps their role."""
    place = {"workspace_id": workspace_id, "user_id": user_id, "role": role, "created_at": clock.now()}
    if _insert(session, Membership.__table__, place):
        audit.record(
            session,
            workspace_id=workspace_id,
            actor_id=actor_id,
            action="member.added",
            subject=("user", user_id),
            after={"role": role, "new_account": is_new},
        )


def _insert(session: Session, table: FromClause, values: dict[str, Any]) -> bool:
    """Whether the row is new. Asked by RETURNING: PostgreSQL's driver counts a row it did not insert, too."""
    statement = insert_or_ignore(session, table).values(**values).returning(table.c.id)
    return session.scalar(statement) is not None


def change_role(workspace_id: int, user_id: int, role: Role, actor_id: int) -> None:
    """Give a member another role. Raises Invalid for the last owner, LookupError for nobody's."""

    def work(session: Session) -> None:
        place, is_last_owner = _locked(session, workspace_id, user_id)
        if place.role is role:
            return
        if is_last_owner:
            raise Invalid({"role": LAST_OWNER})
        before, place.role = place.role, role
        _drop_authorizations(session, workspace_id, user_id)
        audit.record(
            session,
            workspace_id=workspace_id,
            actor_id=actor_id,
            action="member.role_changed",
            subject=("user", user_id),
            before={"role": before},
            after={"role": role},
        )

    run_writing(work)


def remove(workspace_id: int, user_id: int, actor_id: int) -> None:
    """End a membership, at once. The account and other workspaces stay. Raises Invalid, LookupError."""

    def work(session: Session) -> None:
        place, is_last_owner = _locked(session, workspace_id, user_id)
        if is_last_owner:
            raise Invalid({"member": LAST_OWNER})
        before = place.role
        session.delete(place)
        _drop_authorizations(session, workspace_id, user_id)
        audit.record(
            session,
            workspace_id=workspace_id,
            actor_id=actor_id,
            action="member.removed",
            subject=("user", user_id),
            before={"role": before},
        )

    run_writing(work)


def _all(workspace_id: int) -> Select[Membership, User]:
    return (
        select(Membership, User)
        .join(User, User.id == Membership.user_id)
        .where(Membership.workspace_id == workspace_id)
    )


def _locked(session: Session, workspace_id: int, user_id: int) -> tuple[Membership, bool]:
    # All of them, in key order: two owners who remove each other at the same moment must see each other.
    statement = _all(workspace_id).order_by(Membership.id).with_for_update(of=Membership)
    pairs = [(row[0], row[1]) for row in session.execute(statement)]
    place = next((membership for membership, _ in pairs if membership.user_id == user_id), None)
    if place is None:
        raise LookupError("no such member")
    return place, _is_last_owner(pairs, user_id)


def _is_last_owner(pairs: Iterable[tuple[Membership, User]], user_id: int) -> bool:
    owners = {place.user_id: user for place, user in pairs if place.role is Role.OWNER}
    others = [user for owner_id, user in owners.items() if owner_id != user_id and user.disabled_at is None]
    return user_id in owners and not others


def _drop_authorizations(session: Session, workspace_id: int, user_id: int) -> None:
    """Whoever may no longer connect accounts must not finish an attempt begun before."""
    session.execute(
        delete(Authorization).where(Authorization.workspace_id == workspace_id, Authorization.user_id == user_id)
    )
