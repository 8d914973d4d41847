"""Erasing a person: everything personal goes, once; ids, times and statuses stay; nobody else is touched."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Sequence

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from jobs import settle
from tests.apps import lent_app
from tests.processes import wait_for
from tests.rows import Rows
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.extensions import db
from webapp.models import Activity, AuditEntry, Delivery, Lane, LaneKind, Person, ProfileLink, Signup
from webapp.services.activities import ingest
from webapp.services.people import records
from webapp.services.people.records import Known
from webapp.services.tracing import erasures, trace

ADA, BOB = "ada@example.com", "bob@example.com"
LOCKED = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
JOSE = "jos\u00e9@example.com"


def test_what_is_personal_goes_and_the_rest_stays(any_app: Flask, rows: Rows) -> None:
    workspace = rows.workspace("mine")
    connection = rows.connection(workspace)
    ada, bob = (rows.person(workspace, email, first_name="A", fields='{"points":{}}') for email in (ADA, BOB))
    elsewhere = rows.person(rows.workspace("other"), ADA)
    for person in (ada, bob):
        rows.link(connection, person)
        rows.signup(connection, person, "LIST01")
        rows.delivery(rows.activity(workspace, person, consent='{"text":"I agree"}'), connection)
        done = rows.activity(workspace, person)
        rows.delivery(done, connection, status=Status.DELIVERED, reason=Reason.WRITTEN)
        rows.delivery(done, connection, kind=Kind.FIELDS)
    removed = erasures.erase(workspace.id, ADA, actor_id=7)
    assert removed == {"people": 1, "activities": 2, "deliveries_stopped": 2}
    assert erasures.erase(workspace.id, ADA, actor_id=7) == {"people": 0, "activities": 0, "deliveries_stopped": 0}
    with reading() as session:
        erased = session.get_one(Person, ada.id)
        assert (erased.email, erased.first_name, erased.fields, erased.consents) == (None, None, "{}", "{}")
        kept = {person.email for person in session.scalars(select(Person)) if person.email}
        assert kept == {BOB, elsewhere.email}
        for activity in session.scalars(select(Activity)):
            gone = activity.person_id == ada.id
            assert (activity.properties is None) == gone
            assert (activity.erased_at is not None) == gone
            assert activity.external_id
        ended = [(d.status, d.reason) for d in session.scalars(select(Delivery).where(Delivery.person_id == ada.id))]
        stopped = (Status.SKIPPED, Reason.ERASED)
        assert sorted(ended) == sorted([stopped, (Status.DELIVERED, Reason.WRITTEN), stopped])
        assert set(session.scalars(select(ProfileLink.person_id))) == {bob.id}
        assert set(session.scalars(select(Signup.person_id))) == {bob.id}
        lanes = {lane.kind: lane for lane in session.scalars(select(Lane))}
        assert [lanes[kind].waiting for kind in (LaneKind.EVENTS, LaneKind.FIELDS)] == [1, 1]
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "person.erased")).one()
        assert (entry.actor_id, entry.subject_id) == (7, str(ada.id))
        assert ADA not in f"{entry.before}{entry.after}"


def test_who_comes_back_is_a_new_person(any_app: Flask, rows: Rows) -> None:
    workspace = rows.workspace("mine")
    old = rows.person(workspace, ADA)
    erasures.erase(workspace.id, ADA, actor_id=None)
    item = {"id": "a-1", "type": "profile", "occurred_at": "2026-11-23T10:00:00Z", "profile": {"email": ADA}}
    assert ingest.accept(workspace.id, [item]).accepted == 1
    with reading() as session:
        new = session.scalars(select(Person).where(Person.email == ADA)).one()
    assert new.id != old.id


@pytest.mark.parametrize("typed", [JOSE, unicodedata.normalize("NFD", JOSE)], ids=["composed", "taken apart"])
def test_whoever_has_the_address_in_another_spelling_is_erased_and_found_as_well(
    any_app: Flask, rows: Rows, typed: str
) -> None:
    """On a screen nobody can tell the two apart."""
    workspace = rows.workspace("mine")
    connection = rows.connection(workspace)
    spelled = {form: rows.person(workspace, unicodedata.normalize(form, JOSE)) for form in ("NFC", "NFD")}
    plain = rows.person(workspace, "jose@example.com")
    for person in spelled.values():
        rows.delivery(rows.activity(workspace, person), connection)
    exact = next(person for person in spelled.values() if person.email == typed)
    assert trace.by_address(workspace.id, f" {typed.upper()} ") == exact.id
    other = next(person for person in spelled.values() if person.email != typed)
    removed = erasures.erase(workspace.id, typed, actor_id=7)
    assert removed == {"people": 2, "activities": 2, "deliveries_stopped": 2}
    with reading() as session:
        assert [person.email for person in session.scalars(select(Person))].count(None) == 2
        assert session.get_one(Person, plain.id).email == "jose@example.com"
        erased = session.scalars(select(AuditEntry.subject_id).where(AuditEntry.action == "person.erased"))
        assert set(erased) == {str(exact.id), str(other.id)}


def test_whoever_is_known_in_another_spelling_only_is_found(any_app: Flask, rows: Rows) -> None:
    workspace = rows.workspace("mine")
    person = rows.person(workspace, unicodedata.normalize("NFD", JOSE))
    assert trace.by_address(workspace.id, JOSE) == person.id
    assert trace.by_address(rows.workspace("other").id, JOSE) is None


def test_an_activity_that_is_being_accepted_is_of_a_new_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were there when it looked who is new, and erased when it locked them: else it would be nobody's, with all
    that it holds, and no later erasure would find it. On SQLite one writes at a time.
    """
    with lent_app("postgresql") as app:
        rows = Rows()
        workspace = rows.workspace("mine")
        connection, ada = rows.connection(workspace), rows.person(workspace, ADA)
        real = records.locked

        def locked(session: Session, workspace_id: int, emails: Sequence[str]) -> dict[str, Known]:
            monkeypatch.setattr(records, "locked", real)
            other = threading.Thread(target=erase)
            other.start()
            other.join(10)
            return real(session, workspace_id, emails)

        def erase() -> None:
            with app.app_context():
                erasures.erase(workspace.id, ADA, None)

        monkeypatch.setattr(records, "locked", locked)
        profile = {"email": ADA, "fields": {"points": 1}}
        item = {"id": "a", "type": "profile", "occurred_at": "2026-11-23T10:00:00Z", "profile": profile}
        assert ingest.accept(workspace.id, [item, {**item, "id": "b", "profile": {"email": BOB}}]).accepted == 2
        with reading() as session:
            assert session.get_one(Person, ada.id).email is None
            people = dict(session.execute(select(Person.email, Person.id).where(Person.email.is_not(None))).all())
            owed = session.execute(select(Delivery.connection_id, Delivery.person_id, Delivery.status)).all()
        assert sorted(owed) == sorted((connection.id, people[email], Status.WAITING) for email in (ADA, BOB))


def test_what_is_being_delivered_is_counted_once() -> None:
    """A drain is writing it down: the erasure finds that it waits, and that it does not any more."""
    with lent_app("postgresql") as app:
        rows = Rows()
        workspace = rows.workspace("mine")
        connection, ada = rows.connection(workspace), rows.person(workspace, ADA)
        going, waits = (rows.delivery(rows.activity(workspace, ada), connection) for _ in range(2))
        removed: list[dict[str, int]] = []

        def erase() -> None:
            with app.app_context():
                removed.append(erasures.erase(workspace.id, ADA, None))

        def is_waited_for() -> bool:
            with db.engines["read"].connect() as another:
                return bool(another.scalar(LOCKED))

        other = threading.Thread(target=erase)
        with writing() as session:
            settle.settle(session, connection, Kind.EVENT, {going.id: settle.DELIVERED})
            other.start()
            wait_for(is_waited_for, "the erasure to wait", 10)
        other.join(10)
        assert removed == [{"people": 1, "activities": 2, "deliveries_stopped": 1}]
        with reading() as session:
            statement = select(Lane).where(Lane.connection_id == connection.id, Lane.kind == LaneKind.EVENTS)
            lane = session.scalars(statement).one()
            assert session.get_one(Delivery, waits.id).reason is Reason.ERASED
        assert (lane.made, lane.delivered, lane.skipped) == (2, 1, 1)
