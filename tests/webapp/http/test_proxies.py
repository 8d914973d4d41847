"""Where a call comes from: the connection says so, or as many proxies as there are, and never the caller."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import request

from tests.apps import dispose, make_app
from tests.browsing import token_in
from webapp import clock
from webapp.crypto import digest
from webapp.database import writing
from webapp.http import access
from webapp.models import SignInFailure

MADE_UP = "10.9.9.9, 192.0.2.7"


@pytest.mark.parametrize(
    ("proxies", "seen"), [("0", "127.0.0.1"), ("1", "192.0.2.7"), ("2", "10.9.9.9"), ("3", "127.0.0.1")]
)
def test_nobody_makes_their_address_up(tmp_path: Path, proxies: str, seen: str) -> None:
    app = make_app("sqlite", tmp_path, TRUSTED_PROXIES=proxies)
    app.add_url_rule("/probe", "probe", access.public(lambda: f"{request.remote_addr} {request.url}"))
    noted = {"X-Forwarded-For": MADE_UP, "X-Forwarded-Host": "evil.example.com", "X-Forwarded-Proto": "https"}
    answer = app.test_client().get("/probe", headers={**noted, "X-Forwarded-Prefix": "/evil", "Forwarded": "for=evil"})
    assert answer.text == f"{seen} http://localhost/probe"
    with app.app_context():
        dispose(app)


def test_one_who_guesses_keeps_nobody_out_behind_a_proxy(tmp_path: Path) -> None:
    app = make_app("sqlite", tmp_path, TRUSTED_PROXIES="1")
    app.config["WTF_CSRF_ENABLED"] = False

    def sign_in(address: str) -> int:
        form = {"email": "ada@example.com", "password": "wrong"}
        return app.test_client().post("/sign-in", data=form, headers={"X-Forwarded-For": address}).status_code

    with app.app_context():
        with writing() as session:
            guessed = SignInFailure(subject=digest("address:192.0.2.7"), failures=100, last_at=clock.now())
            session.add(guessed)
        assert sign_in("192.0.2.7") == 429
        assert sign_in("192.0.2.8") == 422
        dispose(app)


def test_a_form_is_taken_whatever_name_a_proxy_has_for_us(tmp_path: Path) -> None:
    """Many proxies call us by our inner name, and say that people came by TLS, which the web server believes them."""
    app = make_app("sqlite", tmp_path, PUBLIC_URL="https://acme.example.com")
    client, ours = (
        app.test_client(),
        {"Origin": "https://acme.example.com", "Referer": "https://acme.example.com/sign-in"},
    )
    with app.app_context():
        inside = "https://10.0.0.5:8000"
        form = {"email": "ada@example.com", "password": "wrong"}
        form["csrf_token"] = token_in(client.get("/sign-in", base_url=inside).text)

        def sent(headers: dict[str, str]) -> int:
            return client.post("/sign-in", base_url=inside, data=form, headers=headers).status_code

        assert [sent({}), sent(ours), sent({"Origin": "https://10.0.0.5:8000"})] == [422, 422, 422]
        for elsewhere in (
            "https://evil.example.com",
            "https://acme.example.com.evil.example.com",
            "null",
            "http://[::1",
        ):
            assert sent({"Origin": elsewhere}) == 403, elsewhere
        assert sent({**ours, "Sec-Fetch-Site": "same-site"}) == 403
        dispose(app)
