"""A delivery's own item as it would be sent now: attempts keep no bodies, so it is rebuilt and the page says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy.orm import Session

from webapp.catalogue.events import EVENTS
from webapp.catalogue.words import Kind, Origin
from webapp.klaviyo import payloads
from webapp.klaviyo.client import Call
from webapp.klaviyo.payloads import EventWrite, ProfileWrite
from webapp.models import Activity, Connection, Delivery, Person, ProfileLink
from webapp.services.activities.ingest import unique_id
from webapp.services.people import records
from webapp.services.workspaces import snapshot
from webapp.services.workspaces.snapshot import WorkspaceSettings


@dataclass(frozen=True, slots=True)
class Item:
    """`call`: the endpoint by its template. `body`: the JSON of this delivery alone, however many went with it."""

    call: str
    body: Any


def item(
    session: Session, delivery: Delivery, activity: Activity, person: Person | None, connection: Connection | None
) -> Item | None:
    """The item; None where nothing could be sent: no person, no connection, erased."""
    if person is None or person.email is None or connection is None or activity.erased_at is not None:
        return None
    settings = snapshot.load(session, delivery.workspace_id)
    link = session.get(ProfileLink, (connection.id, person.id))
    known_id = link.klaviyo_id if link is not None and link.found else None
    if delivery.kind is Kind.EVENT:
        call = _event(settings, activity, person, known_id)
    elif delivery.kind is Kind.FIELDS:
        call = _fields(settings, person, known_id)
    else:
        call = _consent(activity, person, known_id, connection)
    return Item(call.endpoint.name, orjson.loads(call.body or b"null"))


def _event(settings: WorkspaceSettings, activity: Activity, person: Person, known_id: str | None) -> Call:
    return payloads.event(
        EventWrite(
            metric=EVENTS[activity.event].metric if activity.event in EVENTS else f"Cevoid: {activity.event}",
            unique_id=unique_id(settings.workspace_id, activity.external_id),
            time=activity.occurred_at,
            properties=activity.properties or "{}",
            profile=ProfileWrite(id=known_id, email=person.email, properties=_shared(settings, person)),
            backfill=activity.origin is not Origin.PLATFORM,
        )
    )


def _shared(settings: WorkspaceSettings, person: Person) -> dict[str, Any]:
    return records.shared_changes(orjson.loads(person.fields), 0, settings.fields, settings.fields_on)


def _fields(settings: WorkspaceSettings, person: Person, known_id: str | None) -> Call:
    shared = _shared(settings, person)
    if known_id:
        return payloads.patch_profile(ProfileWrite(known_id, person.email, shared))
    return payloads.import_profile(ProfileWrite(None, person.email, shared, person.first_name, person.last_name))


def _consent(activity: Activity, person: Person, known_id: str | None, connection: Connection) -> Call:
    wanted = orjson.loads(activity.consent or "{}").get("state")
    who = [ProfileWrite(known_id, person.email)]
    if wanted == "subscribed":
        return payloads.subscribe(who, connection.list_id, payloads.consent_source(connection.workspace_id))
    return payloads.unsubscribe(who, connection.list_id)
