"""An invitation works for one account, for a week, and for as long as whoever made it could still add that person."""

from __future__ import annotations

import time

import pytest
from flask import Flask

from tests.rows import Rows
from webapp import clock
from webapp.database import writing
from webapp.models import Role, User, Workspace
from webapp.services.workspaces import accounts, invitations, members, tenancy, users

OLD, NEW = "the first password", "one of my own"


@pytest.fixture
def workspace(any_app: Flask, rows: Rows) -> Workspace:
    return rows.workspace("demo")


@pytest.fixture
def owner(workspace: Workspace, rows: Rows) -> User:
    return rows.user(workspace)


@pytest.fixture
def known(workspace: Workspace, rows: Rows) -> User:
    return rows.user(rows.workspace("other"), email="known@example.com", password_hash=users.hash_password(OLD))


@pytest.fixture
def token(workspace: Workspace, owner: User, known: User) -> str:
    return invitations.make(workspace.id, known.id, Role.SUPPORT, owner.id)


def role(user: User) -> Role | None:
    found = tenancy.visible(user, "demo")
    return found[1] if found else None


def test_who_accepts_is_a_member_once(workspace: Workspace, owner: User, known: User, token: str) -> None:
    asked = invitations.read(token, known)
    assert asked is not None
    assert (asked.slug, asked.role, asked.by) == ("demo", Role.SUPPORT, owner.id)
    assert role(known) is None, "before they accept"
    assert invitations.accept(token, known) == asked
    assert role(known) is Role.SUPPORT
    members.change_role(workspace.id, known.id, Role.OWNER, owner.id)
    assert invitations.accept(token, known) == asked
    assert role(known) is Role.OWNER, "the second time changes nothing"


def test_it_is_nobody_elses_and_cannot_be_made_up(owner: User, known: User, token: str, rows: Rows) -> None:
    for wrong in (token[:-2] + "xx", "", "x.y.z", token.replace(".", "..", 1)):
        assert invitations.accept(wrong, known) is None
    stranger = rows.user()
    assert invitations.accept(token, stranger) is None
    assert role(stranger) is role(known) is None


def test_it_is_over_after_a_week(known: User, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    then = time.time() + invitations.LIFE.total_seconds()
    monkeypatch.setattr(time, "time", lambda: then + 2)
    assert invitations.accept(token, known) is None


@pytest.mark.parametrize("how", ["removed", "support now", "switched off"])
def test_it_is_over_with_its_makers_right(
    workspace: Workspace, owner: User, known: User, token: str, rows: Rows, how: str
) -> None:
    second = rows.user(workspace)
    if how == "removed":
        members.remove(workspace.id, owner.id, second.id)
    elif how == "support now":
        members.change_role(workspace.id, owner.id, Role.SUPPORT, second.id)
    else:
        with writing() as session:
            session.get_one(User, owner.id).disabled_at = clock.now()
    assert invitations.accept(token, known) is None


def test_who_was_removed_does_not_come_back_with_it(workspace: Workspace, owner: User, known: User, token: str) -> None:
    invitations.accept(token, known)
    members.remove(workspace.id, known.id, owner.id)
    assert invitations.accept(token, known) is None
    assert role(known) is None


def test_one_that_was_taken_back_is_over(workspace: Workspace, known: User, token: str, rows: Rows) -> None:
    by_command = invitations.make(workspace.id, known.id, Role.OWNER, None)
    elsewhere = invitations.make(rows.workspace("third").id, known.id, Role.OWNER, None)
    invitations.take_back(workspace.id, known.id, None)
    for made in (token, by_command):
        assert invitations.accept(made, known) is None
    assert role(known) is None
    assert invitations.read(elsewhere, known) is not None, "only what asks into this workspace"


def test_somebody_may_be_asked_once_more(
    workspace: Workspace, known: User, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitations.take_back(workspace.id, known.id, None)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1)  # a link knows whole seconds
    assert invitations.accept(invitations.make(workspace.id, known.id, Role.OWNER, None), known) is not None


def test_a_password_is_ones_own_once_it_was_changed(known: User) -> None:
    assert not invitations.has_own_password(known)
    users.change_password(known, 0, OLD, NEW, "127.0.0.1")
    assert invitations.has_own_password(known)
    accounts.set_password(known.email, "given by another")
    assert not invitations.has_own_password(known), "somebody else knows this one again"
