"""Tracing a person: found by address, shown by number, everything in order, erased with a confirm page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from tests.webapp.views.pages import signed_in, text_of
from tests.webapp.views.troubleshooting import BASE, Shop
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.extensions import db
from webapp.http.pages import dated
from webapp.models import Activity, AuditEntry, Person, Task, TaskState
from webapp.services.connections import lifecycle
from webapp.services.people import consents
from webapp.services.people.consents import Place
from webapp.services.sharing import choices
from webapp.services.tracing import profile_now, trace

PEOPLE = f"{BASE}/people"


def test_an_address_leads_to_a_number_and_into_no_link(any_app: Flask, shop: Shop) -> None:
    client = signed_in(any_app, shop.support)
    for answer in (
        client.post(PEOPLE, data={"email": " Ada@Example.com "}),
        client.get(f"{PEOPLE}?email=ada@example.com"),
    ):
        assert answer.status_code == 303
        assert answer.location == f"{PEOPLE}/{shop.person.id}"
    shop.rows.person(shop.rows.workspace("theirs"), "bo@example.com")
    for nobody in ("bo@example.com", "ada@example", ""):
        missed = client.post(PEOPLE, data={"email": nobody})
        assert missed.status_code == 422
    assert client.get(f"{PEOPLE}/999999").status_code == 404


def test_every_activity_in_order_across_connections(any_app: Flask, shop: Shop) -> None:
    other = shop.rows.connection(shop.workspace, shop.rows.store(shop.workspace, "no"), account_name="Acme NO")
    activity = shop.rows.activity(shop.workspace, shop.person, event="tier_earned")
    shop.rows.delivery(activity, shop.connection, status=Status.DELIVERED, reason=Reason.WRITTEN)
    shop.rows.delivery(activity, shop.connection, kind=Kind.FIELDS, status=Status.DELIVERED, reason=Reason.WRITTEN)
    shop.rows.delivery(activity, other, kind=Kind.FIELDS, status=Status.SKIPPED, reason=Reason.NOT_IN_KLAVIYO)
    shop.rows.link(shop.connection, shop.person, created_by_us_at=clock.now(), klaviyo_id="01KADA")
    shop.rows.link(other, shop.person, found=False, klaviyo_id=None)
    shop.delivery(Status.FAILED, Reason.REJECTED)
    page = signed_in(any_app, shop.owner).get(f"{PEOPLE}/{shop.person.id}").text
    assert page.index("Refused by Klaviyo") < page.index("Tier Earned")
    for text in ("ada@example.com", "Cevoid: Points", "120", "01KADA", "created by us", "Not in Klaviyo", "Acme NO"):
        assert text in page, text


def test_whoever_is_not_found_any_more_is_shown_with_nothing_of_the_profile_before(any_app: Flask, shop: Shop) -> None:
    known = {"klaviyo_id": "01KADA", "fields_version": 99, "list_added_at": clock.now()}
    shop.rows.link(shop.connection, shop.person, found=False, created_by_us_at=clock.now(), **known)
    page = signed_in(any_app, shop.owner).get(f"{PEOPLE}/{shop.person.id}").text
    assert "not there" in page
    for text in ("01KADA", "created by us", "all written", "Put on the list"):
        assert text not in page, text


def test_of_an_account_that_was_disconnected_nothing_is_promised(any_app: Flask, shop: Shop) -> None:
    with writing() as session:
        session.get_one(Person, shop.person.id).fields_version = 2
    shop.rows.link(shop.connection, shop.person, fields_version=1)
    client = signed_in(any_app, shop.owner)
    assert "all but the newest, which goes with the next write" in text_of(client.get(f"{PEOPLE}/{shop.person.id}"))
    lifecycle.disconnect(shop.workspace.id, shop.connection.id, shop.owner.id)
    told = text_of(client.get(f"{PEOPLE}/{shop.person.id}"))
    assert "Acme SE disconnected" in told
    assert "ago; before that there" in told
    assert "Profile data nothing more is written there" in told
    assert "next write" not in told


def test_pages_of_a_person_never_cut_an_activity(any_app: Flask, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    for _ in range(4):
        activity = shop.rows.activity(shop.workspace, shop.person)
        for kind in (Kind.EVENT, Kind.FIELDS):
            shop.rows.delivery(activity, shop.connection, kind=kind)
        made.insert(0, activity.id)
    monkeypatch.setattr(trace, "PAGE", 3)
    seen: list[tuple[int, int]] = []
    before = None
    while True:
        found = trace.steps(shop.person, before)
        seen += [(step.activity.id, len(step.deliveries)) for step in found.steps]
        before = found.following
        if before is None:
            break
    assert seen == [(activity_id, 2) for activity_id in made]


def test_consents_are_shown_with_their_evidence(any_app: Flask, shop: Shop) -> None:
    text = '{"email":{"state":"subscribed","collected_by":"checkbox","policy_version":"2026-04",'
    text += '"occurred_at":"2026-11-23T10:00:00Z"}}'
    with writing() as session:
        session.get_one(Person, shop.person.id).consents = text
    page = signed_in(any_app, shop.owner).get(f"{PEOPLE}/{shop.person.id}").text
    for shown in ("subscribed", "checkbox", "Policy version", "2026-04"):
        assert shown in page


def test_what_was_said_in_each_store_is_shown(any_app: Flask, shop: Shop) -> None:
    text = "{}"
    for number, (store, state) in enumerate({"se": "unsubscribed", "no": "subscribed"}.items(), 1):
        made = shop.rows.store(shop.workspace, f"{store}-2")
        said, at = {"channel": "email", "state": state}, clock.now()
        text, _ = consents.merged(text, said, at, at, number, Place(number, made.id))
    with writing() as session:
        session.get_one(Person, shop.person.id).consents = text
    told = text_of(signed_in(any_app, shop.owner).get(f"{PEOPLE}/{shop.person.id}"))
    assert "Email subscribed Store no-2" in told
    assert "Email unsubscribed Store se-2" in told
    assert "connection id" not in told.lower()


def test_each_accounts_consent_is_compared_with_what_it_was_told(any_app: Flask, shop: Shop) -> None:
    elsewhere, at = Place(shop.connection.id + 1, None), clock.now()
    said = {"channel": "email", "state": "subscribed"}
    text, _ = consents.merged("{}", said, at, at, 1, elsewhere)
    with writing() as session:
        session.get_one(Person, shop.person.id).consents = text
    found = {"found": True, "properties": {}, "consent": "UNSUBSCRIBED"}
    shop.rows.save(
        Task(
            workspace_id=shop.workspace.id,
            connection_id=shop.connection.id,
            kind=profile_now.KIND,
            name="asked",
            arguments={"person": shop.person.id},
            result=found,
            state=TaskState.DONE,
            created_at=at,
            due_at=at,
        )
    )
    known = trace.known(db.session.get_one(Person, shop.person.id))
    (answer,) = profile_now.latest(known)
    (line,) = [line for line in answer.lines if line.what == "E-mail marketing"]
    assert (line.ours, line.differs) == (None, None)


def test_revealed_by_a_support_agent_and_written_down(any_app: Flask, shop: Shop) -> None:
    client = signed_in(any_app, shop.support)
    assert "ada@example.com" not in client.get(f"{PEOPLE}/{shop.person.id}").text
    assert "ada@example.com" in client.post(f"{PEOPLE}/{shop.person.id}/reveal").text
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "person.revealed")).one()
    assert entry.subject_id == str(shop.person.id)


def test_what_klaviyo_has_is_asked_of_a_worker_and_compared(any_app: Flask, shop: Shop) -> None:
    client = signed_in(any_app, shop.owner)
    url = f"{PEOPLE}/{shop.person.id}"
    assert client.post(f"{url}/now").status_code == 303
    assert client.post(f"{url}/now").status_code == 303
    task = db.session.scalars(select(Task)).one()
    assert (task.kind, task.arguments) == ("profile_now", {"person": shop.person.id})
    assert "being asked…" in client.get(url).text
    result = {
        "found": True,
        "id": "01KADA",
        "properties": {"Cevoid: Points": 90, "Birthdate": "1990-12-31"},
        "consent": "UNSUBSCRIBED",
        "suppressed": [],
        "on_list": None,
    }
    with writing() as session:
        row = session.get_one(Task, task.id)
        row.state, row.result, row.finished_at = TaskState.DONE, result, clock.now()
    page = client.get(url).text
    assert page.count("≠ differs") == 1
    assert "Birthdate – 1990-12-31 not ours" in text_of(client.get(url))
    choices.choose_fields(shop.workspace.id, None, [])
    assert "Cevoid: Points 120 90 not shared" in text_of(client.get(url))
    with writing() as session:
        session.get_one(Task, task.id).created_at = clock.now() - timedelta(minutes=20)
    assert "≠ differs" not in client.get(url).text


def test_erasing_is_confirmed_and_takes_the_answers_along(any_app: Flask, shop: Shop) -> None:
    shop.delivery(Status.WAITING, Reason.BACKLOG)
    url = f"{PEOPLE}/{shop.person.id}"
    asked = {"connection_id": shop.connection.id, "kind": "profile_now", "arguments": {"person": shop.person.id}}
    now = clock.now()
    result = {"found": True, "first_name": "Ada"}
    shop.rows.save(Task(workspace_id=shop.workspace.id, created_at=now, due_at=now, result=result, **asked))
    support = signed_in(any_app, shop.support)
    assert support.get(f"{url}/erase").status_code == 403
    client = signed_in(any_app, shop.owner)
    assert "ada@example.com" in client.get(f"{url}/erase").text
    answer = client.post(f"{url}/erase", follow_redirects=True)
    assert "the content of 1 activity. 1 waiting delivery was stopped." in answer.text
    assert "Erased person" in answer.text
    assert "Erased · " + shop.connection.account_name in text_of(answer)  # the link to its profile is gone
    db.session.rollback()
    assert db.session.scalars(select(Activity.properties)).all() == [None]
    assert db.session.scalars(select(Task)).all() == []
    assert client.get(f"{url}/erase").status_code == 303


def test_before_erasing_it_is_said_who_goes_with_them(any_app: Flask, shop: Shop) -> None:
    """Two spellings of one address look alike: whoever presses the button would not know of the other."""
    accented = shop.rows.person(shop.workspace, "zo\u00e9@example.com")
    client = signed_in(any_app, shop.owner)
    sentence = "is erased with them"
    assert sentence in client.get(f"{PEOPLE}/{accented.id}/erase").text
    assert sentence not in client.get(f"{PEOPLE}/{shop.person.id}/erase").text


def test_values_and_times_are_said_as_everywhere(any_app: Flask, shop: Shop) -> None:
    said = '{"email":{"state":"subscribed","occurred_at":"2026-11-23T10:00:00Z","activity_id":1}}'
    at = '"at":"2026-11-23T10:00:00Z","n":1}'
    held = f'{{"program_member":{{"v":true,{at},"tags":{{"v":["a","b"],{at}}}'
    with writing() as session:
        row = session.get_one(Person, shop.person.id)
        row.fields, row.consents = held, said
    told = text_of(signed_in(any_app, shop.owner).get(f"{PEOPLE}/{shop.person.id}"))
    moment = dated(datetime(2026, 11, 23, 10, tzinfo=UTC))
    assert f"not shared yes {moment}" in told
    assert f"not shared a, b {moment}" in told
    assert f"Happened {moment}" in told
    assert "Times are UTC." in told
