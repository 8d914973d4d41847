"""Tracing a person: everything that came of them and what became of it, and what we know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import select

from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.extensions import db
from webapp.models import Activity, Connection, Delivery, Person, ProfileLink, Store
from webapp.services.deliveries import accounts_then, waiting_reasons
from webapp.services.deliveries.ranges import LAST_ID, merged
from webapp.services.people import addresses, consents
from webapp.services.people.consents import Entry
from webapp.services.workspaces import snapshot

PAGE = 60
LOOKED = 1_000
NO_EVIDENCE = frozenset({"state", "channel", "occurred_at", "accepted_at", "activity_id", "connection_id", "store_id"})


@dataclass(frozen=True, slots=True)
class KnownField:
    """A field as we hold it. `shared`: it is written to Klaviyo as `property`; `at`: when it happened."""

    key: str
    property: str
    value: Any
    at: datetime
    shared: bool


@dataclass(frozen=True, slots=True)
class Link:
    """The person in one connection's account. `waiting`: profile data of theirs is in line for it."""

    connection: Connection
    link: ProfileLink
    waiting: bool


@dataclass(frozen=True, slots=True)
class Consent:
    """The newest of one channel and place, with its evidence by name; the store, where it is known."""

    channel: str
    state: str
    occurred_at: datetime
    store: str | None
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """What we know. `consents`: newest first."""

    person: Person
    home_store: Store | None
    fields: list[KnownField]
    consents: list[Consent]
    links: list[Link]
    live: list[Connection]


@dataclass(frozen=True, slots=True)
class Step:
    """One activity with what became of it in each connection."""

    activity: Activity
    store: str | None
    deliveries: list[tuple[Delivery, Reason]]


@dataclass(frozen=True, slots=True)
class Steps:
    """A page of them, newest first, and the cursor of the next page. `accounts`: by delivery, where it was another."""

    steps: list[Step]
    following: int | None
    accounts: dict[int, str]


def by_address(workspace_id: int, email: str) -> int | None:
    """The id of whoever has exactly this address (trimmed, lower-cased), else of whoever has it in another spelling."""
    spelled = addresses.spellings(email)
    statement = select(Person.email, Person.id).where(Person.workspace_id == workspace_id, Person.email.in_(spelled))
    found = {row.email: row.id for row in db.session.execute(statement)}
    return next((found[each] for each in spelled if each in found), None)


def get(workspace_id: int, person_id: int) -> Person | None:
    """A person of this workspace; None for anybody else's."""
    return db.session.scalar(select(Person).where(Person.id == person_id, Person.workspace_id == workspace_id))


def known(person: Person) -> Known:
    """What we know of a person."""
    session = db.session()
    settings = snapshot.load(session, person.workspace_id)
    held: dict[str, Any] = orjson.loads(person.fields)
    fields = [
        KnownField(
            key,
            settings.fields[key].property if key in settings.fields else key,
            entry["v"],
            datetime.fromisoformat(entry["at"]),
            key in settings.fields_on,
        )
        for key, entry in sorted(held.items())
    ]
    links = session.execute(
        select(Connection, ProfileLink)
        .join(Connection, Connection.id == ProfileLink.connection_id)
        .where(ProfileLink.person_id == person.id, Connection.workspace_id == person.workspace_id)
        .order_by(Connection.id)
        .limit(50)
    )
    in_line = select(Delivery.connection_id).where(
        Delivery.person_id == person.id, Delivery.kind == Kind.FIELDS, Delivery.status == Status.WAITING
    )
    waiting = set(session.scalars(in_line.limit(LOOKED)))
    owned = select(Connection).where(Connection.workspace_id == person.workspace_id).order_by(Connection.id).limit(50)
    return Known(
        person=person,
        home_store=session.get(Store, person.home_store_id) if person.home_store_id else None,
        fields=fields,
        consents=_consents(person),
        links=[Link(connection, link, connection.id in waiting) for connection, link in links],
        live=[connection for connection in session.scalars(owned) if connection.is_live],
    )


def _consents(person: Person) -> list[Consent]:
    said = [(channel, entry) for channel, held in consents.by_channel(person.consents).items() for entry in held]
    asked = {entry["store_id"] for _, entry in said if entry.get("store_id")}
    mine = select(Store.id, Store.name).where(Store.workspace_id == person.workspace_id, Store.id.in_(asked))
    stores = {row.id: row.name for row in db.session.execute(mine)} if asked else {}
    return [_consent(channel, entry, stores) for channel, entry in said]


def _consent(channel: str, entry: Entry, stores: Mapping[int, str]) -> Consent:
    evidence = {name: value for name, value in entry.items() if name not in NO_EVIDENCE and value is not None}
    happened = datetime.fromisoformat(entry["occurred_at"])
    return Consent(channel, entry["state"], happened, stores.get(entry.get("store_id") or 0), evidence)


def steps(person: Person, before: int | None) -> Steps:
    """A page of the person's activities in order of acceptance, across connections.

    An activity stands where its first delivery stands, with all of them, also those a resend made later.
    """
    session = db.session()
    rows = merged(session, [((Delivery.person_id, person.id),)], above=0, below=before or LAST_ID, limit=PAGE + 1)
    ids = {row.id for row in rows[:PAGE]}
    holds = waiting_reasons.of_workspace(session, person.workspace_id)
    named = select(Delivery.activity_id).where(Delivery.id.in_(ids))
    statement = (
        select(Delivery, Activity, Store.name, Connection)
        .join(Activity, Activity.id == Delivery.activity_id)
        .outerjoin(Connection, Connection.id == Delivery.connection_id)
        .outerjoin(Store, Store.id == Activity.store_id)
        .where(Delivery.activity_id.in_(named), Delivery.person_id == person.id)
        .order_by(Delivery.id)
    )
    found: dict[int, Step] = {}
    entries = session.execute(statement).all()
    for delivery, activity, store, _ in entries:
        step = found.setdefault(activity.id, Step(activity, store, []))
        step.deliveries.append((delivery, waiting_reasons.of(delivery, holds)))
    mine = [step for step in found.values() if step.deliveries[0][0].id in ids]
    newest_first = sorted(mine, key=lambda step: step.deliveries[0][0].id, reverse=True)
    before_it = accounts_then.of(session, [(entry[0], entry[3]) for entry in entries])
    names = {delivery_id: account.name for delivery_id, account in before_it.items()}
    return Steps(newest_first, rows[PAGE - 1].id if len(rows) > PAGE else None, names)
