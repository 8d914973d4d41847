"""Accepting activities: routed, merged into what we know of people, written with their deliveries in one transaction.

A duplicate (the caller's id, known in the workspace) changes nothing at all. Duplicates are decided by the unique key,
never by check-then-insert. Statements go in key order: unsorted concurrent ones deadlock on PostgreSQL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import orjson
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import ActivityType, Kind, Origin
from webapp.database import insert_or_ignore, reading, run_writing
from webapp.forms.activities import Draft, Refused, check
from webapp.models import Activity, Delivery, Person, ProfileLink
from webapp.services import lanes, people, routing, workspace_settings
from webapp.services.routing import Route
from webapp.services.workspace_settings import WorkspaceSettings

NAMESPACE = UUID("6f2f5f0e-8f0b-5d43-9b0c-7a3c2f1f9d11")
LIFE = timedelta(days=7)
EXPLICIT = {"checkbox", "newsletter_activity"}
KIND_OF = {
    ActivityType.EVENT: Kind.EVENT,
    ActivityType.PROFILE: Kind.FIELDS,
    ActivityType.CONSENT: Kind.CONSENT,
}


def unique_id(workspace_id: int, external_id: str) -> str:
    """Klaviyo's `unique_id` of an activity: the same after a crash, a resend or a re-ingest."""
    return str(uuid5(NAMESPACE, f"{workspace_id}:{external_id}"))


@dataclass(slots=True)
class Accepted:
    """What became of a call. `rejected`: `{"index", "id", "error"}` each."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)


def accept(workspace_id: int, items: Sequence[Any]) -> Accepted:
    """Take one call's items; an item that is a Refused is rejected as such. Durable when this returns."""
    now = clock.now()
    result = Accepted()
    with reading() as session:
        settings = workspace_settings.load(session, workspace_id)
    drafts: dict[str, Draft] = {}
    for index, item in enumerate(items):
        try:
            if isinstance(item, Refused):
                raise item
            draft = check(item, settings.stores, settings.fields, now)
        except Refused as refusal:
            identity = item.get("id") if isinstance(item, dict) else None
            result.rejected.append({"index": index, "id": identity, "error": str(refusal)})
            continue
        result.duplicates += draft.id in drafts
        drafts.setdefault(draft.id, draft)
    if drafts:
        ordered = list(drafts.values())
        result.accepted = run_writing(lambda session: record(session, workspace_id, ordered, now=now))
        result.duplicates += len(drafts) - result.accepted
    return result


def record(
    session: Session,
    workspace_id: int,
    drafts: Sequence[Draft],
    *,
    now: datetime,
    origin: Origin = Origin.PLATFORM,
) -> int:
    """Write new activities with their deliveries; how many were new."""
    settings = workspace_settings.load(session, workspace_id)
    known = _people(session, workspace_id, drafts, now)
    routes: dict[str, Route] = {}
    for draft in drafts:
        person = known.get(draft.email or "")
        home = person.home_store_id if person else None
        routes[draft.id] = routing.route(settings, draft.store_id, home)
    rows = [_activity_row(settings, d, routes[d.id], known.get(d.email or ""), now, origin) for d in drafts]
    table = Activity.__table__
    statement = insert_or_ignore(session, table).values(rows).returning(table.c.external_id, table.c.id)
    new_ids = {row.external_id: row.id for row in session.execute(statement)}
    links = _found_links(session, settings, {p.id for p in known.values()})
    maker = _Maker(settings, now)
    for draft in drafts:
        if draft.id in new_ids:
            person = known.get(draft.email or "")
            maker.make(draft, new_ids[draft.id], routes[draft.id], person, links)
    _save_people(session, maker.touched)
    if maker.rows:
        session.execute(insert(Delivery), maker.rows)
    maker.count(session)
    return len(new_ids)


def _people(session: Session, workspace_id: int, drafts: Sequence[Draft], now: datetime) -> dict[str, Person]:
    homes: dict[str, int | None] = {}
    for draft in drafts:
        if draft.email:
            homes[draft.email] = homes.get(draft.email) or draft.store_id
    if not homes:
        return {}
    emails = sorted(homes)
    fresh = {"fields": "{}", "fields_version": 0, "consents": "{}", "created_at": now}
    rows = [{"workspace_id": workspace_id, "email": e, "home_store_id": homes[e], **fresh} for e in emails]
    session.execute(insert_or_ignore(session, Person.__table__), rows)
    statement = select(Person).where(Person.workspace_id == workspace_id, Person.email.in_(emails))
    found = session.scalars(statement.order_by(Person.email).with_for_update())
    return {str(person.email): person for person in found}


def _activity_row(
    settings: WorkspaceSettings,
    draft: Draft,
    route: Route,
    person: Person | None,
    now: datetime,
    origin: Origin,
) -> dict[str, Any]:
    return {
        "workspace_id": settings.workspace_id,
        "external_id": draft.id,
        "type": draft.type,
        "event": draft.event,
        "origin": origin,
        "store_id": draft.store_id,
        "person_id": person.id if person else None,
        "occurred_at": draft.occurred_at,
        "accepted_at": now,
        "properties": _properties(settings, draft) if draft.type is ActivityType.EVENT else None,
        "profile": draft.profile_json,
        "consent": orjson.dumps(draft.consent).decode() if draft.consent else None,
        "route": route.how,
    }


def _properties(settings: WorkspaceSettings, draft: Draft) -> str:
    """The event's properties as Klaviyo gets them: what is common to every event first, then the payload."""
    external, name = settings.store_names.get(draft.store_id or 0, (None, None))
    common = {
        "eventId": draft.id,
        "occurredAt": clock.iso(draft.occurred_at),
        "storeId": external,
        "storeName": name,
    }
    return orjson.dumps({**common, **draft.properties}).decode()


def _found_links(session: Session, settings: WorkspaceSettings, person_ids: set[int]) -> dict[int, set[int]]:
    """Person id -> the connections in whose account the person has been found."""
    found: dict[int, set[int]] = {}
    if len(settings.connections) < 2 or not person_ids:
        return found
    statement = select(ProfileLink.person_id, ProfileLink.connection_id).where(
        ProfileLink.person_id.in_(person_ids), ProfileLink.found.is_(True)
    )
    live = {connection.id for connection in settings.connections}
    for row in session.execute(statement):
        if row.connection_id in live:
            found.setdefault(row.person_id, set()).add(row.connection_id)
    return found


def _save_people(session: Session, touched: dict[int, Person]) -> None:
    for person_id in sorted(touched):
        person = touched[person_id]
        session.execute(
            update(Person)
            .where(Person.id == person_id)
            .values(
                fields=person.fields,
                fields_version=person.fields_version,
                consents=person.consents,
                first_name=person.first_name,
                last_name=person.last_name,
                home_store_id=person.home_store_id,
            )
        )


class _Maker:
    """Makes the deliveries of one call and keeps count of them."""

    def __init__(self, settings: WorkspaceSettings, now: datetime) -> None:
        self._settings = settings
        self._now = now
        self.rows: list[dict[str, Any]] = []
        self.touched: dict[int, Person] = {}
        self._made: Counter[tuple[int, Kind]] = Counter()
        self._skipped: Counter[tuple[int, Kind]] = Counter()

    def make(
        self, draft: Draft, activity_id: int, route: Route, person: Person | None, links: dict[int, set[int]]
    ) -> None:
        """The deliveries of one new activity: at least one."""
        kind = KIND_OF[draft.type]
        superseded, changed = (False, False) if person is None else self._merge(draft, activity_id, person)
        if person is None or route.connection_id is None:
            reason = Reason.NO_EMAIL if person is None else route.reason
            self._add(draft, activity_id, person, None, kind, reason)
            return
        target = route.connection_id
        if kind is Kind.CONSENT:
            self._add(draft, activity_id, person, target, kind, _consent_reason(draft, superseded=superseded))
            return
        is_on = draft.event in self._settings.events_on
        if kind is Kind.EVENT:
            self._add(draft, activity_id, person, target, kind, None if is_on else Reason.EVENT_OFF)
        if kind is Kind.FIELDS or is_on or _fields_of(draft):
            self._add(draft, activity_id, person, target, Kind.FIELDS, None)
        for other in sorted(links.get(person.id, set()) - {target}) if changed else ():
            self._add(draft, activity_id, person, other, Kind.FIELDS, None)

    def _merge(self, draft: Draft, activity_id: int, person: Person) -> tuple[bool, bool]:
        """Merge a draft into its person: (whether its consent is an older one, whether a shared value changed)."""
        self.touched[person.id] = person
        person.first_name = draft.first_name or person.first_name
        person.last_name = draft.last_name or person.last_name
        person.home_store_id = person.home_store_id or draft.store_id
        before = person.fields_version
        known = orjson.loads(person.fields)
        fields, version = people.merge_fields(known, before, _fields_of(draft), draft.occurred_at)
        person.fields, person.fields_version = orjson.dumps(fields).decode(), version
        shared = people.shared_changes(fields, before, self._settings.fields, self._settings.fields_on)
        if draft.consent is None or _is_notice(draft.consent):
            return False, bool(shared)
        consents, is_newest = people.newest_consent(
            orjson.loads(person.consents), draft.consent, draft.occurred_at, activity_id
        )
        person.consents = orjson.dumps(consents).decode()
        return not is_newest, bool(shared)

    def _add(
        self,
        draft: Draft,
        activity_id: int,
        person: Person | None,
        connection_id: int | None,
        kind: Kind,
        skipped: Reason | None,
    ) -> None:
        key = (connection_id or lanes.NO_CONNECTION, kind)
        self._made[key] += 1
        self._skipped[key] += skipped is not None
        self.rows.append(
            {
                "workspace_id": self._settings.workspace_id,
                "activity_id": activity_id,
                "connection_id": connection_id,
                "kind": kind,
                "person_id": person.id if person else None,
                "event": draft.event,
                "status": Status.SKIPPED if skipped else Status.WAITING,
                "reason": skipped or Reason.BACKLOG,
                "due_at": self._now,
                "created_at": self._now,
                "expires_at": self._now + LIFE,
                "settled_at": self._now if skipped else None,
            }
        )

    def count(self, session: Session) -> None:
        """Keep the counters and let the lanes be woken: the transaction's last statements."""
        for (connection_id, kind), skipped in sorted(self._skipped.items()):
            counts = lanes.Counts(skipped=skipped)
            lanes.count(session, self._settings.workspace_id, connection_id, kind, counts)
        lanes.owe(session, {key: n for key, n in self._made.items() if key[0] != lanes.NO_CONNECTION})


def _fields_of(draft: Draft) -> dict[str, Any]:
    """What a draft says of the person's fields. Leaving the program clears what only members have."""
    return {**people.CLEARED_ON_LEAVING, **draft.fields} if draft.event == "member_left_program" else draft.fields


def _is_notice(consent: dict[str, Any]) -> bool:
    """A notice beside a button is not a consent."""
    return consent["state"] == "subscribed" and consent.get("collected_by") not in EXPLICIT


def _consent_reason(draft: Draft, *, superseded: bool) -> Reason | None:
    if draft.consent is not None and _is_notice(draft.consent):
        return Reason.NOT_EXPLICIT
    return Reason.SUPERSEDED if superseded else None
