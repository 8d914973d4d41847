"""Grants: who may do what in which account, and the tokens that prove it."""

from __future__ import annotations

import secrets
import time
from collections import deque
from typing import NamedTuple

from sandbox.state.changes import Changes
from sandbox.state.records import Grant, long_id

_CODE_SECONDS = 300
REFRESHES_A_MINUTE = 10


class Code(NamedTuple):
    """An authorization code waiting for its exchange."""

    account: str
    scopes: list[str]
    redirect_uri: str
    challenge: str
    until: float


class Grants:
    """All grants of the app."""

    def __init__(self, token_seconds: int, changes: Changes) -> None:
        self.token_seconds = token_seconds
        self.all: dict[str, Grant] = {}
        self._changes = changes
        self._codes: dict[str, Code] = {}
        self._by_access: dict[str, Grant] = {}
        self._by_refresh: dict[str, Grant] = {}
        self._refreshes: dict[str, deque[float]] = {}

    def clear(self) -> None:
        """End everything."""
        for grant in list(self.all.values()):
            self.end(grant)
        self._codes.clear()
        self._refreshes.clear()

    def new_code(self, account: str, scopes: list[str], redirect_uri: str, challenge: str) -> str:
        """An authorization code, good once."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = Code(account, scopes, redirect_uri, challenge, time.time() + _CODE_SECONDS)
        return code

    def take_code(self, code: str) -> Code | None:
        """What a code stands for; it is gone afterwards."""
        found = self._codes.pop(code, None)
        return found if found is not None and found.until > time.time() else None

    def create(self, account: str, scopes: list[str], *, replaces: bool) -> tuple[Grant, str]:
        """A new grant and its first access token. `replaces`: the earlier ones of the account end."""
        if replaces:
            self.end_account(account)
        grant = Grant(long_id(), account, scopes, secrets.token_urlsafe(32))
        self.add(grant)
        return grant, self._new_access(grant)

    def add(self, grant: Grant) -> None:
        """Put a grant into the indexes."""
        self.all[grant.id] = grant
        for refresh in (grant.refresh, *grant.spent):
            self._by_refresh[refresh] = grant
        for access in grant.access:
            self._by_access[access] = grant

    def of_access(self, token: str) -> Grant | None:
        """The grant of an access token that has not expired."""
        grant = self._by_access.get(token)
        return grant if grant is not None and grant.access[token] > time.time() else None

    def of_refresh(self, token: str) -> Grant | None:
        """The grant of a refresh token, spent ones too."""
        return self._by_refresh.get(token)

    def refresh(self, grant: Grant, *, rotates: bool) -> str:
        """A new access token, and a new refresh token where they rotate."""
        if rotates:
            grant.spent.append(grant.refresh)
            grant.refresh = secrets.token_urlsafe(32)
            self._by_refresh[grant.refresh] = grant
        return self._new_access(grant)

    def may_refresh(self, account: str, allowed: float) -> int:
        """0 when the installation may refresh now (it is counted), else the seconds to wait."""
        now = time.time()
        times = self._refreshes.setdefault(account, deque())
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) >= allowed:
            return max(1, round(times[0] + 60 - now))
        times.append(now)
        return 0

    def end(self, grant: Grant) -> None:
        """End one grant: none of its tokens is good any more."""
        self.all.pop(grant.id, None)
        for access in grant.access:
            self._by_access.pop(access, None)
        for refresh in (grant.refresh, *grant.spent):
            self._by_refresh.pop(refresh, None)
        self._touch(grant)

    def end_account(self, account: str) -> int:
        """The app is uninstalled from an account; how many grants ended."""
        ended = [grant for grant in self.all.values() if grant.account == account]
        for grant in ended:
            self.end(grant)
        return len(ended)

    def scopes_of(self, account: str) -> list[str]:
        """Every scope some grant of the account has."""
        return sorted({scope for grant in self.all.values() if grant.account == account for scope in grant.scopes})

    def expire_access(self, account: str) -> None:
        """Let every access token of an account run out now."""
        for grant in self.all.values():
            if grant.account == account:
                grant.access = dict.fromkeys(grant.access, 0.0)
                self._touch(grant)

    def _touch(self, grant: Grant) -> None:
        self._changes.note("grant", "", grant.id)

    def _new_access(self, grant: Grant) -> str:
        now = time.time()
        for old in [token for token, until in grant.access.items() if until <= now]:
            del grant.access[old]
            self._by_access.pop(old, None)
        token = secrets.token_urlsafe(48)
        grant.access[token] = now + self.token_seconds
        self._by_access[token] = grant
        self._touch(grant)
        return token
