"""What a workspace shares: which events are sent, which fields are written. Everything is off until turned on."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.events import EVENTS
from webapp.catalogue.fields import FIELDS, Field
from webapp.database import reading, upsert, writing
from webapp.extensions import db
from webapp.models import EventChoice, FieldChoice
from webapp.services import audit, workspace_settings, workspaces


def events_on(workspace_id: int) -> frozenset[str]:
    """The events turned on."""
    statement = select(EventChoice.event).where(EventChoice.workspace_id == workspace_id, EventChoice.is_on)
    return frozenset(db.session.scalars(statement))


def fields(workspace_id: int) -> tuple[dict[str, Field], frozenset[str]]:
    """Every known field, custom ones last, and the keys turned on."""
    with reading() as session:
        settings = workspace_settings.load(session, workspace_id)
    return settings.fields, settings.fields_on


def choose_events(workspace_id: int, actor_id: int | None, wanted: Iterable[str]) -> None:
    """Turn exactly these events on; it counts from now on."""
    chosen = set(wanted) & EVENTS.keys()
    with writing() as session:
        rows = [
            {"workspace_id": workspace_id, "event": key, "is_on": key in chosen, "changed_at": clock.now()}
            for key in sorted(EVENTS)
        ]
        statement = upsert(
            session, EventChoice.__table__, key=["workspace_id", "event"], update=["is_on", "changed_at"]
        )
        session.execute(statement, rows)
        _noted(session, workspace_id, actor_id, "events", chosen)


def choose_fields(workspace_id: int, actor_id: int | None, wanted: Iterable[str]) -> None:
    """Turn exactly these fields on; it counts from now on."""
    with writing() as session:
        known = workspace_settings.load(session, workspace_id).fields or FIELDS
        chosen = set(wanted) & known.keys()
        rows = [
            {"workspace_id": workspace_id, "field": key, "is_on": key in chosen, "changed_at": clock.now()}
            for key in sorted(known)
        ]
        statement = upsert(
            session, FieldChoice.__table__, key=["workspace_id", "field"], update=["is_on", "changed_at"]
        )
        session.execute(statement, rows)
        _noted(session, workspace_id, actor_id, "fields", chosen)


def _noted(session: Session, workspace_id: int, actor_id: int | None, what: str, chosen: set[str]) -> None:
    workspaces.changed(session, workspace_id)
    audit.record(
        session,
        workspace_id=workspace_id,
        actor_id=actor_id,
        action=f"{what}.chosen",
        subject=("workspace", workspace_id),
        after={"on": sorted(chosen)},
    )
