"""What a workspace shares: which events are sent, which fields are written. Everything is off until turned on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.events import EVENTS, Event
from webapp.catalogue.fields import FIELDS, Field
from webapp.database import reading, run_writing
from webapp.extensions import db
from webapp.models import EventChoice, FieldChoice, Store
from webapp.services import audit
from webapp.services.workspaces import snapshot, tenancy
from webapp.upserts import upsert

Choice = type[EventChoice] | type[FieldChoice]
NAMED = 20


@dataclass(frozen=True, slots=True)
class Change:
    """What a save turned on and off: keys, in the catalogue's order."""

    on: tuple[str, ...]
    off: tuple[str, ...]

    def sentence(self, names: Mapping[str, str]) -> str:
        """It in words, for the person who saved; `names` by key."""
        if not self.on and not self.off:
            return "Nothing changed."
        said = [
            f"{word}: {_listed([names[key] for key in keys])}."
            for word, keys in (("Turned on", self.on), ("Turned off", self.off))
            if keys
        ]
        return f"{' '.join(said)} It counts from now on."


def _listed(names: list[str]) -> str:
    """The names, not more of them than the cookie that carries the sentence can hold."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def undone(on: Iterable[str], turned_on: Iterable[str], turned_off: Iterable[str]) -> list[str] | None:
    """What would be on if a save were undone; None where there is none, or somebody has changed it again since."""
    now, added, removed = set(on), set(turned_on), set(turned_off)
    if not (added or removed) or not added <= now or removed & now:
        return None
    return sorted((now - added) | removed)


def events_on(workspace_id: int) -> frozenset[str]:
    """The events turned on."""
    statement = select(EventChoice.event).where(EventChoice.workspace_id == workspace_id, EventChoice.is_on)
    return frozenset(db.session.scalars(statement))


def events_since(workspace_id: int) -> dict[str, datetime]:
    """When each event that is on was turned on."""
    statement = select(EventChoice.event, EventChoice.changed_at).where(
        EventChoice.workspace_id == workspace_id, EventChoice.is_on
    )
    return {row.event: row.changed_at for row in db.session.execute(statement)}


def fields(workspace_id: int) -> tuple[dict[str, Field], frozenset[str]]:
    """Every known field, custom ones last, and the keys turned on."""
    with reading() as session:
        settings = snapshot.load(session, workspace_id)
    return settings.fields, settings.fields_on


def choose_events(
    workspace_id: int, actor_id: int | None, wanted: Iterable[str], *, shown: Iterable[str] | None = None
) -> Change:
    """Turn exactly these events on; it counts from now on.

    `shown`: what was on when the person saw the form. Then only what they changed changes: two people who save at the
    same time do not undo each other.
    """
    asked = (set(wanted), None if shown is None else set(shown))

    def work(session: Session) -> Change:
        statement = select(EventChoice.event).where(EventChoice.workspace_id == workspace_id, EventChoice.is_on)
        return _choose(
            session, EventChoice, workspace_id, actor_id, list(EVENTS), set(session.scalars(statement)), asked
        )

    return run_writing(work)


def choose_fields(
    workspace_id: int, actor_id: int | None, wanted: Iterable[str], *, shown: Iterable[str] | None = None
) -> Change:
    """Turn exactly these fields on, likewise. What is off stays in Klaviyo as it is."""
    asked = (set(wanted), None if shown is None else set(shown))

    def work(session: Session) -> Change:
        settings = snapshot.load(session, workspace_id)
        known = [key for key, field in settings.fields.items() if not field.retired]
        return _choose(session, FieldChoice, workspace_id, actor_id, known, set(settings.fields_on), asked)

    return run_writing(work)


def _choose(
    session: Session,
    table: Choice,
    workspace_id: int,
    actor_id: int | None,
    known: list[str],
    before: set[str],
    asked: tuple[set[str], set[str] | None],
) -> Change:
    wanted, shown = asked
    after = wanted if shown is None else (before | (wanted - shown)) - (shown - wanted)
    change = Change(
        tuple(key for key in known if key in after - before), tuple(key for key in known if key in before - after)
    )
    changed = sorted({*change.on, *change.off})
    if not changed:
        return change
    column = "event" if table is EventChoice else "field"
    rows = [
        {"workspace_id": workspace_id, column: key, "is_on": key in change.on, "changed_at": clock.now()}
        for key in changed
    ]
    key = ["workspace_id", column]
    session.execute(upsert(session, table.__table__, key=key, update=["is_on", "changed_at"]), rows)
    tenancy.changed(session, workspace_id)
    audit.record(
        session,
        workspace_id=workspace_id,
        actor_id=actor_id,
        action=f"{column}s.chosen",
        subject=("workspace", workspace_id),
        before={"on": sorted(before)},
        after={"on": sorted((before | set(change.on)) - set(change.off))},
    )
    return change


def samples(workspace_id: int) -> dict[str, str]:
    """For each event, as JSON text, what Klaviyo would receive, with a store and the fields this workspace shares."""
    store = db.session.scalar(select(Store).where(Store.workspace_id == workspace_id).order_by(Store.id).limit(1))
    known, on = fields(workspace_id)
    profile = {field.property: field.sample() for key, field in known.items() if key in on}
    return {
        event.key: orjson.dumps(_sample(event, store, profile), option=orjson.OPT_INDENT_2).decode()
        for event in EVENTS.values()
    }


def _sample(event: Event, store: Store | None, profile: dict[str, Any]) -> dict[str, Any]:
    moment = "2026-11-23T10:00:00Z"
    common = {
        "eventId": "a-1001",
        "occurredAt": moment,
        "storeId": store.external_id if store else None,
        "storeName": store.name if store else None,
    }
    return {
        "metric": event.metric,
        "time": moment,
        "properties": {**common, **event.sample()},
        "profile": {"email": "ada@example.com", "properties": profile},
    }


def recommended_events() -> set[str]:
    """The events that *turn on recommended* turns on."""
    return {event.key for event in EVENTS.values() if event.recommended}


def recommended_fields() -> set[str]:
    """The fields that it turns on."""
    return {field.key for field in FIELDS.values() if field.recommended}
