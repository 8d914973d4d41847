"""OAuth at Klaviyo: what is asked, what counts as a token, and which answers end a grant."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from responses import RequestsMock

from webapp.klaviyo.oauth import OAuthApp, OAuthProblem, TokenSet, new_verifier
from webapp.klaviyo.scopes import ASKED

APP = OAuthApp(
    client_id="client-1",
    client_secret="secret-1",
    authorize_url="https://www.klaviyo.test/oauth/authorize",
    api_url="https://a.klaviyo.test",
    redirect_uri="https://cevoid.test/integrations/klaviyo/callback",
)
TOKEN, REVOKE = f"{APP.api_url}/oauth/token", f"{APP.api_url}/oauth/revoke"
GOOD = {
    "access_token": "access-2",
    "refresh_token": "refresh-2",
    "expires_in": 1800,
    "scope": "events:write profiles:read",
    "token_type": "bearer",
}
Ask = Callable[[], TokenSet]
ASKS: list[Ask] = [lambda: APP.exchange("code-1", "verifier-1"), lambda: APP.refresh("refresh-1")]


@pytest.fixture
def klaviyo() -> Any:
    """A token endpoint that must be asked everything it was told."""
    with RequestsMock(assert_all_requests_are_fired=True) as mock:
        yield mock


def sent(klaviyo: RequestsMock) -> dict[str, str]:
    body = klaviyo.calls[0].request.body
    text = body.decode() if isinstance(body, bytes) else str(body)
    return {name: values[0] for name, values in parse_qs(text).items()}


def test_the_address_has_a_challenge_made_of_the_verifier() -> None:
    verifier = new_verifier()
    url = urlsplit(APP.authorize("state-1", verifier, ASKED))
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    digest = hashlib.sha256(verifier.encode()).digest()
    assert f"{url.scheme}://{url.netloc}{url.path}" == APP.authorize_url
    assert query == {
        "response_type": "code",
        "client_id": "client-1",
        "redirect_uri": APP.redirect_uri,
        "scope": " ".join(ASKED),
        "state": "state-1",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    assert verifier not in url.query
    assert len(verifier) == 64
    assert verifier != new_verifier()


def test_a_code_is_exchanged_with_its_verifier(klaviyo: RequestsMock) -> None:
    klaviyo.post(TOKEN, json=GOOD)
    tokens = APP.exchange("code-1", "verifier-1")
    assert (tokens.access_token, tokens.refresh_token, tokens.expires_in) == ("access-2", "refresh-2", 1800)
    assert tokens.scopes == {"events:write", "profiles:read"}
    body = sent(klaviyo)
    assert (body["grant_type"], body["code"], body["code_verifier"]) == ("authorization_code", "code-1", "verifier-1")
    assert body["redirect_uri"] == APP.redirect_uri
    assert "client_secret" not in body
    header = klaviyo.calls[0].request.headers["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")) == b"client-1:secret-1"


def test_a_refresh_gives_the_new_pair(klaviyo: RequestsMock) -> None:
    klaviyo.post(TOKEN, json=GOOD)
    tokens = APP.refresh("refresh-1")
    assert (tokens.access_token, tokens.refresh_token) == ("access-2", "refresh-2")
    assert (sent(klaviyo)["grant_type"], sent(klaviyo)["refresh_token"]) == ("refresh_token", "refresh-1")


def test_a_refresh_that_does_not_rotate_keeps_the_old_one(klaviyo: RequestsMock) -> None:
    klaviyo.post(TOKEN, json={"access_token": "access-2", "expires_in": 3600})
    tokens = APP.refresh("refresh-1")
    assert (tokens.refresh_token, tokens.scopes) == ("refresh-1", frozenset())


@pytest.mark.parametrize("expires_in", [None, -5, 0, "", [], 10**12])
def test_an_end_that_makes_no_sense_is_an_hour(klaviyo: RequestsMock, expires_in: Any) -> None:
    klaviyo.post(TOKEN, json={**GOOD, "expires_in": expires_in})
    assert APP.refresh("refresh-1").expires_in == 3600


THROTTLED = {"errors": [{"code": "throttled", "detail": "Request was throttled.", "status": 429}]}
HTML = "<html>Access denied</html>"


@pytest.mark.parametrize("ask", ASKS, ids=["exchange", "refresh"])
@pytest.mark.parametrize("depth", [900, 100_000])
def test_an_answer_of_lists_within_lists_gives_no_token(klaviyo: RequestsMock, ask: Any, depth: int) -> None:
    klaviyo.post(TOKEN, status=400, body='{"error":%s}' % ("[" * depth + "]" * depth), content_type="application/json")
    with pytest.raises(OAuthProblem) as problem:
        ask()
    assert not problem.value.ended


@pytest.mark.parametrize("ask", ASKS, ids=["exchange", "refresh"])
@pytest.mark.parametrize(
    ("status", "body", "kind", "ended"),
    [
        (429, THROTTLED, "no token", False),
        (200, {}, "no token", False),
        (200, {"refresh_token": "refresh-2"}, "no token", False),
        (200, {"access_token": ""}, "no token", False),
        (200, [], "unreachable", False),
        (200, 5, "unreachable", False),
        (200, None, "unreachable", False),
        (400, {"error": "invalid_grant"}, "invalid_grant", True),
        (401, {"error": "invalid_grant", "error_description": "for refresh-1"}, "invalid_grant", True),
        (400, {"error": "invalid_grant_type"}, "invalid_grant_type", True),
        (400, {"error": "invalid_request"}, "invalid_request", False),
        (401, {"error": "invalid_client"}, "invalid_client", False),
        (400, {"error": "unauthorized_client"}, "unauthorized_client", False),
        (200, {"error": "invalid_grant"}, "invalid_grant", True),
        (403, HTML, "unreachable", False),
        (200, HTML, "unreachable", False),
        (429, HTML, "unreachable", False),
        (500, HTML, "unreachable", False),
        (502, {"error": "invalid_grant"}, "unreachable", False),
        (503, "", "unreachable", False),
        (302, "", "unreachable", False),
    ],
)
def test_an_answer_without_a_token_is_no_token(
    klaviyo: RequestsMock, ask: Ask, status: int, body: Any, kind: str, ended: bool
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    content = "text/html" if isinstance(body, str) else "application/json"
    klaviyo.post(TOKEN, status=status, body=text, content_type=content, headers={"Location": "https://else.test"})
    with pytest.raises(OAuthProblem) as caught:
        ask()
    assert (caught.value.kind, caught.value.ended) == (kind, ended)
    assert len(klaviyo.calls) == 1
    said = f"{caught.value} {caught.value!r} {caught.value.__cause__}"
    assert not any(secret in said for secret in ("refresh-1", "code-1", "secret-1", "verifier-1"))


@pytest.mark.parametrize("ask", ASKS, ids=["exchange", "refresh"])
@pytest.mark.parametrize("problem", [requests.ConnectionError(), requests.Timeout(), requests.exceptions.SSLError()])
def test_a_failure_on_the_way_may_pass(klaviyo: RequestsMock, ask: Ask, problem: Exception) -> None:
    klaviyo.post(TOKEN, body=problem)
    with pytest.raises(OAuthProblem) as caught:
        ask()
    assert (caught.value.kind, caught.value.ended) == ("unreachable", False)


@pytest.mark.parametrize(
    ("status", "body", "taken"), [(200, "{}", True), (200, "", True), (400, "{}", False), (500, HTML, False)]
)
def test_revoking_says_whether_it_was_taken(klaviyo: RequestsMock, status: int, body: str, taken: bool) -> None:
    klaviyo.post(REVOKE, status=status, body=body)
    assert APP.revoke("refresh-1") is taken
    assert (sent(klaviyo)["token"], sent(klaviyo)["token_type_hint"]) == ("refresh-1", "refresh_token")


def test_revoking_at_an_absent_klaviyo_is_not_taken(klaviyo: RequestsMock) -> None:
    klaviyo.post(REVOKE, body=requests.ConnectionError())
    assert APP.revoke("refresh-1") is False


def test_nothing_secret_is_shown() -> None:
    shown = repr(TokenSet("access-2", "refresh-2", 5, frozenset({"a:read"}))) + repr(APP)
    assert not any(secret in shown for secret in ("access-2", "refresh-2", "secret-1"))
