"""Members on both databases: added once, never without an owner, not even when two act at the same moment."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select

from tests.rows import Rows
from webapp import clock
from webapp.extensions import db
from webapp.forms.invalid import Invalid
from webapp.models import AuditEntry, Authorization, Purpose, Role, User, Workspace
from webapp.services.workspaces import members, tenancy, users


@pytest.fixture
def workspace(any_app: Flask, rows: Rows) -> Workspace:
    return rows.workspace("demo")


@pytest.fixture
def owner(workspace: Workspace, rows: Rows) -> User:
    return rows.user(workspace, email="owner@example.com")


def roles(workspace: Workspace) -> dict[str, str]:
    return {member.email: str(member.role) for member in members.of(workspace.id)}


def entries(workspace: Workspace) -> list[tuple[str, int | None, object, object]]:
    statement = select(AuditEntry).where(AuditEntry.workspace_id == workspace.id).order_by(AuditEntry.id)
    return [(row.action, row.actor_id, row.before, row.after) for row in db.session.scalars(statement)]


def test_somebody_new_gets_an_account_and_a_password_shown_once(workspace: Workspace, owner: User) -> None:
    added = members.add(workspace.id, "new@example.com", Role.SUPPORT, None, owner.id)
    assert added.is_new
    assert added.password
    assert added.password not in repr(added)
    signed_in = users.sign_in("new@example.com", added.password, "127.0.0.1")
    assert signed_in is not None
    assert tenancy.visible(signed_in, "demo") == (db.session.get(Workspace, workspace.id), Role.SUPPORT)
    assert not signed_in.is_support
    assert entries(workspace) == [("member.added", owner.id, None, {"role": "support", "new_account": True})]


def test_a_typed_password_is_theirs_and_not_shown(workspace: Workspace, owner: User) -> None:
    added = members.add(workspace.id, "new@example.com", Role.OWNER, "a long first one", owner.id)
    assert (added.is_new, added.password) == (True, None)
    assert users.sign_in("new@example.com", "a long first one", "127.0.0.1") is not None


def test_the_password_of_somebody_known_is_never_touched(workspace: Workspace, owner: User, rows: Rows) -> None:
    known = rows.user(rows.workspace("other"), email="known@example.com", password_hash=users.hash_password("my own"))
    added = members.add(workspace.id, "known@example.com", Role.OWNER, "somebody else's", owner.id)
    assert (added.user_id, added.is_new, added.password) == (known.id, False, None)
    assert users.sign_in("known@example.com", "my own", "127.0.0.1") is not None
    assert users.sign_in("known@example.com", "somebody else's", "127.0.0.1") is None
    assert roles(workspace) == {"owner@example.com": "owner"}, "they are asked before"
    assert entries(workspace) == [("member.invited", owner.id, None, {"role": "owner"})]


def test_nobody_is_added_twice_or_with_an_account_switched_off(workspace: Workspace, owner: User, rows: Rows) -> None:
    with pytest.raises(Invalid) as twice:
        members.add(workspace.id, "owner@example.com", Role.SUPPORT, None, owner.id)
    assert "already" in twice.value.problems["email"]
    rows.user(email="gone@example.com", disabled_at=clock.now())
    with pytest.raises(Invalid) as gone:
        members.add(workspace.id, "gone@example.com", Role.OWNER, None, owner.id)
    assert "switched off" in gone.value.problems["email"]
    assert roles(workspace) == {"owner@example.com": "owner"}
    assert entries(workspace) == []


def test_there_is_always_an_owner_who_can_sign_in(workspace: Workspace, owner: User, rows: Rows) -> None:
    rows.user(workspace, disabled_at=clock.now())
    assert [member.is_last_owner for member in members.of(workspace.id) if member.user_id == owner.id] == [True]
    with pytest.raises(Invalid):
        members.change_role(workspace.id, owner.id, Role.SUPPORT, owner.id)
    with pytest.raises(Invalid):
        members.remove(workspace.id, owner.id, owner.id)
    assert entries(workspace) == []


def test_a_role_is_changed_and_a_member_removed(workspace: Workspace, owner: User, rows: Rows) -> None:
    second = rows.user(workspace, email="second@example.com")
    members.change_role(workspace.id, second.id, Role.SUPPORT, owner.id)
    members.change_role(workspace.id, second.id, Role.SUPPORT, owner.id)
    assert roles(workspace)["second@example.com"] == "support"
    members.remove(workspace.id, second.id, owner.id)
    assert roles(workspace) == {"owner@example.com": "owner"}
    assert db.session.get(User, second.id) is not None
    assert entries(workspace) == [
        ("member.role_changed", owner.id, {"role": "owner"}, {"role": "support"}),
        ("member.removed", owner.id, {"role": "support"}, None),
    ]


def test_whoever_is_no_owner_any_more_cannot_finish_connecting(workspace: Workspace, owner: User, rows: Rows) -> None:
    second = rows.user(workspace)
    elsewhere = rows.workspace("elsewhere")
    for number, place in enumerate((workspace, elsewhere)):
        rows.save(
            Authorization(
                state_hash=f"state-{number}",
                session_id=1,
                user_id=second.id,
                workspace_id=place.id,
                purpose=Purpose.CONNECT,
                verifier="v1.x.y",
                created_at=clock.now(),
                expires_at=clock.now() + timedelta(minutes=10),
            )
        )
    members.change_role(workspace.id, second.id, Role.SUPPORT, owner.id)
    assert list(db.session.scalars(select(Authorization.workspace_id))) == [elsewhere.id]


def test_another_workspaces_member_is_not_found(workspace: Workspace, owner: User, rows: Rows) -> None:
    theirs = rows.user(rows.workspace("theirs"))
    with pytest.raises(LookupError):
        members.change_role(workspace.id, theirs.id, Role.SUPPORT, owner.id)
    with pytest.raises(LookupError):
        members.remove(workspace.id, theirs.id, owner.id)
    assert members.one(workspace.id, theirs.id) is None


def test_two_owners_who_remove_each_other_leave_one(any_app: Flask, workspace: Workspace, rows: Rows) -> None:
    pair = [rows.user(workspace), rows.user(workspace)]
    start, refused = threading.Barrier(2), []

    def remove(actor: User, other: User) -> None:
        with any_app.app_context():
            start.wait(5)
            try:
                members.remove(workspace.id, other.id, actor.id)
            except Invalid:
                refused.append(actor.id)
            finally:
                db.session.remove()

    threads = [threading.Thread(target=remove, args=each) for each in (pair, pair[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(members.of(workspace.id)) == 1
    assert len(refused) == 1


def test_the_same_address_added_at_once_makes_one_account(any_app: Flask, workspace: Workspace, owner: User) -> None:
    start, results = threading.Barrier(2), []

    def add() -> None:
        with any_app.app_context():
            start.wait(5)
            try:
                results.append(members.add(workspace.id, "new@example.com", Role.OWNER, None, owner.id).is_new)
            except Invalid:
                results.append(False)
            finally:
                db.session.remove()

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == [False, True]
    assert db.session.scalar(select(func.count()).where(User.email == "new@example.com")) == 1
