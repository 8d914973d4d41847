"""One's own account: another password, and what that does to other browsers."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.apps import dispose, make_app
from tests.rows import Rows
from webapp import clock
from webapp.database import writing
from webapp.extensions import db
from webapp.models import AuditEntry, Session, User
from webapp.services.workspaces import sessions, users

OLD, NEW = "the old password", "the new password"


@pytest.fixture
def person(app: Flask, rows: Rows) -> User:
    app.config["WTF_CSRF_ENABLED"] = False
    return rows.user(rows.workspace("mine"), email="ada@example.com", password_hash=users.hash_password(OLD))


def browser(app: Flask, person: User) -> FlaskClient:
    client = app.test_client()
    client.set_cookie("cevoid", sessions.begin(person, "test"))
    return client


def change(client: FlaskClient, current: str = OLD, new: str = NEW, again: str | None = None) -> tuple[int, str]:
    form = {"current": current, "new": new, "again": new if again is None else again}
    answer = client.post("/account/password", data=form)
    return answer.status_code, answer.text


def test_other_browsers_are_signed_out_and_told_so(app: Flask, person: User, rows: Rows) -> None:
    here, elsewhere, bystander = browser(app, person), browser(app, person), browser(app, rows.user())
    stolen = here.get_cookie("cevoid")
    assert stolen is not None
    assert change(here)[0] == 303
    page = here.get("/account")
    assert page.status_code == 200
    assert "1 other browser is signed out." in page.text
    assert elsewhere.get("/account").status_code == 303
    assert bystander.get("/account").status_code == 200
    thief = app.test_client()
    thief.set_cookie("cevoid", stolen.value)
    assert thief.get("/account").status_code == 303, "this browser's cookie is a new one, too"
    assert users.sign_in("ada@example.com", OLD, "127.0.0.1") is None
    assert users.sign_in("ada@example.com", NEW, "127.0.0.1") is not None
    entry = db.session.scalars(select(AuditEntry)).one()
    assert (entry.action, entry.actor_id, entry.after) == (
        "account.password_changed",
        person.id,
        {"browsers_signed_out": 1},
    )


@pytest.mark.parametrize(
    ("current", "new", "again", "field"),
    [
        ("", NEW, NEW, "current"),
        ("not it", NEW, NEW, "current"),
        (OLD, "too short", "too short", "new"),
        (OLD, OLD, OLD, "new"),
        (OLD, "x" * 201, "x" * 201, "new"),
        (OLD, NEW, "another one", "again"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    app: Flask, person: User, current: str, new: str, again: str, field: str
) -> None:
    here, elsewhere = browser(app, person), browser(app, person)
    status, page = change(here, current, new, again)
    assert status == 422
    assert f'<a href="#password-{field}">' in page
    assert f'id="password-{field}-problem"' in page
    assert f'aria-describedby="password-{field}-problem' in page
    assert NEW not in page
    assert users.sign_in("ada@example.com", OLD, "127.0.0.2") is not None
    assert elsewhere.get("/account").status_code == 200


def test_guessing_the_current_password_is_slowed_down(app: Flask, person: User) -> None:
    here = browser(app, person)
    statuses = [change(here, current=f"guess {number}")[0] for number in range(users.FREE_TRIES + 1)]
    assert statuses == [422] * users.FREE_TRIES + [429]


def test_another_browser_of_ones_own_is_signed_out(app: Flask, person: User) -> None:
    here = browser(app, person)
    elsewhere = browser(app, person)
    newest = sessions.living(person.id)[0]
    assert here.post(f"/account/sessions/{newest.id}/end").status_code == 303
    assert elsewhere.get("/account").status_code == 303
    page = here.get("/account")
    assert page.status_code == 200
    assert "That browser is signed out." in page.text


def test_nothing_is_said_to_be_ended_that_was_not(app: Flask, person: User, rows: Rows) -> None:
    here, elsewhere = browser(app, person), browser(app, person)
    mine = sessions.living(person.id)[0].id
    stranger = rows.user()
    theirs_is = browser(app, stranger)
    theirs = sessions.living(stranger.id)[0].id
    here.post(f"/account/sessions/{mine}/end", follow_redirects=True)
    for number in (theirs, 99999, mine):
        answer = here.post(f"/account/sessions/{number}/end", follow_redirects=True)
        assert "No browser of yours was signed out" in answer.text
        assert "That browser is signed out." not in answer.text
    assert theirs_is.get("/account").status_code == 200
    assert elsewhere.get("/account").status_code == 303


def test_a_browser_nobody_used_for_half_a_day_is_not_listed(app: Flask, person: User) -> None:
    here, elsewhere = browser(app, person), browser(app, person)
    idle = sessions.living(person.id)[0]
    with writing() as session:
        session.get_one(Session, idle.id).active_at = clock.now() - sessions.IDLE
    assert elsewhere.get("/account").status_code == 303
    assert [row.id for row in sessions.living(person.id)] == [idle.id - 1]
    assert here.get("/account").text.count('data-label="Browser"') == 1


def test_signing_out_takes_the_cookie_away_also_under_tls(tmp_path: Path) -> None:
    """Browsers ignore whatever is said of a `__Host-` cookie without Secure."""
    app = make_app("sqlite", tmp_path, PUBLIC_URL="https://acme.example.com")
    app.config["WTF_CSRF_ENABLED"] = False
    with app.app_context():
        client = app.test_client()
        client.set_cookie("__Host-cevoid", sessions.begin(Rows().user(), "test"))
        said = client.post("/sign-out").headers.getlist("Set-Cookie")
        dispose(app)
    (ended,) = [cookie for cookie in said if cookie.startswith("__Host-cevoid=")]
    assert "Max-Age=0" in ended
    assert "; Secure" in ended
    assert "Domain" not in ended
