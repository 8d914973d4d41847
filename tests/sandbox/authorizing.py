"""An app that sends a person to the stand-in's consent page and turns what comes back into tokens."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from tests.sandbox_process import CLIENT, SandboxProcess

REDIRECT = "http://127.0.0.1:9/callback?from=klaviyo"


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def form_of(page: str) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Hidden fields, accounts and ticked scopes of a consent page."""
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    accounts = re.findall(r'name="account" value="([^"]+)"', page)
    scopes = re.findall(r'name="granted" value="([^"]+)"', page)
    return [(name, html.unescape(value)) for name, value in hidden], accounts, scopes


class App:
    """One app at one stand-in; the verifier and state are fresh for every instance."""

    def __init__(self, sandbox: SandboxProcess) -> None:
        self._sandbox = sandbox
        self.verifier = secrets.token_urlsafe(48)
        self.state = secrets.token_urlsafe(8)

    def parameters(self, **changes: str | None) -> dict[str, str]:
        """What goes to the authorize page; a change to None leaves a parameter out."""
        standard: dict[str, str | None] = {
            "response_type": "code",
            "client_id": CLIENT[0],
            "redirect_uri": REDIRECT,
            "scope": "lists:read profiles:read profiles:write",
            "state": self.state,
            "code_challenge_method": "S256",
            "code_challenge": challenge_of(self.verifier),
        }
        return {name: value for name, value in {**standard, **changes}.items() if value is not None}

    def visit(self, **changes: str | None) -> requests.Response:
        """Open the authorize page."""
        return self._sandbox.session.get(
            f"{self._sandbox.url}/oauth/authorize",
            params=self.parameters(**changes),
            timeout=10,
            allow_redirects=False,
        )

    def decide(
        self, account: str, *, decision: str = "allow", without: tuple[str, ...] = (), **changes: str | None
    ) -> requests.Response:
        """Open the page and press a button there, with some scopes unticked."""
        page = self.visit(**changes)
        assert page.status_code == 200, page.text
        hidden, _, scopes = form_of(page.text)
        ticked = [("granted", scope) for scope in scopes if scope not in without]
        return self._sandbox.session.post(
            f"{self._sandbox.url}/oauth/authorize",
            data=[*hidden, *ticked, ("account", account), ("decision", decision)],
            timeout=10,
            allow_redirects=False,
        )

    def code(self, account: str, **rest: Any) -> str:
        """A code for an account that was allowed."""
        return came_back(self.decide(account, **rest))["code"]

    def token(self, auth: tuple[str, str] | None = CLIENT, **form: str) -> requests.Response:
        """A call of the token endpoint."""
        return self._sandbox.session.post(f"{self._sandbox.url}/oauth/token", data=form, auth=auth, timeout=10)

    def exchange(self, code: str, **changes: str) -> requests.Response:
        """Exchange a code."""
        standard = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": self.verifier,
            "redirect_uri": REDIRECT,
        }
        return self.token(auth=CLIENT, **{**standard, **changes})

    def refresh(self, refresh_token: str) -> requests.Response:
        """Refresh."""
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def revoke(self, token: str, auth: tuple[str, str] | None = CLIENT) -> requests.Response:
        """Revoke."""
        data = {"token": token, "token_type_hint": "refresh_token"}
        return self._sandbox.session.post(f"{self._sandbox.url}/oauth/revoke", data=data, auth=auth, timeout=10)

    def connect(self, account: str, **rest: Any) -> dict[str, Any]:
        """The whole way; the token endpoint's JSON."""
        answer = self.exchange(self.code(account, **rest))
        assert answer.ok, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def works(self, access_token: str) -> bool:
        """Whether an access token is good."""
        headers = {"Authorization": f"Bearer {access_token}", "revision": "2026-07-15"}
        answer = self._sandbox.session.get(f"{self._sandbox.url}/api/accounts", headers=headers, timeout=10)
        assert answer.status_code in {200, 401}, answer.text
        return answer.ok


def came_back(answer: requests.Response) -> dict[str, str]:
    """The query of a redirect back to the app."""
    assert answer.status_code == 303, answer.text
    where = urlsplit(answer.headers["Location"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == REDIRECT.partition("?")[0]
    found = {name: values[0] for name, values in parse_qs(where.query).items()}
    assert found.pop("from") == "klaviyo"
    return found
