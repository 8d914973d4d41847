"""The keys of the ingest API, and how fast each workspace may post. Neither depends on Redis."""

from __future__ import annotations

import threading
import time

from sqlalchemy import select, update

from webapp import clock
from webapp.crypto import digest, new_secret
from webapp.database import writing
from webapp.extensions import db
from webapp.models import IngestKey
from webapp.services import audit

# Far above what one machine takes in (measured in thousands a second): a guard against loops, not a quota.
PER_SECOND = 60_000
BURST = 120_000
_lock = threading.Lock()
_buckets: dict[int, tuple[float, float]] = {}


def workspace_of(key: str) -> int | None:
    """The workspace of a living key."""
    statement = select(IngestKey.workspace_id).where(IngestKey.key_hash == digest(key), IngestKey.revoked_at.is_(None))
    return db.session.scalar(statement)


def take(workspace_id: int, activities: int) -> int:
    """0 where the workspace may post so many now, else the seconds to wait. Per web process."""
    now = time.monotonic()
    with _lock:
        tokens, since = _buckets.get(workspace_id, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - since) * PER_SECOND)
        if tokens < activities:
            return max(1, int((activities - tokens) / PER_SECOND) + 1)
        _buckets[workspace_id] = (tokens - activities, now)
    return 0


def create(workspace_id: int, name: str, actor_id: int | None, key: str | None = None) -> str:
    """A new key, shown once: only its SHA-256 is kept."""
    key = key or f"cev_{new_secret()}"
    with writing() as session:
        row = IngestKey(
            workspace_id=workspace_id, name=name, key_hash=digest(key), hint=key[:8], created_at=clock.now()
        )
        session.add(row)
        session.flush()
        audit.record(
            session,
            workspace_id=workspace_id,
            actor_id=actor_id,
            action="ingest_key.created",
            subject=("ingest_key", row.id),
        )
    return key


def revoke(workspace_id: int, key_id: int, actor_id: int | None) -> None:
    """End a key at once."""
    with writing() as session:
        session.execute(
            update(IngestKey)
            .where(IngestKey.id == key_id, IngestKey.workspace_id == workspace_id)
            .values(revoked_at=clock.now())
        )
        audit.record(
            session,
            workspace_id=workspace_id,
            actor_id=actor_id,
            action="ingest_key.revoked",
            subject=("ingest_key", key_id),
        )
