"""The register of API endpoints: method and path, scopes, limits, and the function that does it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sandbox.limits import Tier
from sandbox.state.account import Account
from sandbox.state.world import World


@dataclass(slots=True)
class Call:
    """One authorized request to an endpoint."""

    world: World
    account: Account
    request: web.Request
    body: bytes
    name: str
    sparse: dict[str, Any] = field(default_factory=dict)
    _base: str = ""

    @property
    def base(self) -> str:
        """The address links begin with."""
        if not self._base:
            self._base = f"{self.request.scheme}://{self.request.host}"
        return self._base

    def part(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]


@dataclass(slots=True)
class Reply:
    """What a handler answers; no `body`: an empty answer."""

    status: int
    body: dict[str, Any] | None = None


Handler = Callable[[Call], Awaitable[Reply]]
StricterTier = Callable[[web.Request], Tier | None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint. `stricter` gives the extra limit of a costlier way to ask."""

    method: str
    path: str
    scopes: frozenset[str]
    tier: Tier
    handler: Handler
    stricter: StricterTier | None

    @property
    def name(self) -> str:
        """What limits, faults and counts call it, such as `POST /api/events`."""
        return f"{self.method} {self.path}"


ENDPOINTS: list[Endpoint] = []
OAUTH = ("POST /oauth/token", "POST /oauth/revoke")
_PART = re.compile(r"\{[^}]*\}")


def canonical(name: str) -> str | None:
    """The name of an endpoint that may be written with any `{part}` or a real id in its path; None: there is none."""
    method, _, path = name.strip().partition(" ")
    wanted = f"{method.upper()} {_PART.sub('{id}', path.strip().rstrip('/'))}"
    names = [*OAUTH, *(each.name for each in ENDPOINTS)]
    if wanted in names:
        return wanted
    for known in names:
        if "{" in known and re.fullmatch(re.escape(known).replace(r"\{id\}", "[^/]+"), wanted):
            return known
    return None


def endpoint(name: str, scopes: str, tier: Tier, stricter: StricterTier | None = None) -> Callable[[Handler], Handler]:
    """Register the decorated function for `METHOD /path` under these space-separated scopes."""
    method, path = name.split(" ")

    def register(handler: Handler) -> Handler:
        ENDPOINTS.append(Endpoint(method, path, frozenset(scopes.split()), tier, handler, stricter))
        return handler

    return register
