"""The demo's password and keys, which everybody knows: they open the demo, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.apps import lent_app
from webapp import demo
from webapp.database import writing
from webapp.models import User
from webapp.services.workspaces import users

SIGN_INS = ("owner@demo.test", "support@demo.test", "owner@other.test")
KEYS = ("demo-ingest-key", "other-ingest-key")


@pytest.fixture(
    params=[
        {},
        {"KLAVIYO_CLIENT_ID": "ours", "KLAVIYO_CLIENT_SECRET": "ours"},
        {"PUBLIC_URL": "http://acme.example.com"},
    ]
)
def seeded(request: pytest.FixtureRequest) -> Iterator[tuple[Flask, bool]]:
    """An app with the demo's rows, and whether it is the demo."""
    with lent_app("sqlite", **request.param) as lent:
        lent.config["WTF_CSRF_ENABLED"] = False
        demo.seed()
        yield lent, not request.param


def test_they_open_the_demo_and_nothing_else(seeded: tuple[Flask, bool]) -> None:
    app, is_demo = seeded
    for email in SIGN_INS:
        form = {"email": email, "password": "demo-password"}
        assert app.test_client().post("/sign-in", data=form).status_code == (303 if is_demo else 422)
    for key in KEYS:
        asked = app.test_client().get("/api/v1/activities/a-1", headers={"Authorization": f"Bearer {key}"})
        assert asked.status_code == (404 if is_demo else 401)


def test_another_password_of_theirs_is_as_good_as_anybodys(seeded: tuple[Flask, bool]) -> None:
    with writing() as session:
        person = session.query(User).filter_by(email="owner@demo.test").one()
        person.password_hash = users.hash_password("one nobody printed")
    assert users.sign_in("owner@demo.test", "one nobody printed", "127.0.0.1") is not None
