"""Tokens: stored encrypted, refreshed by one at a time, ended only by Klaviyo's own word.

A refresh takes a lease in the row (database's clock), posts outside any transaction, and stores the new pair by
compare-and-set on the version before anybody uses it. Losers wait for the version. A refresh killed between Klaviyo's
answer and our store is tried once more with the old token; where Klaviyo rotates, that ends in
`needs_reauthorization` with nothing lost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.crypto import new_secret
from webapp.database import affected, reading, writing
from webapp.dialects import db_now
from webapp.extensions import key_ring, settings
from webapp.klaviyo.oauth import SECONDS, OAuthApp, OAuthProblem, TokenSet
from webapp.models import Grant

EARLY = timedelta(seconds=120)
LEASE_SECONDS = 20
WAIT_SECONDS = 2  # whoever waits holds a worker
LONGEST_PAUSE = 60
DAILY = timedelta(hours=20)
UNUSED = timedelta(days=89)
REMOVED = "the app was removed in Klaviyo"
EXPIRED = "our access expired, unused for 90 days"
INTERRUPTED = "our access was lost while it was renewed"


class GrantUnavailable(Exception):
    """No token now; `retry_seconds` says when to ask again."""

    def __init__(self, retry_seconds: int) -> None:
        super().__init__("no access token at the moment")
        self.retry_seconds = retry_seconds


class GrantEnded(Exception):
    """Klaviyo no longer accepts this grant. `version`: which one, None where there is none. `cause`: in words."""

    def __init__(self, version: int | None = None, cause: str = REMOVED) -> None:
        super().__init__("the grant has ended")
        self.version, self.cause = version, cause


@dataclass(frozen=True, slots=True, repr=False)
class UsableGrant:
    """A token good for at least two minutes."""

    access_token: str
    version: int
    scopes: frozenset[str]


def app() -> OAuthApp:
    """Our app at Klaviyo, from the settings."""
    values = settings()
    return OAuthApp(
        client_id=values.klaviyo_client_id,
        client_secret=values.klaviyo_client_secret,
        authorize_url=values.klaviyo_authorize_url,
        api_url=values.klaviyo_api_url,
        redirect_uri=f"{values.public_url}/integrations/klaviyo/callback",
    )


def store(session: Session, connection_id: int, tokens: TokenSet) -> None:
    """Put a fresh grant in the place of whatever the connection had."""
    now = clock.now()
    grant = of(session, connection_id)
    if grant is None:
        grant = Grant(connection_id=connection_id, version=0, granted_at=now)
        session.add(grant)
    values = _sealed(connection_id, tokens)
    for name, value in values.items():
        setattr(grant, name, value)
    grant.version = (grant.version or 0) + 1
    grant.granted_at = now
    grant.refresh_owner = grant.refresh_until = None
    session.flush()


def _sealed(connection_id: int, tokens: TokenSet) -> dict[str, object]:
    now, row = clock.now(), f"grant:{connection_id}"
    return {
        "access_token": key_ring().encrypt(tokens.access_token, row=row, field="access_token"),
        "refresh_token": key_ring().encrypt(tokens.refresh_token, row=row, field="refresh_token"),
        "expires_at": now + timedelta(seconds=tokens.expires_in),
        "scopes": " ".join(sorted(tokens.scopes)),
        "refreshed_at": now,
    }


_OF = select(Grant).where(Grant.connection_id == bindparam("connection"))


def of(session: Session, connection_id: int) -> Grant | None:
    """A connection's grant."""
    return session.scalar(_OF, {"connection": connection_id})


def was_held(grant: Grant | None, moment: datetime | None) -> bool:
    """Whether this grant, renewed or not, was there at a moment already."""
    return grant is not None and moment is not None and moment >= grant.granted_at


def refresh_token(grant: Grant) -> str:
    """The refresh token in clear."""
    return opened(grant.connection_id, grant.refresh_token)


def opened(connection_id: int, sealed: str) -> str:
    """A refresh token of a connection in clear, which may be one that is no longer in its row."""
    return key_ring().decrypt(sealed, row=f"grant:{connection_id}", field="refresh_token")


def usable(connection_id: int, *, newer_than: int | None = None, known: Grant | None = None) -> UsableGrant:
    """A token of the connection, refreshed where less than two minutes are left, where a day has passed (so that an
    uninstall is noticed), or where version `newer_than` was just refused by Klaviyo. `known`: its grant, just read.

    Never inside a transaction. Raises GrantUnavailable or GrantEnded.
    """
    end = time.monotonic() + WAIT_SECONDS
    while True:
        grant, known = known or _read(connection_id), None
        now = clock.now()
        fresh = grant.expires_at - EARLY > now and grant.refreshed_at + DAILY > now
        if fresh and (newer_than is None or grant.version > newer_than):
            return _opened(grant)
        asked = time.monotonic()
        owner = _lease(grant)
        if owner is not None:
            # A process that is frozen here must not spend the old token when it wakes: somebody else did by then.
            return _refresh(grant, owner, deadline=asked + LEASE_SECONDS - SECONDS - 1)
        if time.monotonic() > end:
            raise GrantUnavailable(1)
        time.sleep(0.1)


def _read(connection_id: int) -> Grant:
    with reading() as session:
        grant = of(session, connection_id)
    if grant is None:
        raise GrantEnded
    return grant


def _opened(grant: Grant) -> UsableGrant:
    row = f"grant:{grant.connection_id}"
    access = key_ring().decrypt(grant.access_token, row=row, field="access_token")
    return UsableGrant(access, grant.version, grant.scope_set)


def _lease(grant: Grant) -> str | None:
    owner = new_secret()
    with writing() as session:
        statement = (
            update(Grant)
            .where(
                Grant.id == grant.id,
                Grant.version == grant.version,
                or_(Grant.refresh_until.is_(None), Grant.refresh_until < db_now()),
            )
            .values(refresh_owner=owner, refresh_until=db_now(LEASE_SECONDS))
        )
        taken = affected(session, statement) == 1
    return owner if taken else None


def _refresh(grant: Grant, owner: str, deadline: float) -> UsableGrant:
    try:
        tokens = app().refresh(refresh_token(grant), deadline)
    except OAuthProblem as problem:
        _release(grant, owner)
        if not problem.ended:
            raise GrantUnavailable(min(LONGEST_PAUSE, 5 * 2 ** min(grant.refresh_failures, 6))) from None
        # Believed only after re-reading: somebody else may have stored a newer pair meanwhile.
        if _read(grant.connection_id).version != grant.version:
            raise GrantUnavailable(1) from None
        raise GrantEnded(grant.version, _cause(grant)) from None
    values = _sealed(grant.connection_id, tokens)
    if not tokens.scopes:
        values["scopes"] = grant.scopes
    with writing() as session:
        statement = (
            update(Grant)
            .where(Grant.id == grant.id, Grant.version == grant.version, Grant.refresh_owner == owner)
            .values(
                **values,
                version=grant.version + 1,
                refresh_owner=None,
                refresh_until=None,
                refresh_failures=0,
            )
        )
        stored = affected(session, statement) == 1
    if not stored:
        raise GrantUnavailable(1)
    return _opened(_read(grant.connection_id))


def _cause(grant: Grant) -> str:
    """Why Klaviyo refuses a refresh: it says the same whatever the reason, so this is by what we know of the grant."""
    if grant.refresh_owner is not None:
        return INTERRUPTED  # whoever held the lease before us died with it, perhaps with the new pair in hand
    return EXPIRED if clock.now() - grant.refreshed_at > UNUSED else REMOVED


def _release(grant: Grant, owner: str) -> None:
    with writing() as session:
        session.execute(
            update(Grant)
            .where(Grant.id == grant.id, Grant.refresh_owner == owner)
            .values(refresh_owner=None, refresh_until=None, refresh_failures=Grant.refresh_failures + 1)
        )
