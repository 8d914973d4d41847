"""The keys of the ingest API, and how fast each workspace may post. Neither depends on Redis."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from webapp import clock, published
from webapp.crypto import digest, new_secret
from webapp.database import affected, writing
from webapp.extensions import db
from webapp.forms.invalid import Invalid
from webapp.models import IngestKey
from webapp.services import audit

# Far above what one machine takes in (measured in thousands a second): a guard against loops, not a quota.
PER_SECOND = 60_000
BURST = 120_000
NOTED_EVERY = timedelta(minutes=5)
_lock = threading.Lock()
_buckets: dict[int, tuple[float, float]] = {}


def workspace_of(key: str) -> int | None:
    """The workspace of a living key, whose use is noted."""
    columns = (IngestKey.id, IngestKey.workspace_id, IngestKey.last_used_at)
    statement = select(*columns).where(IngestKey.key_hash == digest(key), IngestKey.revoked_at.is_(None))
    row = db.session.execute(statement).one_or_none()
    if row is None or published.opens_nothing(key):
        return None
    key_id, workspace_id, last_used_at = row
    _note_use(key_id, last_used_at)
    return workspace_id


def _note_use(key_id: int, last_used_at: datetime | None) -> None:
    """Every few minutes only: a call should not pay for a write it did not ask for."""
    now = clock.now()
    if last_used_at is not None and now - last_used_at < NOTED_EVERY:
        return
    with writing() as session:
        old = or_(IngestKey.last_used_at.is_(None), IngestKey.last_used_at < now - NOTED_EVERY)
        session.execute(update(IngestKey).where(IngestKey.id == key_id, old).values(last_used_at=now))


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


def create(
    workspace_id: int, name: str, actor_id: int | None, key: str | None = None, *, needs_new_name: bool = False
) -> str:
    """A new key, shown once: only its SHA-256 is kept.

    With `needs_new_name` it raises Invalid where a living key has this name: a form sent twice makes one key.
    """
    key = key or f"cev_{new_secret()}"
    with writing() as session:
        if needs_new_name and _is_taken(session, workspace_id, name):
            raise Invalid({"name": "There is a key of this name. Choose another, so that the two can be told apart."})
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
            after={"name": name, "hint": row.hint},
        )
    return key


def _is_taken(session: Session, workspace_id: int, name: str) -> bool:
    same = (IngestKey.workspace_id == workspace_id, IngestKey.name == name, IngestKey.revoked_at.is_(None))
    return session.scalar(select(IngestKey.id).where(*same).limit(1)) is not None


def number_of(workspace_id: int, text: str) -> int | None:
    """The number of a workspace's key, told by itself or by that number; None: it is neither."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    mine = (IngestKey.key_hash == digest(text), IngestKey.workspace_id == workspace_id)
    return db.session.scalar(select(IngestKey.id).where(*mine))


def revoke(workspace_id: int, key_id: int, actor_id: int | None) -> bool:
    """End a key at once; whether there was a living one."""
    with writing() as session:
        mine = (IngestKey.id == key_id, IngestKey.workspace_id == workspace_id, IngestKey.revoked_at.is_(None))
        if not affected(session, update(IngestKey).where(*mine).values(revoked_at=clock.now())):
            return False
        audit.record(
            session,
            workspace_id=workspace_id,
            actor_id=actor_id,
            action="ingest_key.revoked",
            subject=("ingest_key", key_id),
        )
    return True


def of(workspace_id: int) -> list[IngestKey]:
    """A workspace's keys: living ones first, each kind newest first."""
    statement = select(IngestKey).where(IngestKey.workspace_id == workspace_id)
    return list(db.session.scalars(statement.order_by(IngestKey.revoked_at.is_not(None), IngestKey.id.desc())))


def one(workspace_id: int, key_id: int) -> IngestKey | None:
    """A living key of this workspace."""
    mine = (IngestKey.id == key_id, IngestKey.workspace_id == workspace_id, IngestKey.revoked_at.is_(None))
    return db.session.scalar(select(IngestKey).where(*mine))
