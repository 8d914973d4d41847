"""Guessing is slow, from one browser or many at once; an office is not kept out; old failures are forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select

from tests.rows import Rows
from webapp import clock
from webapp.crypto import digest
from webapp.database import reading, writing
from webapp.models import SignInFailure
from webapp.services.workspaces import users

RIGHT = "the right password"


def _user(rows: Rows, email: str) -> None:
    rows.user(rows.workspace(), email=email, password_hash=users.hash_password(RIGHT))


def _counted() -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(SignInFailure)) or 0


def test_after_a_few_guesses_each_waits_also_where_the_next_one_is_right(any_app: Flask, rows: Rows) -> None:
    _user(rows, "ada@example.com")
    for number in range(users.FREE_TRIES):
        assert users.sign_in("ada@example.com", f"guess {number}", f"10.0.0.{number}") is None
    with pytest.raises(users.TooManyTries) as refused:
        users.sign_in("ada@example.com", RIGHT, "10.0.0.99")
    assert refused.value.seconds >= 1


def test_a_guess_is_counted_before_its_password_is_looked_at(
    any_app: Flask, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many at the same instant would otherwise all find the count of before."""
    _user(rows, "ada@example.com")
    seen: list[int] = []

    class Watched:
        def verify(self, hashed: str, password: str) -> bool:
            seen.append(_counted())
            return True

    monkeypatch.setattr(users, "_hasher", Watched())
    assert users.sign_in("ada@example.com", RIGHT, "10.0.0.1") is not None
    assert seen == [2], "the account's and the address's"


def test_who_signs_in_takes_their_tries_back(any_app: Flask, rows: Rows) -> None:
    _user(rows, "ada@example.com")
    for _ in range(users.FREE_TRIES_OF_AN_ADDRESS + users.FREE_TRIES):
        assert users.sign_in("ada@example.com", RIGHT, "10.0.0.1") is not None


def test_an_office_is_not_kept_out_by_one_who_forgot(any_app: Flask, rows: Rows) -> None:
    _user(rows, "ada@example.com")
    for number in range(users.FREE_TRIES * 2):
        assert users.sign_in(f"forgot-{number}@example.com", "wrong", "10.0.0.1") is None
    assert users.sign_in("ada@example.com", RIGHT, "10.0.0.1") is not None


def test_one_address_may_not_guess_at_everybody(any_app: Flask) -> None:
    with writing() as session:
        row = {"failures": users.FREE_TRIES_OF_AN_ADDRESS, "last_at": clock.now()}
        session.add(SignInFailure(subject=digest("address:10.0.0.1"), **row))
    with pytest.raises(users.TooManyTries):
        users.sign_in("somebody@example.com", "guess", "10.0.0.1")


def test_old_failures_are_forgotten(any_app: Flask, rows: Rows) -> None:
    _user(rows, "ada@example.com")
    then = clock.now() - users.FORGOTTEN_AFTER - timedelta(minutes=1)
    with writing() as session:
        for subject in ("account:ada@example.com", "address:10.0.0.1", "address:10.0.0.2"):
            session.add(SignInFailure(subject=digest(subject), failures=1_000, last_at=then))
    assert users.sign_in("ada@example.com", "wrong", "10.0.0.1") is None
    assert _counted() == 2
    assert users.sign_in("ada@example.com", RIGHT, "10.0.0.1") is not None
