"""OAuth: the consent page, PKCE, codes, refresh, revoking, and every reading of what Klaviyo might do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.sandbox.authorizing import REDIRECT, App, came_back, challenge_of, form_of
from tests.sandbox_process import SandboxProcess

SCOPES = "accounts:read lists:read profiles:read profiles:write"


@pytest.fixture
def app(sandbox: SandboxProcess) -> App:
    return App(sandbox)


@pytest.fixture(scope="module")
def other_readings() -> Iterator[SandboxProcess]:
    """A sandbox where refresh tokens rotate, a new grant replaces the old, and only one redirect is listed."""
    options = (
        *("--memory", "--limits", "off", "--refresh", "rotates", "--reauthorize", "replaces"),
        *("--redirect-uri", "https://app.test/callback", "--token-seconds", "120"),
    )
    with SandboxProcess(*options) as started:
        yield started


def _error(answer: requests.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"].startswith("application/json")
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    return answer.status_code, body["error"]


# the consent page


def test_page_shows_accounts_and_scopes(app: App, account: str) -> None:
    page = app.visit()
    hidden, accounts, scopes = form_of(page.text)
    assert account in accounts
    assert scopes == SCOPES.split()
    assert dict(hidden) == app.parameters()
    assert "Set-Cookie" not in page.headers
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


def test_page_escapes_what_it_is_given(app: App) -> None:
    page = app.visit(state='"><script>alert(1)</script>')
    assert page.status_code == 200
    assert "<script>" not in page.text


def test_allowing_comes_back_with_code_and_state(app: App, account: str) -> None:
    back = came_back(app.decide(account))
    assert set(back) == {"code", "state"}
    assert back["state"] == app.state


def test_denying_comes_back_with_error_and_state(app: App, account: str) -> None:
    back = came_back(app.decide(account, decision="deny"))
    assert set(back) == {"error", "error_description", "state"}
    assert (back["error"], back["state"]) == ("access_denied", app.state)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "lists:read lists:steal"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"state": None}, "invalid_request"),
    ],
)
def test_wrong_request_comes_back(app: App, changes: dict[str, str | None], error: str) -> None:
    assert came_back(app.visit(**changes))["error"] == error


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "somebody"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "https://127.0.0.1/callback#x"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "http://["},
        {"redirect_uri": "http://127.0.0.1:99999/callback"},
    ],
)
def test_nobody_is_sent_to_an_address_that_is_not_the_apps(app: App, changes: dict[str, str | None]) -> None:
    answer = app.visit(**changes)
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_unknown_account_is_not_allowed(app: App) -> None:
    assert app.decide("NOSUCH").status_code == 400


def test_listed_redirect_is_taken_character_for_character(other_readings: SandboxProcess) -> None:
    app = App(other_readings)
    assert app.visit(redirect_uri="https://app.test/callback").status_code == 200
    assert app.visit(redirect_uri="https://app.test/callback/").status_code == 400


# the code


def test_exchange_gives_tokens_and_the_granted_scopes(app: App, account: str) -> None:
    answer = app.exchange(app.code(account))
    assert answer.headers["Cache-Control"] == "no-store"
    found = answer.json()
    assert set(found) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (found["token_type"], found["expires_in"], found["scope"]) == ("Bearer", 3600, SCOPES)
    assert app.works(found["access_token"])


def test_scopes_are_what_was_ticked(app: App, account: str) -> None:
    found = app.connect(account, without=("profiles:write", "accounts:read"))
    # accounts:read is always granted.
    assert found["scope"] == "accounts:read lists:read profiles:read"
    assert app.refresh(found["refresh_token"]).json()["scope"] == found["scope"]


def test_code_is_good_once(app: App, account: str) -> None:
    code = app.code(account)
    assert app.exchange(code).ok
    assert _error(app.exchange(code)) == (400, "invalid_grant")


def test_wrong_verifier(app: App, account: str) -> None:
    code = app.code(account)
    answer = app.exchange(code, code_verifier="x" * 43)
    assert (_error(answer), answer.json()["error_description"]) == ((400, "invalid_grant"), "Code challenge failed.")
    # The code is spent all the same.
    assert _error(app.exchange(code)) == (400, "invalid_grant")


@pytest.mark.parametrize("verifier", ["", "x" * 42, "x" * 129, "å" * 50, "x y" * 20])
def test_malformed_verifier(app: App, account: str, verifier: str) -> None:
    answer = app.exchange(app.code(account), code_verifier=verifier)
    assert (answer.status_code, answer.json()["error_description"]) == (400, 'Invalid "code_verifier".')


def test_challenge_is_sha256_without_padding() -> None:
    # The example of RFC 7636, appendix B.
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_exchange_needs_the_same_redirect(app: App, account: str) -> None:
    answer = app.exchange(app.code(account), redirect_uri=REDIRECT + "&x=1")
    assert _error(answer) == (400, "invalid_grant")


def test_unknown_code(app: App) -> None:
    assert _error(app.exchange("nonsense")) == (400, "invalid_grant")


# the token endpoint


@pytest.mark.parametrize("auth", [None, ("sandbox-client", "wrong"), ("wrong", "sandbox-secret"), ("", "")])
def test_wrong_client(app: App, auth: tuple[str, str] | None) -> None:
    answer = app.token(auth=auth, grant_type="refresh_token", refresh_token="x")
    assert _error(answer) == (401, "invalid_client")
    assert _error(app.revoke("x", auth=auth)) == (401, "invalid_client")


def test_wrong_grant_type_and_wrong_body(app: App, sandbox: SandboxProcess) -> None:
    assert _error(app.token(grant_type="password")) == (400, "invalid_grant_type")
    assert _error(app.token()) == (400, "invalid_grant_type")
    answer = sandbox.session.post(
        f"{sandbox.url}/oauth/token",
        json={"grant_type": "refresh_token"},
        auth=("sandbox-client", "sandbox-secret"),
        timeout=10,
    )
    assert _error(answer) == (400, "invalid_grant_type")


def test_unknown_refresh_token(app: App) -> None:
    assert _error(app.refresh("nonsense")) == (400, "invalid_grant")


# readings: what a refresh and a new authorization do to what was there


def test_refresh_keeps(app: App, account: str) -> None:
    first = app.connect(account)
    again = app.refresh(first["refresh_token"]).json()
    assert again["refresh_token"] == first["refresh_token"]
    assert again["access_token"] != first["access_token"]
    assert app.works(first["access_token"])
    assert app.works(again["access_token"])
    assert app.refresh(first["refresh_token"]).ok


def test_refresh_rotates_and_reuse_ends_the_grant(other_readings: SandboxProcess) -> None:
    app = App(other_readings)
    first = app.connect("ACCTSE")
    assert first["expires_in"] == 120
    second = app.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    third = app.refresh(second["refresh_token"]).json()
    assert app.works(third["access_token"])
    assert _error(app.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert _error(app.refresh(third["refresh_token"])) == (400, "invalid_grant")
    assert not app.works(third["access_token"])


def test_reauthorizing_keeps(app: App, account: str) -> None:
    first, second = app.connect(account), app.connect(account)
    assert app.works(first["access_token"])
    assert app.works(second["access_token"])
    assert app.refresh(first["refresh_token"]).ok


def test_reauthorizing_replaces(other_readings: SandboxProcess) -> None:
    app = App(other_readings)
    first, elsewhere = app.connect("ACCTNO"), app.connect("ACCTDE")
    second = app.connect("ACCTNO")
    assert not app.works(first["access_token"])
    assert _error(app.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert app.works(second["access_token"])
    assert app.works(elsewhere["access_token"])


# endings


@pytest.mark.parametrize("which", ["refresh_token", "access_token"])
def test_revoking_removes_the_app_from_the_account(app: App, sandbox: SandboxProcess, account: str, which: str) -> None:
    first, second = app.connect(account), app.connect(account)
    assert app.revoke(first[which]).status_code == 200
    for each in (first, second):
        assert not app.works(each["access_token"])
        assert _error(app.refresh(each["refresh_token"])) == (400, "invalid_grant")
    assert sandbox.accounts()[account]["scopes"] == []


def test_revoking_what_is_not_known_is_no_error(app: App) -> None:
    assert app.revoke("nonsense").status_code == 200


def test_merchant_removes_the_app(app: App, sandbox: SandboxProcess, account: str) -> None:
    found = app.connect(account)
    assert sandbox.accounts()[account]["scopes"] == SCOPES.split()
    sandbox.uninstall(account)
    assert not app.works(found["access_token"])
    assert _error(app.refresh(found["refresh_token"])) == (400, "invalid_grant")


def test_expired_access_token_is_refreshed(app: App, sandbox: SandboxProcess, account: str) -> None:
    found = app.connect(account)
    sandbox.expire(account)
    assert not app.works(found["access_token"])
    assert app.works(app.refresh(found["refresh_token"]).json()["access_token"])


def test_front_page_leads_to_installing(sandbox: SandboxProcess, account: str) -> None:
    sandbox.grant(account)
    page = sandbox.session.get(f"{sandbox.url}/", timeout=10)
    assert page.ok
    assert account in page.text
    assert "/integrations/klaviyo/install" in page.text
