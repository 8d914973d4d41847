"""Accepting activities: routed, merged into what we know of people, written with their deliveries in one transaction.

A duplicate (the caller's id, known in the workspace) changes nothing at all. Duplicates are decided by the unique key,
never by check-then-insert. Statements go in key order: unsorted concurrent ones deadlock on PostgreSQL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import bindparam, delete, exists, insert, select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.words import ActivityType, Origin
from webapp.database import reading, run_writing
from webapp.dialects import among, db_now
from webapp.forms.activities import Draft, Refused, check
from webapp.models import Activity, Delivery, Person, ProfileLink
from webapp.models.tables import ACTIVITIES
from webapp.services.activities import delivery_maker, refusals, routing
from webapp.services.activities.routing import Route
from webapp.services.people import records
from webapp.services.people.records import Known
from webapp.services.workspaces import snapshot
from webapp.services.workspaces.snapshot import WorkspaceSettings
from webapp.upserts import insert_or_ignore

NAMESPACE = UUID("6f2f5f0e-8f0b-5d43-9b0c-7a3c2f1f9d11")
_NAMESPACE = NAMESPACE.bytes
_REROUTE = update(ACTIVITIES).where(ACTIVITIES.c.id == bindparam("row")).values(route=bindparam("how"))


def unique_id(workspace_id: int, external_id: str) -> str:
    """Klaviyo's `unique_id` of an activity, a UUIDv5: the same after a crash, a resend or a re-ingest.

    Put together by hand: a bulk call has a thousand, and the library takes several times as long for each.
    """
    name = f"{workspace_id}:{external_id}".encode()
    digest = hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


@dataclass(frozen=True, slots=True)
class Test:
    """A test event goes to the connection somebody chose; Klaviyo starts flows from it only where they ticked so."""

    connection_id: int
    starts_flows: bool


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
        settings = snapshot.load(session, workspace_id)
    drafts: dict[str, Draft] = {}
    for index, item in enumerate(items):
        try:
            if isinstance(item, Refused):
                raise item
            draft = check(item, settings.stores, settings.fields, now)
        except Refused as refusal:
            result.rejected.append({"index": index, "id": _identity(item), "error": str(refusal)})
            continue
        result.duplicates += draft.id in drafts
        drafts.setdefault(draft.id, draft)
    refused = refusals.to_keep(result.rejected)

    def work(session: Session) -> int:
        if refused:
            refusals.keep(session, workspace_id, refused, now)
        return record(session, workspace_id, list(drafts.values()), now=now) if drafts else 0

    if drafts or refused:
        result.accepted = run_writing(work)
        result.duplicates += len(drafts) - result.accepted
    return result


def _identity(item: Any) -> Any:
    """A refused item's id as it was sent, for the answer, which could not be written with one a thousand lists deep."""
    identity = item.get("id") if isinstance(item, dict) else getattr(item, "identity", None)
    return None if isinstance(identity, list | dict) else identity


def record(
    session: Session,
    workspace_id: int,
    drafts: Sequence[Draft],
    *,
    now: datetime,
    test: Test | None = None,
) -> int:
    """Write new activities with their deliveries; how many were new. `test`: they are test events, and whither."""
    settings = snapshot.load(session, workspace_id)
    known = _people(session, workspace_id, drafts, now, is_test=test is not None)
    routes = _routes(settings, drafts, known, test)
    rows = [_activity_row(settings, d, routes[d.id], known.get(d.email or ""), now, test) for d in drafts]
    table = Activity.__table__
    statement = insert_or_ignore(session, table).returning(table.c.external_id, table.c.id)
    new_ids = {row.external_id: row.id for row in session.connection().execute(statement, rows)}
    if len(new_ids) < len(drafts):
        repeated = {d.email for d in drafts if d.id not in new_ids}
        drafts = [d for d in drafts if d.id in new_ids]
        _as_without(session, workspace_id, repeated, _homes(drafts, is_test=test is not None), known, now)
        routes = _rerouted(session, _routes(settings, drafts, known, test), routes, new_ids)
    links = _found_links(session, settings, routes.values(), {p.id for p in known.values()})
    maker = delivery_maker.DeliveryMaker(settings, now, is_test=test is not None)
    for draft in drafts:
        maker.make(draft, new_ids[draft.id], routes[draft.id], known.get(draft.email or ""), links)
    records.save(session, maker.touched.values())
    # Due by the database's clock: of two web machines one is always a little ahead.
    inserted = insert(Delivery.__table__).values(due_at=db_now())  # type: ignore[arg-type]  # it is a Table
    for rows_made in filter(None, (maker.rows, maker.withdrawals)):
        session.connection().execute(inserted, rows_made)
    maker.count(session)
    return len(new_ids)


def _routes(
    settings: WorkspaceSettings, drafts: Sequence[Draft], known: dict[str, Known], test: Test | None
) -> dict[str, Route]:
    """Each draft's route. The store of an earlier one of the same call is a home already for those after it."""
    if test is not None:
        return {draft.id: Route(test.connection_id, None, "chosen") for draft in drafts}
    homes = {email: person.home_store_id for email, person in known.items()}
    routes: dict[str, Route] = {}
    for draft in drafts:
        email = draft.email or ""
        routes[draft.id] = routing.route(settings, draft.store_id, homes.get(email))
        homes[email] = homes.get(email) or draft.store_id
    return routes


def _as_without(
    session: Session,
    workspace_id: int,
    repeated: set[str | None],
    homes: dict[str, int | None],
    known: dict[str, Known],
    now: datetime,
) -> None:
    """Whom the duplicates speak of (`repeated`), as if they had not come. `homes`: by what is new.

    Somebody only they speak of was not there before and is not now: an erased person does not come back. Who is made
    by what is new has no home store of theirs.
    """
    made_now = select(Person.email).where(
        Person.workspace_id == workspace_id,
        Person.email.in_([email for email in known if email in repeated]),
        Person.created_at == now,
        ~exists().where(Delivery.person_id == Person.id),
    )
    made = set(session.scalars(made_now))
    strangers = [person.id for email, person in known.items() if email in made and email not in homes]
    for email in homes.keys() & made:
        known[email].home_store_id = homes[email]
    if strangers:
        gone = delete(Person).where(among(session, Person.id, strangers))
        session.execute(gone.execution_options(synchronize_session=False))


def _rerouted(
    session: Session, routes: dict[str, Route], written: dict[str, Route], ids: dict[str, int]
) -> dict[str, Route]:
    """`routes`, said on their activities too where others were `written`."""
    moved = [{"row": ids[key], "how": route.how} for key, route in routes.items() if route.how != written[key].how]
    if moved:
        session.connection().execute(_REROUTE, moved)
    return routes


def _homes(drafts: Iterable[Draft], *, is_test: bool) -> dict[str, int | None]:
    """Address -> the first store named with it."""
    homes: dict[str, int | None] = {}
    for draft in drafts:
        if draft.email:
            homes[draft.email] = homes.get(draft.email) or (None if is_test else draft.store_id)
    return homes


def _people(
    session: Session, workspace_id: int, drafts: Sequence[Draft], now: datetime, *, is_test: bool
) -> dict[str, Known]:
    homes = _homes(drafts, is_test=is_test)
    if not homes:
        return {}
    emails = sorted(homes)
    fresh = {"fields": "{}", "fields_version": 0, "consents": "{}", "tested_only": is_test, "created_at": now}
    rows = [{"workspace_id": workspace_id, "email": e, "home_store_id": homes[e], **fresh} for e in emails]
    known: dict[str, Known] = {}
    # Who is erased between the two statements was there for the first and is not for the second: a new person.
    while len(known) < len(emails):
        missing = [row for row in rows if row["email"] not in known]
        session.connection().execute(insert_or_ignore(session, Person.__table__), missing)
        known = records.locked(session, workspace_id, emails)
    return known


def _activity_row(
    settings: WorkspaceSettings,
    draft: Draft,
    route: Route,
    person: Known | None,
    now: datetime,
    test: Test | None,
) -> dict[str, Any]:
    return {
        "workspace_id": settings.workspace_id,
        "external_id": draft.id,
        "type": draft.type,
        "event": draft.event,
        "origin": Origin.TEST if test else Origin.PLATFORM,
        "store_id": draft.store_id,
        "person_id": person.id if person else None,
        "occurred_at": draft.occurred_at,
        "accepted_at": now,
        "properties": _properties(settings, draft) if draft.type is ActivityType.EVENT else None,
        "profile": draft.profile_json,
        "consent": orjson.dumps(draft.consent).decode() if draft.consent else None,
        "route": route.how,
        "starts_flows": test is not None and test.starts_flows,
    }


def _properties(settings: WorkspaceSettings, draft: Draft) -> str:
    """The event's properties as Klaviyo gets them: what is common to every event first, then the payload.

    What we know of the common ones is not the payload's to say; where no store was named its word stands.
    """
    external, name = settings.store_names.get(draft.store_id or 0, (None, None))
    common = {
        "eventId": draft.id,
        "occurredAt": clock.iso(draft.occurred_at),
        "storeId": external,
        "storeName": name,
    }
    known = {name: value for name, value in common.items() if value is not None}
    return orjson.dumps({**common, **draft.properties, **known}).decode()


def _found_links(
    session: Session, settings: WorkspaceSettings, routes: Iterable[Route], person_ids: set[int]
) -> dict[int, set[int]]:
    """Person id -> the connections in whose account the person has been found."""
    found: dict[int, set[int]] = {}
    alone = len(settings.connections) == 1 and all(route.connection_id for route in routes)
    if alone or not settings.connections or not person_ids:
        return found
    statement = select(ProfileLink.person_id, ProfileLink.connection_id).where(
        among(session, ProfileLink.person_id, person_ids), ProfileLink.found.is_(True)
    )
    live = {connection.id for connection in settings.connections}
    for row in session.execute(statement):
        if row.connection_id in live:
            found.setdefault(row.person_id, set()).add(row.connection_id)
    return found
