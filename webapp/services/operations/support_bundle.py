"""One redacted file about a connection, to hand to somebody who helps: settings, scopes, calls, limits, versions.

No address, no payload, no token: secrets are said to be PRESENT or absent, nothing more.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select

from webapp import clock
from webapp.extensions import db, settings
from webapp.klaviyo.masking import scrub
from webapp.klaviyo.scopes import ASKED, FEATURES, missing
from webapp.models import Alert, Attempt, Connection, Grant, ScopeProof
from webapp.services.operations import api_clock, queues
from webapp.services.sharing import choices

ATTEMPTS = 100
ALERTS = 50
PACKAGES = ("flask", "sqlalchemy", "rq", "redis", "requests", "authlib", "psycopg", "gunicorn")
PRESENT, ABSENT = "PRESENT", "absent"


def of(workspace_id: int, connection_id: int) -> dict[str, Any] | None:
    """The bundle of a connection of this workspace, ready for JSON; None for anybody else's."""
    found = queues.connections(workspace_id, only=connection_id)
    if not found:
        return None
    seen = found[0]
    return {
        "made_at": clock.iso(clock.now()),
        "versions": _versions(),
        "installation": _installation(),
        "connection": _connection(seen.connection, seen.grant),
        "sharing": _sharing(workspace_id),
        "scopes": _scopes(seen.connection, seen.grant),
        "revision": _revision(seen.revision),
        "limits": [_limit(limit) for limit in seen.limits],
        "lanes": [_lane(lane) for lane in seen.lanes],
        "read_back": {"confirmed": seen.proofs.confirmed, "missing": list(seen.proofs.missing)},
        "alerts": _alerts(connection_id),
        "attempts": _attempts(connection_id),
    }


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **found}


def _installation() -> dict[str, Any]:
    """The settings: addresses of services without user names, passwords or paths; secrets as PRESENT or absent."""
    values = settings()

    def told(value: object) -> str:
        return PRESENT if value else ABSENT

    return {
        "DATABASE_URL": f"{PRESENT} ({'sqlite' if values.is_sqlite else 'postgresql'})",
        "REDIS_URL": told(values.redis_url),
        "KLAVIYO_CLIENT_ID": told(values.klaviyo_client_id),
        "KLAVIYO_CLIENT_SECRET": told(values.klaviyo_client_secret),
        "KLAVIYO_AUTHORIZE_URL": _origin(values.klaviyo_authorize_url),
        "KLAVIYO_API_URL": _origin(values.klaviyo_api_url),
        "PUBLIC_URL": _origin(values.public_url),
        "TRUSTED_PROXIES": values.trusted_proxies,
        "SECRET_KEY": told(values.secret_key),
        "SECRET_KEY_FALLBACKS": told(values.secret_key_fallbacks),
        "TOKEN_KEYS": told(values.token_keys),
        "MAIL_URL": told(values.mail_url),
        "MAIL_FROM": told(values.mail_from),
        "sandbox": values.uses_sandbox,
    }


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def _connection(connection: Connection, grant: Grant | None) -> dict[str, Any]:
    return {
        "id": connection.id,
        "klaviyo_account_id": connection.klaviyo_account_id,
        "state": connection.state,
        "state_cause": scrub(connection.state_cause or "") or None,
        "state_at": clock.iso(connection.state_at),
        "paused_at": _iso(connection.paused_at),
        "store_id": connection.store_id,
        "sync_behavior": connection.sync_behavior,
        "list_id": connection.list_id,
        "list_opt_in": connection.list_opt_in,
        "list_missing_at": _iso(connection.list_missing_at),
        "created_at": clock.iso(connection.created_at),
        "disconnected_at": _iso(connection.disconnected_at),
        "last_delivered_at": _iso(connection.last_delivered_at),
        "profiles_created": connection.profiles_created,
        "access_token": PRESENT if grant else ABSENT,
        "refresh_token": PRESENT if grant else ABSENT,
        "token_expires_at": _iso(grant.expires_at) if grant else None,
        "refreshed_at": _iso(grant.refreshed_at) if grant else None,
        "refresh_failures": grant.refresh_failures if grant else None,
    }


def _iso(moment: Any) -> str | None:
    return clock.iso(moment) if moment else None


def _sharing(workspace_id: int) -> dict[str, Any]:
    known, on = choices.fields(workspace_id)
    return {
        "events_on": sorted(choices.events_on(workspace_id)),
        "fields_on": sorted(on),
        "fields_known": len(known),
    }


def _scopes(connection: Connection, grant: Grant | None) -> dict[str, Any]:
    statement = select(ScopeProof).where(ScopeProof.connection_id == connection.id)
    proofs = {proof.scope: proof for proof in db.session.scalars(statement)}
    granted = grant.scope_set if grant else frozenset()
    lacking = missing(granted)
    matrix = {
        scope: {
            "granted": scope in granted,
            "proven_at": _iso(proofs[scope].proven_at) if scope in proofs else None,
            "refused_at": _iso(proofs[scope].refused_at) if scope in proofs else None,
            "refused_by": proofs[scope].refused_by if scope in proofs else None,
        }
        for scope in sorted({*ASKED, *granted})
    }
    features = {feature.key: list(lacking.get(feature.key, ())) for feature in FEATURES}
    return {"matrix": matrix, "missing_by_feature": features}


def _revision(revision: api_clock.Revision) -> dict[str, Any]:
    return {
        "asked": revision.asked,
        "served": revision.served,
        "retires": revision.retires.isoformat(),
        "announced": revision.announced,
    }


def _limit(limit: api_clock.Limit) -> dict[str, Any]:
    return {
        "endpoint": limit.endpoint,
        "limits": {f"{window} s": calls for window, calls in limit.limits.items()},
        "left_by_our_own_count": {f"{window} s": calls for window, calls in limit.left.items()},
        "announced_by_klaviyo": limit.learned,
        "blocked_for_seconds": limit.blocked_seconds,
    }


def _lane(seen: queues.LaneSeen) -> dict[str, Any]:
    lane = seen.lane
    return {
        "kind": lane.kind,
        "now": seen.word,
        "waiting": lane.waiting,
        "made": lane.made,
        "delivered": lane.delivered,
        "skipped": lane.skipped,
        "failed": lane.failed,
        "oldest_waiting_at": _iso(seen.oldest_at),
        "next_at": _iso(lane.next_at),
        "held_until": _iso(lane.held_until),
        "held_reason": lane.held_reason,
        "held_detail": lane.held_detail,
        "failures": lane.failures,
        "slow": lane.slow,
    }


def _alerts(connection_id: int) -> list[dict[str, Any]]:
    statement = select(Alert).where(Alert.connection_id == connection_id).order_by(Alert.id.desc()).limit(ALERTS)
    return [
        {"cause": scrub(alert.cause), "opened_at": _iso(alert.opened_at), "closed_at": _iso(alert.closed_at)}
        for alert in db.session.scalars(statement)
    ]


def _attempts(connection_id: int) -> list[dict[str, Any]]:
    statement = select(Attempt).where(Attempt.connection_id == connection_id)
    return [
        {
            "at": clock.iso(attempt.started_at),
            "endpoint": attempt.endpoint,
            "items": attempt.size,
            "outcome": attempt.outcome,
            "http_status": attempt.http_status,
            "request_id": attempt.request_id,
            "revision": attempt.revision,
            "duration_ms": attempt.duration_ms,
            "retry_after": attempt.retry_after,
            "error": scrub(attempt.error) if attempt.error else None,
        }
        for attempt in db.session.scalars(statement.order_by(Attempt.id.desc()).limit(ATTEMPTS))
    ]
