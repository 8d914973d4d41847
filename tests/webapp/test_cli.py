"""A first installation without the demo, by commands: each says plainly what it did or why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from tests.apps import own_app
from webapp.extensions import db
from webapp.models import IngestKey, Membership, Store, User, Workspace
from webapp.services.workspaces import ingest_keys, invitations, sessions, stores, users


def run(app: Flask, *words: str) -> tuple[int, str]:
    found = app.test_cli_runner().invoke(args=list(words))
    return found.exit_code, found.output.strip()


def test_an_installation_by_commands(app: Flask) -> None:
    assert run(app, "workspace", "create", "acme", "--name", "Acme") == (0, "Workspace acme is there.")
    assert run(app, "store", "add", "se", "--workspace", "acme", "--name", "Acme Sweden")[0] == 0
    code, said = run(app, "user", "add", "owner@example.com", "--workspace", "acme", "--role", "owner")
    assert (code, "Password: " in said) == (0, True)
    assert run(app, "user", "add", "help@example.com", "--role", "support")[0] == 0
    code, key = run(app, "ingest-key", "create", "--workspace", "acme")
    workspace = db.session.scalars(select(Workspace)).one()
    assert (code, ingest_keys.workspace_of(key)) == (0, workspace.id)
    assert db.session.scalars(select(Store.external_id)).all() == ["se"]
    assert db.session.scalars(select(Membership.workspace_id)).all() == [workspace.id]
    assert db.session.scalars(select(User.is_support).order_by(User.id)).all() == [False, True]
    key_id = db.session.scalars(select(IngestKey.id)).one()
    assert run(app, "ingest-key", "revoke", str(key_id), "--workspace", "acme") == (0, f"Key {key_id} is revoked.")
    db.session.rollback()
    assert ingest_keys.workspace_of(key) is None
    assert run(app, "ingest-key", "revoke", str(key_id), "--workspace", "acme")[0] == 1


def test_a_key_is_revoked_by_itself_too_which_is_all_that_was_printed(app: Flask) -> None:
    run(app, "workspace", "create", "acme")
    run(app, "workspace", "create", "other")
    key = run(app, "ingest-key", "create", "--workspace", "acme")[1]
    assert run(app, "ingest-key", "revoke", key, "--workspace", "other") == (1, "Error: other has no such living key.")
    code, said = run(app, "ingest-key", "revoke", key, "--workspace", "acme")
    assert (code, key in said) == (0, False)
    db.session.rollback()
    assert ingest_keys.workspace_of(key) is None


def test_an_owner_of_one_workspace_comes_into_a_new_one_by_a_link(app: Flask) -> None:
    run(app, "workspace", "create", "first")
    run(app, "workspace", "create", "second")
    password = run(app, "user", "add", "owner@example.com", "--workspace", "first")[1].rpartition("Password: ")[2]
    code, said = run(app, "user", "add", "Owner@example.com", "--workspace", "second")
    words, _, link = said.partition("\nLink: ")
    assert (code, words.startswith("owner@example.com has an account already. Give them this link:")) == (0, True)
    assert "The password you gave" not in said
    _, said = run(app, "user", "add", "owner@example.com", "--workspace", "second", "--password", "another long one")
    assert said.endswith("The password you gave is not used. To change theirs: user password EMAIL.")
    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    client.post("/sign-in", data={"email": "owner@example.com", "password": password})
    path = link.removeprefix(app.extensions["cevoid.settings"].public_url)
    assert "Change your password first" in client.get(path).text, "others know the one they were given"
    own = "one of my own"
    client.post("/account/password", data={"current": password, "new": own, "again": own})
    assert client.get("/w/second/settings").status_code == 404, "asked is not joined"
    assert client.post(path).location == "/w/second/settings/integrations/klaviyo"
    assert client.post("/w/second/settings/stores", data={"external_id": "se", "name": "SE"}).status_code == 303


def test_nobody_who_is_switched_off_is_asked_in(app: Flask) -> None:
    run(app, "workspace", "create", "first")
    run(app, "workspace", "create", "second")
    run(app, "user", "add", "owner@example.com", "--workspace", "first")
    run(app, "user", "switch", "owner@example.com", "off")
    db.session.rollback()
    code, said = run(app, "user", "add", "owner@example.com", "--workspace", "second")
    assert (code, said) == (1, "Error: owner@example.com is switched off. Switch them on first: user switch EMAIL on.")


def test_a_forgotten_password_and_somebody_who_left(app: Flask) -> None:
    run(app, "user", "add", "help@example.com", "--role", "support", "--password", "the first one")
    helper = users.sign_in("help@example.com", "the first one", "127.0.0.1")
    assert helper is not None
    token = sessions.begin(helper, "a browser")
    code, said = run(app, "user", "password", "Help@example.com")
    assert (code, "browsers signed out: 1." in said) == (0, True)
    password = said.rpartition("Password: ")[2]
    db.session.rollback()
    assert sessions.find(token) is None
    assert users.sign_in("help@example.com", "the first one", "127.0.0.1") is None
    assert users.sign_in("help@example.com", password, "127.0.0.1") is not None
    token = sessions.begin(helper, "a browser")
    assert run(app, "user", "switch", "help@example.com", "off")[0] == 0
    db.session.rollback()
    assert sessions.find(token) is None
    assert users.sign_in("help@example.com", password, "127.0.0.1") is None
    assert run(app, "user", "switch", "help@example.com", "on")[0] == 0
    db.session.rollback()
    assert sessions.find(token) is None, "what was signed out stays so"
    assert users.sign_in("help@example.com", password, "127.0.0.1") is not None


def test_a_link_is_taken_back_before_it_is_used(app: Flask) -> None:
    run(app, "workspace", "create", "first")
    run(app, "workspace", "create", "second")
    run(app, "user", "add", "owner@example.com", "--workspace", "first")
    _, said = run(app, "user", "add", "owner@example.com", "--workspace", "second")
    token = said.rpartition("/join/")[2].split()[0]
    person = users.by_email("owner@example.com")
    assert person is not None
    assert invitations.read(token, person) is not None
    code, said = run(app, "user", "uninvite", " Owner@example.com", "--workspace", "second")
    assert (code, said) == (0, "Links that asked owner@example.com into second work no more.")
    db.session.rollback()
    assert invitations.read(token, person) is None
    code, said = run(app, "user", "uninvite", "owner@example.com", "--workspace", "first")
    assert (code, said) == (1, "Error: owner@example.com has joined first. An owner removes them in its settings.")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("workspace", "create", "Acme Shop"), "A slug is 1 to 60 small letters"),
        (("workspace", "create", "mine"), "There is a workspace mine already."),
        (("store", "add", "se", "--workspace", "nowhere"), "There is no workspace nowhere."),
        (("user", "add", "owner@example.com"), "An owner needs --workspace."),
        (("user", "add", "taken@example.com", "--workspace", "mine"), "This person is a member already."),
        (("user", "add", "taken@example.com", "--role", "support"), "taken@example.com can sign in already."),
        (("user", "add", "nonsense", "--workspace", "mine"), "Type a whole e-mail address"),
        (("user", "add", "a@example.com", "--workspace", "mine", "--password", "x"), "A password has 10 characters"),
        (("store", "add", "", "--workspace", "mine"), "Type the id the platform posts for this store."),
        (("user", "password", "nobody@example.com"), "Nobody signs in as nobody@example.com."),
        (("user", "password", "taken@example.com", "--password", "x"), "A password has 10 characters"),
        (("user", "uninvite", "nobody@example.com", "--workspace", "mine"), "Nobody signs in as nobody@example.com."),
        (("user", "switch", "nobody@example.com", "off"), "Nobody signs in as nobody@example.com."),
        (("ingest-key", "revoke", "7", "--workspace", "mine"), "mine has no such living key."),
        (("demo", "seed"), "The demo is for one machine, and these name another: KLAVIYO_API_URL."),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    app: Flask, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    run(app, "workspace", "create", "mine")
    run(app, "user", "add", "taken@example.com", "--workspace", "mine", "--password", "a long password")
    from dataclasses import replace

    values = app.extensions["cevoid.settings"]
    app.extensions["cevoid.settings"] = replace(values, klaviyo_api_url="https://klaviyo.example.com")
    code, said = run(app, *words)
    assert code == 1
    assert says in said
    assert "Traceback" not in said


def test_the_doctor_says_a_line_about_everything(app: Flask) -> None:
    code, said = run(app, "doctor")
    lines = dict(line.split(": ", 1) for line in said.splitlines())
    assert code == 1  # Redis and Klaviyo are nowhere in these tests
    assert lines["database"] == "ok, answers"
    assert lines["schema"] == "ok, is there"
    assert lines["redis"].startswith("BAD: ConnectionError.")
    assert lines["workers"].startswith("BAD: unknown while Redis is away")
    assert lines["klaviyo"].startswith("BAD: ConnectionError.")
    assert lines["TOKEN_KEYS"] == "ok, 1 PRESENT"
    assert lines["KLAVIYO_CLIENT_SECRET"] == lines["KLAVIYO_CLIENT_ID"] == "ok, the sandbox's app"
    assert lines["SECRET_KEY_FALLBACKS"] == "ok, none"
    assert lines["MAIL_FROM"] == lines["MAIL_URL"]
    assert "a test's secret key" not in said


def test_a_database_of_another_version_is_named_before_anything_breaks(any_app: Flask) -> None:
    with db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE sessions DROP COLUMN browser"))
    code, said = run(any_app, "demo", "seed")
    assert code == 1
    assert "made by another version of this program (it lacks sessions.browser)" in said
    assert "schema: BAD: The database was made by another version" in run(any_app, "doctor")[1]


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_database_without_tables_is_one_sentence(backend: str, tmp_path: Path) -> None:
    with own_app(backend, tmp_path) as app:
        db.drop_all()
        for words in (
            ("workspace", "create", "acme"),
            ("store", "add", "se", "--workspace", "acme"),
            ("user", "add", "owner@example.com", "--workspace", "acme"),
            ("ingest-key", "create", "--workspace", "acme"),
        ):
            code, said = run(app, *words)
            assert (code, said.splitlines()) == (1, [said])
            assert said.endswith("make them with: flask --app wsgi db upgrade")


def test_a_mistake_of_ours_is_not_taken_for_an_absent_database(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise ProgrammingError("SELECT", {}, Exception("column does not exist"))

    monkeypatch.setattr(stores, "put", wrong)
    run(app, "workspace", "create", "acme")
    found = app.test_cli_runner().invoke(args=["store", "add", "se", "--workspace", "acme"])
    assert isinstance(found.exception, ProgrammingError)
