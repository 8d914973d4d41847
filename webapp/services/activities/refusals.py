"""What the platform posted and we could not accept: why a support agent finds nothing of it among the deliveries.

Kept for a month by the caller's id, with the sentence the platform was answered; nothing else of it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.database import reading, run_writing
from webapp.dialects import among
from webapp.extensions import db
from webapp.forms.activities import ID
from webapp.models import Activity, Refusal
from webapp.services.people import addresses
from webapp.upserts import upsert

KEPT = timedelta(days=30)
SHOWN = 200
BITE = 1000


class Shown(NamedTuple):
    """One of them. `activity_id`: it was accepted under the same id, before or since."""

    external_id: str
    error: str
    first_at: datetime
    last_at: datetime
    activity_id: int | None


class Place(NamedTuple):
    """Where a page ends: the last one's moment and number."""

    last_at: datetime
    number: int


class Page(NamedTuple):
    """Some of them, newest first. `following`: where the next page begins; None where this is the last."""

    refused: list[Shown]
    following: Place | None


def to_keep(rejected: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Id -> what is wrong, of those of a call (`{"id", "error"}` each) that have one to look for; the last of each."""
    return {each["id"]: each["error"] for each in rejected if _can_be_found(each["id"])}


def _can_be_found(identity: Any) -> bool:
    return isinstance(identity, str) and ID.match(identity) is not None


def keep(session: Session, workspace_id: int, errors: Mapping[str, str], now: datetime) -> None:
    """Remember these of a call. In key order, as all that ingest writes."""
    rows = [
        {
            "workspace_id": workspace_id,
            "external_id": identity,
            "error": _as_kept(errors[identity]),
            "first_at": now,
            "last_at": now,
        }
        for identity in sorted(errors)
    ]
    key = ["workspace_id", "external_id"]
    session.connection().execute(upsert(session, Refusal.__table__, key=key, update=["error", "last_at"]), rows)


def _as_kept(error: str) -> str:
    """A sentence that any database keeps, whatever of the call stands in it: the good ones are in the same commit."""
    masked: str = addresses.mask_all(error)
    return masked.replace("\0", "").encode("utf-8", "replace").decode()


def page(workspace_id: int, after: Place | None = None) -> Page:
    """Those that were answered last, or the ones `after` a place."""
    accepted = (
        select(Activity.id)
        .where(Activity.workspace_id == Refusal.workspace_id, Activity.external_id == Refusal.external_id)
        .scalar_subquery()
    )
    statement = (
        select(Refusal.external_id, Refusal.error, Refusal.first_at, Refusal.last_at, accepted, Refusal.id)
        .where(Refusal.workspace_id == workspace_id)
        .order_by(Refusal.last_at.desc(), Refusal.id.desc())
    )
    if after is not None:
        same = and_(Refusal.last_at == after.last_at, Refusal.id < after.number)
        statement = statement.where(Refusal.last_at <= after.last_at, or_(Refusal.last_at < after.last_at, same))
    rows = db.session.execute(statement.limit(SHOWN + 1)).all()
    last = rows[SHOWN - 1] if len(rows) > SHOWN else None
    return Page([Shown(*row[:5]) for row in rows[:SHOWN]], Place(last.last_at, last.id) if last else None)


def of(workspace_id: int, typed: str) -> Refusal | None:
    """What was answered about an id, with or without the spaces around it; None where it was never refused."""
    mine = (Refusal.workspace_id == workspace_id, Refusal.external_id.in_([typed, typed.strip()]))
    return db.session.scalar(select(Refusal).where(*mine).order_by(Refusal.external_id != typed).limit(1))


def prune() -> bool:
    """A bite of those nobody repeats any more goes; whether there may be more."""
    over = select(Refusal.id).where(Refusal.last_at < clock.now() - KEPT).order_by(Refusal.last_at).limit(BITE)
    with reading() as session:
        ids = list(session.scalars(over))
    if ids:
        run_writing(lambda session: session.execute(delete(Refusal).where(among(session, Refusal.id, ids))))
    return len(ids) == BITE
