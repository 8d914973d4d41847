"""OAuth with PKCE: the consent page, the token endpoint, revoking."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import orjson
from aiohttp import web

from sandbox import consent_page
from sandbox.errors import Refused, throttled
from sandbox.state.grants import REFRESHES_A_MINUTE
from sandbox.state.records import Grant
from sandbox.state.world import World

SCOPES = (
    "accounts:read",
    "events:read",
    "events:write",
    "lists:read",
    "lists:write",
    "metrics:read",
    "metrics:write",
    "profiles:read",
    "profiles:write",
    "subscriptions:read",
    "subscriptions:write",
    "webhooks:read",
    "webhooks:write",
    "segments:read",
    "data-privacy:write",
)
ALWAYS_GRANTED = "accounts:read"
_VERIFIER = re.compile(r"[a-zA-Z0-9\-._~]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class OAuthError(Exception):
    """The token endpoint's refusal."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error, self.description, self.status = error, description, status


class OAuth:
    """The three endpoints over one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    # the consent page

    def _redirect_allowed(self, uri: str) -> bool:
        try:
            parts = urlsplit(uri)
            on_loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK and (parts.port or 1) > 0
        except ValueError:  # half an IPv6 address, a port that is none
            return False
        return (on_loopback and not parts.fragment) or uri in self._world.options.redirect_uris

    def _asked(self, values: Any) -> tuple[list[str], tuple[str, str] | None]:
        """The scopes a request asks for, and what is wrong with it as (error, description)."""
        scopes = sorted({ALWAYS_GRANTED, *values.get("scope", "").split()})
        wrong = None
        if values.get("response_type") != "code":
            wrong = ("unsupported_response_type", "response_type must be code.")
        elif values.get("code_challenge_method") != "S256":
            wrong = ("invalid_request", "code_challenge_method must be S256.")
        elif not _CHALLENGE.fullmatch(values.get("code_challenge", "")):
            wrong = ("invalid_request", "code_challenge is missing or not a SHA-256 in base64url.")
        elif not values.get("state"):
            wrong = ("invalid_request", "state is missing.")
        else:
            unknown = [scope for scope in scopes if scope not in SCOPES]
            if unknown:
                wrong = ("invalid_scope", f"Unknown scope: {' '.join(unknown)}.")
        return scopes, wrong

    async def authorize(self, request: web.Request) -> web.Response:
        """Show the consent page (GET), or act on what was decided there (POST)."""
        values: Any = request.query if request.method == "GET" else await request.post()
        options = self._world.options
        if values.get("client_id") != options.client_id:
            return consent_page.refused("No app has this client_id.")
        redirect_uri = values.get("redirect_uri", "")
        if not self._redirect_allowed(redirect_uri):
            return consent_page.refused("The redirect_uri is not one of the app's.")
        scopes, wrong = self._asked(values)
        state = values.get("state", "")
        if wrong is not None:
            return _back(redirect_uri, state, error=wrong[0], error_description=wrong[1])
        if request.method == "GET":
            return consent_page.shown(self._world, values, scopes)
        if values.get("decision") != "allow":
            return _back(redirect_uri, state, error="access_denied", error_description="The user denied access.")
        account = values.get("account", "")
        if account not in self._world.accounts:
            return consent_page.refused("Choose an account.")
        ticked = {ALWAYS_GRANTED, *values.getall("granted", [])}
        granted = [scope for scope in scopes if scope in ticked]
        code = self._world.grants.new_code(account, granted, redirect_uri, values["code_challenge"])
        return _back(redirect_uri, state, code=code)

    # the token endpoint

    def _check_client(self, request: web.Request) -> None:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            client_id = secret = ""
        options = self._world.options
        right = hmac.compare_digest(unquote(client_id).encode(), options.client_id.encode())
        right = hmac.compare_digest(unquote(secret).encode(), options.client_secret.encode()) and right
        if scheme.lower() != "basic" or not right:
            raise OAuthError("invalid_client", "Wrong client id or secret, or no Basic authorization.", 401)

    async def token(self, request: web.Request) -> web.StreamResponse:
        """Exchange a code, or refresh."""
        self._check_client(request)
        if request.content_type != "application/x-www-form-urlencoded":
            raise OAuthError("invalid_grant_type", "The body must be form-encoded.")
        form: Any = await request.post()
        match form.get("grant_type"):
            case "authorization_code":
                grant, access = self._exchange(form)
            case "refresh_token":
                grant, access = self._refresh(form)
            case _:
                raise OAuthError("invalid_grant_type", "grant_type must be authorization_code or refresh_token.")
        request["account"] = grant.account
        return json(200, self.token_json(grant, access))

    def token_json(self, grant: Grant, access: str) -> dict[str, Any]:
        """A token answer."""
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self._world.grants.token_seconds,
            "refresh_token": grant.refresh,
            "scope": " ".join(grant.scopes),
        }

    def _exchange(self, form: Any) -> tuple[Grant, str]:
        verifier = form.get("code_verifier", "")
        if not _VERIFIER.fullmatch(verifier):
            raise OAuthError("invalid_request", 'Invalid "code_verifier".')
        code = self._world.grants.take_code(form.get("code", ""))
        if code is None:
            raise OAuthError("invalid_grant", "The code is unknown, used or expired.")
        if form.get("redirect_uri") != code.redirect_uri:
            raise OAuthError("invalid_grant", "The redirect_uri is not the one of the authorization.")
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if not hmac.compare_digest(digest, code.challenge):
            raise OAuthError("invalid_grant", "Code challenge failed.")
        replaces = self._world.options.reauthorize == "replaces"
        return self._world.grants.create(code.account, code.scopes, replaces=replaces)

    def _refresh(self, form: Any) -> tuple[Grant, str]:
        grants, options = self._world.grants, self._world.options
        token = form.get("refresh_token", "")
        grant = grants.of_refresh(token)
        if grant is None:
            raise OAuthError("invalid_grant", "The refresh token is unknown, expired or revoked.")
        if options.limit_factor is not None:
            wait = grants.may_refresh(grant.account, REFRESHES_A_MINUTE * options.limit_factor)
            if wait:
                raise throttled(wait)
        if token != grant.refresh:
            grants.end(grant)
            raise OAuthError("invalid_grant", "The refresh token was used before; the grant has ended.")
        return grant, grants.refresh(grant, rotates=options.refresh == "rotates")

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        """Uninstall the app from the account of a token; an unknown token is no error."""
        self._check_client(request)
        form: Any = await request.post()
        token = form.get("token", "")
        grants = self._world.grants
        grant = grants.of_refresh(token) or grants.of_access(token)
        if grant is not None:
            request["account"] = grant.account
            grants.end_account(grant.account)
        return json(200, {})


def json(status: int, body: Any, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer that nobody may keep."""
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def answer_to(error: Exception) -> web.Response:
    """What the token endpoint answers to a refusal."""
    if isinstance(error, OAuthError):
        return json(error.status, {"error": error.error, "error_description": error.description})
    assert isinstance(error, Refused)
    return json(error.status, error.body(), error.headers)


def _back(redirect_uri: str, state: str, **values: str) -> web.Response:
    if state:
        values["state"] = state
    joint = "&" if "?" in redirect_uri else "?"
    return web.Response(status=303, headers={"Location": f"{redirect_uri}{joint}{urlencode(values)}"})
