"""Test events: to the chosen account, also while off, nothing changed of what we know of anybody."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin
from webapp.extensions import db
from webapp.forms.invalid import Invalid
from webapp.models import Activity, AuditEntry, Connection, ConnectionState, Delivery, Person, Workspace
from webapp.services.activities import ingest
from webapp.services.connections import lifecycle
from webapp.services.sharing import choices, trials

ADA = "ada@example.com"


@pytest.fixture
def workspace(any_app: Flask, rows: Rows) -> Workspace:
    return rows.workspace("mine")


@pytest.fixture
def pair(rows: Rows, workspace: Workspace) -> tuple[Connection, Connection]:
    """Sweden's and Norway's."""
    stores = [rows.store(workspace, "se", name="acme.se"), rows.store(workspace, "no", name="acme.no")]
    return rows.connection(workspace, stores[0]), rows.connection(workspace, stores[1])


def send(workspace: Workspace, connection: Connection, **values: Any) -> int:
    asked: dict[str, Any] = {"event": "member_left_program", "email": " Ada@Example.com ", "starts_flows": False}
    return trials.send(workspace.id, 1, connection_id=connection.id, **{**asked, **values})


def test_it_goes_to_the_chosen_account_and_changes_nothing_else(
    rows: Rows, workspace: Workspace, pair: tuple[Connection, Connection]
) -> None:
    choices.choose_fields(workspace.id, None, ["points"])
    member = '{"points":{"v":5,"at":"2026-11-20T10:00:00Z","n":1}}'
    person = rows.person(workspace, ADA, fields=member, fields_version=1, home_store_id=pair[0].store_id)
    rows.link(pair[0], person)
    activity_id = send(workspace, pair[1])
    activity = db.session.get_one(Activity, activity_id)
    assert (activity.origin, activity.route, activity.starts_flows) == (Origin.TEST, "chosen", False)
    assert orjson.loads(activity.properties or "")["storeName"] == "acme.no"
    owed = list(db.session.scalars(select(Delivery)))
    assert [(d.connection_id, d.kind, d.status) for d in owed] == [(pair[1].id, Kind.EVENT, Status.WAITING)]
    db.session.expire_all()
    kept = db.session.get_one(Person, person.id)
    assert (kept.fields, kept.fields_version, kept.home_store_id) == (member, 1, pair[0].store_id)
    assert not kept.tested_only
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "event.tested")).one()
    assert ADA not in str(entry.after)


def test_somebody_known_from_tests_alone_is_nobody_a_sync_is_about(
    workspace: Workspace, pair: tuple[Connection, Connection]
) -> None:
    send(workspace, pair[0])
    person = db.session.scalars(select(Person)).one()
    assert (person.email, person.tested_only, person.home_store_id) == (ADA, True, None)
    item = {"id": "a", "type": "profile", "store": "no", "occurred_at": "2026-11-23T10:00:00Z"}
    ingest.accept(workspace.id, [{**item, "profile": {"email": ADA}}])
    db.session.expire_all()
    person = db.session.scalars(select(Person)).one()
    assert (person.tested_only, person.home_store_id) == (False, pair[1].store_id)


def test_each_test_is_an_event_of_its_own(workspace: Workspace, pair: tuple[Connection, Connection]) -> None:
    ids = [send(workspace, pair[0], event="tier_earned", starts_flows=bool(n)) for n in (0, 1)]
    found = [db.session.get_one(Activity, activity_id) for activity_id in ids]
    assert len({activity.external_id for activity in found}) == 2
    assert [activity.starts_flows for activity in found] == [False, True]


def test_what_cannot_be_sent_is_said(rows: Rows, workspace: Workspace, pair: tuple[Connection, Connection]) -> None:
    theirs = rows.connection(rows.workspace("theirs"))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"email": "ada"}, "email"),
        ({"email": " "}, "email"),
        ({"email": "a" * 95 + "@example.com"}, "email"),
        ({"event": "made_up"}, "event"),
        ({"connection_id": theirs.id}, "connection"),
        ({"connection_id": None}, "connection"),
    ]
    for values, field in cases:
        asked = {"connection_id": pair[0].id, "event": "tier_earned", "email": ADA, "starts_flows": False, **values}
        with pytest.raises(Invalid) as caught:
            trials.send(workspace.id, 1, **asked)
        assert list(caught.value.problems) == [field]
    assert db.session.scalars(select(Activity)).all() == []


def test_what_came_of_it_is_told_with_its_cause(workspace: Workspace, pair: tuple[Connection, Connection]) -> None:
    activity_id = send(workspace, pair[0])
    sent = trials.outcome(workspace.id, activity_id)
    assert sent is not None
    assert (sent.is_over, sent.delivery.reason) == (False, Reason.BACKLOG)
    lifecycle.pause(workspace.id, pair[0].id, 1, on=True)
    sent = trials.outcome(workspace.id, activity_id)
    assert sent is not None
    assert sent.cause.title == "Paused"


def test_only_tests_of_this_workspace_are_shown(
    rows: Rows, workspace: Workspace, pair: tuple[Connection, Connection]
) -> None:
    activity_id = send(workspace, pair[0])
    assert trials.outcome(rows.workspace("theirs").id, activity_id) is None
    real = rows.activity(workspace, rows.person(workspace))
    rows.delivery(real, pair[0])
    assert trials.outcome(workspace.id, real.id) is None


def test_a_disconnected_account_takes_no_test(rows: Rows, workspace: Workspace) -> None:
    gone = rows.connection(workspace, state=ConnectionState.DISCONNECTED)
    assert trials.targets(workspace.id) == []
    with pytest.raises(Invalid):
        send(workspace, gone)
