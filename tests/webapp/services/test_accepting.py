"""What an accepted activity owes to whom, and what it changes of what we know of its person."""

from __future__ import annotations

from typing import Any
from uuid import uuid5

import orjson
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from tests.rows import Rows
from webapp.catalogue.words import Kind
from webapp.extensions import db
from webapp.models import Activity, Connection, Delivery, Person, Workspace
from webapp.models.delivery import PRIORITY_WITHDRAWAL
from webapp.services.activities import ingest
from webapp.services.activities.ingest import Accepted
from webapp.services.people import consents
from webapp.services.sharing import choices
from webapp.services.tracing import erasures

ADA = "ada@example.com"
CHECKBOX = {"channel": "email", "state": "subscribed", "collected_by": "checkbox"}
WITHDRAWN = {"channel": "email", "state": "unsubscribed"}


class Shop:
    """Sweden's and Norway's accounts; points and the tier's name are shared, one event is on."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.workspace: Workspace = rows.workspace("mine")
        stores = {name: rows.store(self.workspace, name) for name in ("se", "no", "dk")}
        self.se: Connection = rows.connection(self.workspace, stores["se"])
        self.no: Connection = rows.connection(self.workspace, stores["no"])
        choices.choose_fields(self.workspace.id, None, ["points", "tier_name"])
        choices.choose_events(self.workspace.id, None, ["tier_earned"])

    def accept(self, *items: dict[str, Any]) -> Accepted:
        plain = {"type": "profile", "occurred_at": "2026-11-23T10:00:00Z", "profile": {"email": ADA}}
        result = ingest.accept(self.workspace.id, [{**plain, **item} for item in items])
        assert result.rejected == []
        db.session.expire_all()
        return result

    def owed(self, identity: str) -> list[tuple[int | None, Kind, str, bool]]:
        """The deliveries of an activity: connection, kind, reason, whether it never creates anybody."""
        statement = (
            select(Delivery)
            .join(Activity, Activity.id == Delivery.activity_id)
            .where(Activity.external_id == identity)
            .order_by(Delivery.kind, Delivery.connection_id)
        )
        return [(d.connection_id, d.kind, str(d.reason), d.only_existing) for d in db.session.scalars(statement)]

    def person(self, email: str = ADA) -> Person | None:
        return db.session.scalar(select(Person).where(Person.email == email))

    def fields(self) -> dict[str, Any]:
        person = self.person()
        assert person is not None
        return {key: entry["v"] for key, entry in orjson.loads(person.fields).items()}


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    return Shop(rows)


def profile(**fields: Any) -> dict[str, Any]:
    return {"email": ADA, "fields": fields}


def test_fields_go_along_with_events_that_are_on_or_carry_some(shop: Shop) -> None:
    shop.accept(
        {"id": "on", "type": "event", "event": "tier_earned", "store": "se"},
        {"id": "off", "type": "event", "event": "post_created", "store": "se"},
        {"id": "off-carries", "type": "event", "event": "post_created", "store": "se", "profile": profile(points=1)},
        {"id": "profile", "store": "se"},
    )
    se = shop.se.id
    assert shop.owed("on") == [(se, Kind.EVENT, "backlog", False), (se, Kind.FIELDS, "backlog", False)]
    assert shop.owed("off") == [(se, Kind.EVENT, "event_off", False)]
    assert shop.owed("off-carries") == [(se, Kind.EVENT, "event_off", False), (se, Kind.FIELDS, "backlog", False)]
    assert shop.owed("profile") == [(se, Kind.FIELDS, "backlog", False)]


def test_another_account_gets_a_shared_change_of_who_was_found_there(shop: Shop) -> None:
    shop.accept({"id": "first", "store": "se", "profile": profile(points=1)})
    person = shop.person()
    assert person is not None
    assert shop.owed("first") == [(shop.se.id, Kind.FIELDS, "backlog", False)]
    shop.rows.link(shop.no, person)
    both = [(shop.se.id, Kind.FIELDS, "backlog", False), (shop.no.id, Kind.FIELDS, "backlog", True)]
    later = "2026-11-23T11:00:00Z"
    shop.accept({"id": "changed", "store": "se", "occurred_at": later, "profile": profile(points=2)})
    assert shop.owed("changed") == both
    shop.accept({"id": "same", "store": "se", "occurred_at": later, "profile": profile(points=2)})
    shop.accept({"id": "unshared", "store": "se", "profile": profile(birthdate="1990-12-31")})
    shop.accept({"id": "older", "store": "se", "profile": profile(points=9)})
    for identity in ("same", "unshared", "older"):
        assert shop.owed(identity) == both[:1]


def test_a_change_routed_nowhere_still_reaches_who_was_found(shop: Shop) -> None:
    shop.accept({"id": "first", "store": "dk", "profile": profile(points=1)})
    assert shop.owed("first") == [(None, Kind.FIELDS, "no_route", False)]
    person = shop.person()
    assert person is not None
    shop.rows.link(shop.no, person)
    shop.accept({"id": "later", "store": "dk", "occurred_at": "2026-11-23T11:00:00Z", "profile": profile(points=2)})
    found = sorted(shop.owed("later"), key=str)
    assert found == [(shop.no.id, Kind.FIELDS, "backlog", True), (None, Kind.FIELDS, "no_route", False)]


def test_without_a_store_the_home_store_counts_also_within_one_call(shop: Shop) -> None:
    shop.rows.person(shop.workspace, ADA)
    shop.accept({"id": "unknown"}, {"id": "home", "store": "no"}, {"id": "then"}, {"id": "elsewhere", "store": "se"})
    shop.accept({"id": "next"})
    routed = {identity: shop.owed(identity)[0][0] for identity in ("unknown", "home", "then", "elsewhere", "next")}
    no, se = shop.no.id, shop.se.id
    assert routed == {"unknown": None, "home": no, "then": no, "elsewhere": se, "next": no}
    person = shop.person()
    assert person is not None
    assert person.home_store_id == shop.no.store_id


def test_leaving_clears_also_what_came_along_and_while_off(shop: Shop) -> None:
    before = {"points": 120, "tier_name": "Gold", "program_member": True, "joined_program_at": "2026-01-01T00:00:00Z"}
    shop.accept({"id": "in", "store": "se", "profile": profile(**before)})
    left = {"id": "left", "type": "event", "event": "member_left_program", "store": "se"}
    shop.accept({**left, "occurred_at": "2026-11-23T12:00:00Z", "profile": profile(**before)})
    assert shop.owed("left") == [
        (shop.se.id, Kind.EVENT, "event_off", False),
        (shop.se.id, Kind.FIELDS, "backlog", False),
    ]
    found = shop.fields()
    assert (found["program_member"], found["points"], found["tier_name"]) == (False, None, None)
    assert found["joined_program_at"] == "2026-01-01T00:00:00Z"
    shop.accept({"id": "late", "store": "se", "occurred_at": "2026-11-23T11:00:00Z", "profile": profile(points=130)})
    assert shop.fields()["points"] is None


def test_null_clears_and_absence_leaves(shop: Shop) -> None:
    shop.accept({"id": "a", "store": "se", "profile": profile(points=1, tier_name="Gold")})
    shop.accept({"id": "b", "store": "se", "occurred_at": "2026-11-23T11:00:00Z", "profile": profile(tier_name=None)})
    assert shop.fields() == {"points": 1, "tier_name": None}


def test_a_value_posted_again_once_its_field_is_on_counts_as_a_change_once(shop: Shop) -> None:
    """While it was off it went nowhere: not to the account it was routed to, nor to others that have the person."""

    def version_after(identity: str, **fields: Any) -> int:
        shop.accept({"id": identity, "store": "se", "profile": profile(**fields)})
        person = shop.person()
        assert person is not None
        return person.fields_version

    assert version_after("first", points=1, birthdate="1990-12-31") == 1
    assert version_after("while off", birthdate="1990-12-31") == 1
    person = shop.person()
    assert person is not None
    shop.rows.link(shop.no, person)
    choices.choose_fields(shop.workspace.id, None, ["points", "tier_name", "birthdate"])
    assert version_after("another", points=1) == 1, "that one was shared when it came"
    assert version_after("again", birthdate="1990-12-31") == 2
    assert [connection_id for connection_id, *_ in shop.owed("again")] == [shop.se.id, shop.no.id]
    assert version_after("once more", birthdate="1990-12-31") == 2
    choices.choose_fields(shop.workspace.id, None, ["points", "tier_name"])
    choices.choose_fields(shop.workspace.id, None, ["points", "tier_name", "birthdate"])
    assert version_after("off in between", birthdate="1990-12-31") == 2


def test_a_consent_owes_the_fields_it_carries(shop: Shop) -> None:
    consent = {"type": "consent", "store": "se", "profile": profile(points=5)}
    shop.accept({"id": "yes", "consent": CHECKBOX, **consent})
    shop.accept({"id": "no", "consent": WITHDRAWN, "occurred_at": "2026-11-23T11:00:00Z", **consent})
    notice = {**CHECKBOX, "collected_by": "notice"}
    shop.accept({"id": "notice", "consent": notice, **consent})
    shop.accept({"id": "bare", "consent": WITHDRAWN, **consent, "profile": {"email": ADA}})
    se = shop.se.id
    assert shop.owed("yes") == [(se, Kind.CONSENT, "backlog", False), (se, Kind.FIELDS, "backlog", False)]
    assert shop.owed("no") == [(se, Kind.CONSENT, "backlog", False), (se, Kind.FIELDS, "backlog", True)]
    assert shop.owed("notice") == [(se, Kind.CONSENT, "not_explicit", False), (se, Kind.FIELDS, "backlog", True)]
    assert shop.owed("bare") == [(se, Kind.CONSENT, "superseded", False)]


def test_a_consent_counts_in_the_account_that_takes_it(shop: Shop) -> None:
    """Somebody who signs up in one store did not take back that they left the other's list."""
    consent, late = {"type": "consent"}, "2026-11-23T11:00:00Z"
    shop.accept({"id": "no-in", "store": "no", "consent": CHECKBOX, **consent, "occurred_at": late})
    shop.accept({"id": "dk-in", "store": "dk", "consent": CHECKBOX, **consent, "occurred_at": late})
    shop.accept({"id": "se-out", "store": "se", "consent": WITHDRAWN, **consent})
    shop.accept({"id": "no-out", "store": "no", "consent": WITHDRAWN, **consent})
    assert shop.owed("se-out") == [(shop.se.id, Kind.CONSENT, "backlog", False)]
    assert shop.owed("no-out") == [(shop.no.id, Kind.CONSENT, "superseded", False)]
    shop.accept({"id": "home-out", "consent": WITHDRAWN, **consent})
    assert shop.owed("home-out") == [(shop.no.id, Kind.CONSENT, "superseded", False)], "the home store's"
    shop.accept({"id": "home-in", "consent": CHECKBOX, **consent, "occurred_at": "2026-11-23T12:00:00Z"})
    person = shop.person()
    assert person is not None
    places = [(entry["connection_id"], entry["store_id"]) for entry in consents.of_channel(person.consents)]
    assert places[0] == (shop.no.id, shop.no.store_id)
    assert len(places) == 3


def test_a_withdrawal_stands_before_everything_else(shop: Shop) -> None:
    consent = {"type": "consent", "store": "se"}
    shop.accept({"id": "yes", "consent": CHECKBOX, **consent}, {"id": "no", "consent": WITHDRAWN, **consent})
    found = db.session.scalars(select(Delivery.priority).order_by(Delivery.id)).all()
    assert sorted(found) == [PRIORITY_WITHDRAWAL, 0]


def test_an_erased_person_does_not_come_back_with_a_duplicate(shop: Shop) -> None:
    item = {"id": "a", "store": "se", "profile": profile(points=1)}
    shop.accept(item)
    erasures.erase(shop.workspace.id, ADA, actor_id=None)
    assert shop.accept(item).duplicates == 1
    assert shop.person() is None
    other = {**item, "profile": {"email": "bob@example.com"}}
    shop.accept(other, {"id": "b", "profile": {"email": "cid@example.com"}})
    assert shop.person("bob@example.com") is None
    assert shop.person("cid@example.com") is not None
    assert db.session.scalar(select(func.count()).select_from(Person)) == 2


@pytest.mark.parametrize("is_known", [False, True])
def test_a_duplicate_of_somebody_else_changes_nothing_of_them(shop: Shop, *, is_known: bool) -> None:
    """Neither their home store, nor where the other activities of the same call go, nor their name and fields."""
    shop.accept({"id": "a", "store": "se", "profile": {"email": "bob@example.com"}})
    if is_known:
        shop.accept({"id": "before"})
    duplicate = {"id": "a", "store": "no", "profile": {**profile(points=7), "first_name": "Bob"}}
    assert shop.accept({"id": "first"}, duplicate, {"id": "second", "profile": profile(tier_name="Gold")}).accepted == 2
    assert [shop.owed(identity) for identity in ("first", "second")] == [[(None, Kind.FIELDS, "no_route", False)]] * 2
    words = select(Activity.route).where(Activity.external_id.in_(["first", "second"]))
    assert set(db.session.scalars(words)) == {"no_route"}
    person = shop.person()
    assert person is not None
    assert (person.home_store_id, person.first_name, shop.fields()) == (None, None, {"tier_name": "Gold"})
    shop.accept(duplicate, {"id": "third"}, {"id": "home", "store": "se"}, {"id": "fourth"})
    assert [shop.owed(identity)[0][0] for identity in ("third", "home", "fourth")] == [None, shop.se.id, shop.se.id]
    db.session.refresh(person)
    assert person.home_store_id == shop.se.store_id


def test_a_duplicate_beside_new_ones_leaves_a_new_person_the_home_of_the_new_ones(shop: Shop) -> None:
    shop.accept({"id": "a", "store": "se", "profile": {"email": "bob@example.com"}})
    shop.accept({"id": "a", "store": "no"}, {"id": "first"}, {"id": "home", "store": "se"})
    assert [shop.owed(identity)[0][0] for identity in ("first", "home")] == [shop.se.id] * 2
    person = shop.person()
    assert person is not None
    assert person.home_store_id == shop.se.store_id


@given(workspace=st.integers(1, 2**40), identity=st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_an_activitys_unique_id_is_a_uuid_of_workspace_and_callers_id(workspace: int, identity: str) -> None:
    assert ingest.unique_id(workspace, identity) == str(uuid5(ingest.NAMESPACE, f"{workspace}:{identity}"))


def test_what_is_common_to_every_event_is_not_the_payloads_to_say(shop: Shop) -> None:
    """Where the activity names no store the payload's word stands: nothing better is known."""
    payload = {"eventId": "mine", "occurredAt": "never", "storeId": "xx", "storeName": "My store", "tierId": "t-1"}
    event = {"type": "event", "event": "tier_earned", "properties": payload}
    shop.accept({"id": "e-1", "store": "se", **event}, {"id": "e-2", **event})
    kept = {row.external_id: orjson.loads(row.properties or "") for row in db.session.scalars(select(Activity))}
    known = {"occurredAt": "2026-11-23T10:00:00Z", "tierId": "t-1"}
    assert kept["e-1"] == {"eventId": "e-1", "storeId": "se", "storeName": "se", **known}
    assert kept["e-2"] == {"eventId": "e-2", "storeId": "xx", "storeName": "My store", **known}
    assert list(kept["e-1"]) == ["eventId", "occurredAt", "storeId", "storeName", "tierId"]
