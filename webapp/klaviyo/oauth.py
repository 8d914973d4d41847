"""Klaviyo's OAuth through Authlib's OAuth2Session: URL, exchange, refresh, revoke. A fresh session per use, no state.

An answer without `access_token` is no token, whatever its status: Authlib hands back a JSON 429 as if it were one.
Only `invalid_grant` and `invalid_grant_type` end a grant; everything else may pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

from webapp.klaviyo.watchdog import TooLate, Watch, WatchedAdapter

SECONDS = 10
ENDED = {"invalid_grant", "invalid_grant_type"}


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What Klaviyo granted. `expires_in` is seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    scopes: frozenset[str]

    def __repr__(self) -> str:
        return f"TokenSet(expires_in={self.expires_in}, scopes={sorted(self.scopes)})"


class OAuthProblem(Exception):
    """A token request that gave no token. `ended`: the grant or code is over for good; else it may pass later."""

    def __init__(self, kind: str, *, ended: bool) -> None:
        super().__init__(f"Klaviyo gave no token ({kind}).")
        self.kind = kind
        self.ended = ended


@dataclass(frozen=True, slots=True)
class OAuthApp:
    """Our app at Klaviyo. `api_url` has the token and revoke endpoints."""

    client_id: str
    client_secret: str = field(repr=False)
    authorize_url: str
    api_url: str
    redirect_uri: str

    def authorize(self, state: str, verifier: str, scopes: tuple[str, ...]) -> str:
        """The address to send a person to."""
        with self._session(scope=" ".join(scopes)) as session:
            url, _ = session.create_authorization_url(self.authorize_url, state=state, code_verifier=verifier)
        return str(url)

    def exchange(self, code: str, verifier: str) -> TokenSet:
        """A code for tokens. Raises OAuthProblem."""
        with self._session() as session:
            return _tokens(
                lambda: session.fetch_token(
                    f"{self.api_url}/oauth/token", code=code, code_verifier=verifier, timeout=SECONDS
                )
            )

    def refresh(self, refresh_token: str, deadline: float | None = None) -> TokenSet:
        """A new pair, asked for only before `deadline` (monotonic seconds). Raises OAuthProblem."""
        with self._session() as session:
            return _tokens(
                lambda: session.refresh_token(
                    f"{self.api_url}/oauth/token", refresh_token=refresh_token, timeout=SECONDS
                ),
                fallback_refresh=refresh_token,
                deadline=deadline,
            )

    def revoke(self, refresh_token: str) -> bool:
        """Whether Klaviyo took the revocation (it uninstalls the app in that account). Never raises."""
        with self._session() as session:
            try:
                answer = session.revoke_token(
                    f"{self.api_url}/oauth/revoke",
                    token=refresh_token,
                    token_type_hint="refresh_token",  # noqa: S106 - the hint's name, no secret
                    timeout=SECONDS,
                )
            except (requests.RequestException, AuthlibBaseError):
                return False
        return bool(answer.status_code == 200)

    def _session(self, **options: Any) -> OAuth2Session:
        session = OAuth2Session(
            self.client_id,
            self.client_secret,
            token_endpoint_auth_method="client_secret_basic",  # noqa: S106 - a method's name
            redirect_uri=self.redirect_uri,
            code_challenge_method="S256",
            default_timeout=SECONDS,
            **options,
        )
        session.trust_env = False
        session.max_redirects = 0
        for scheme in ("http://", "https://"):
            session.mount(scheme, WatchedAdapter(max_retries=0))
        return session


def new_verifier() -> str:
    """A PKCE verifier of 64 characters."""
    return str(generate_token(64))


def _tokens(ask: Any, fallback_refresh: str | None = None, deadline: float | None = None) -> TokenSet:
    """What `ask` brings within SECONDS in all: an answer that drips must not outlive the lease of whoever refreshes."""
    try:
        with Watch(SECONDS, deadline):
            answer = ask()
    except TooLate:
        raise OAuthProblem("too late", ended=False) from None
    except AuthlibBaseError as problem:
        kind = str(problem.error or "unknown")
        raise OAuthProblem(kind, ended=kind in ENDED) from None
    except (requests.RequestException, ValueError, TypeError, AttributeError, RecursionError):
        # Not JSON, such as a 403 page of Klaviyo's edge; JSON that is no object, or is nested too deep.
        raise OAuthProblem("unreachable", ended=False) from None
    access = answer.get("access_token") if isinstance(answer, dict) else None
    refresh = (answer.get("refresh_token") or fallback_refresh) if access else None
    if not access or not refresh:
        kind = str((answer or {}).get("error") or "no token") if isinstance(answer, dict) else "no token"
        raise OAuthProblem(kind, ended=kind in ENDED)
    return TokenSet(
        access_token=str(access),
        refresh_token=str(refresh),
        expires_in=_seconds(answer.get("expires_in")),
        scopes=frozenset(str(answer.get("scope") or "").split()),
    )


def _seconds(expires_in: Any) -> int:
    """Klaviyo's hour where it does not say."""
    text = str(expires_in)
    return int(text) if re.fullmatch("[0-9]{1,8}", text) and int(text) else 3600
