"""The deliveries' pages: filters, pages, causes, one delivery in full, masked until revealed. On both databases."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from tests.webapp.views.troubleshooting import BASE, Shop, make_shop, signed_in
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import writing
from webapp.extensions import db
from webapp.forms.delivery_filters import Filters, parse
from webapp.models import Attempt, AttemptDelivery, AuditEntry, Batch, Connection, Delivery, Lane, LaneKind
from webapp.services import audit
from webapp.services.deliveries import search as delivery_search
from webapp.services.sharing import choices

LIST = f"{BASE}/deliveries"


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    return make_shop(any_app, rows)


def shown(html: str) -> list[int]:
    return [int(found) for found in re.findall(r'id="delivery-(\d+)"', html)]


def test_every_filter_finds_its_own_and_nothing_else(any_app: Flask, shop: Shop) -> None:
    other = shop.rows.connection(shop.workspace, shop.rows.store(shop.workspace, "no"), account_name="Acme NO")
    old = shop.delivery(Status.DELIVERED, Reason.WRITTEN, created_at=clock.now() - timedelta(days=2))
    failed = shop.delivery(Status.FAILED, Reason.REJECTED)
    skipped = shop.delivery(Status.SKIPPED, Reason.EVENT_OFF)
    waiting = shop.delivery(Status.WAITING, Reason.BACKLOG)
    fields = shop.delivery(Status.DELIVERED, Reason.WRITTEN, Kind.FIELDS)
    somebody = shop.rows.person(shop.workspace, "bo@example.com")
    tier = shop.rows.activity(shop.workspace, somebody, event="tier_earned")
    elsewhere = shop.rows.delivery(tier, other, status=Status.DELIVERED, reason=Reason.WRITTEN)
    lost = shop.rows.activity(shop.workspace, somebody)
    unrouted = shop.rows.delivery(lost, None, status=Status.SKIPPED, reason=Reason.NO_ROUTE)
    foreign = shop.rows.workspace("theirs")
    shop.rows.delivery(shop.rows.activity(foreign), shop.rows.connection(foreign))
    client = signed_in(any_app, shop.owner)
    yesterday = (clock.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    everything = [unrouted, elsewhere, fields, waiting, skipped, failed, old]
    for query, wanted in {
        "": everything,
        "status=failed": [failed],
        "status=skipped": [unrouted, skipped],
        "reason=event_off": [skipped],
        "status=delivered&reason=written": [elsewhere, fields, old],
        "event=tier_earned": [elsewhere],
        f"connection={other.id}": [elsewhere],
        f"connection={shop.connection.id}&status=delivered": [fields, old],
        f"connection={shop.connection.id}&status=failed": [failed],
        f"person={somebody.id}": [unrouted, elsewhere],
        f"person={somebody.id}&status=skipped": [unrouted],
        f"activity={tier.id}": [elsewhere],
        f"activity={tier.id}&status=failed": [],
        f"to={yesterday}": [old],
        f"from={yesterday}&status=delivered": [elsewhere, fields],
    }.items():
        assert shown(client.get(f"{LIST}?{query}").text) == [row.id for row in wanted], query


def test_whatever_one_has_in_hand_is_found_by_one_box(any_app: Flask, shop: Shop) -> None:
    activity = shop.rows.activity(shop.workspace, shop.person, external_id="join:ada@example.com")
    event = shop.rows.delivery(activity, shop.connection, status=Status.DELIVERED, reason=Reason.WRITTEN)
    fields = shop.rows.delivery(activity, shop.connection, kind=Kind.FIELDS)
    other = shop.delivery(Status.FAILED, Reason.REJECTED)
    tried = {"connection_id": shop.connection.id, "endpoint": "POST /api/events", "size": 1, "outcome": "refused"}
    attempt = shop.rows.save(Attempt(**tried, request_id="req-9", http_status=400, started_at=clock.now()))
    shop.rows.save(AttemptDelivery(attempt_id=attempt.id, delivery_id=other.id))
    client = signed_in(any_app, shop.support)
    for sought, wanted in {
        " Ada@Example.com ": [other, fields, event],
        "join:ada@example.com": [fields, event],
        "req-9": [other],
    }.items():
        answer = client.post(f"{LIST}/find", data={"what": sought})
        assert answer.status_code == 303, sought
        assert "ada" not in answer.location
        assert shown(client.get(answer.location).text) == [row.id for row in wanted], sought
    assert client.post(f"{LIST}/find", data={"what": str(other.id)}).location == f"{LIST}/{other.id}"
    theirs = shop.rows.workspace("theirs")
    foreign = shop.rows.delivery(shop.rows.activity(theirs, external_id="foreign-1"), None)
    for nothing in ("foreign-1", str(foreign.id), "nobody@example.com", " "):
        missed = client.post(f"{LIST}/find", data={"what": nothing})
        assert missed.status_code == 422, nothing
        assert 'id="what-problem"' in missed.text


def test_a_word_that_is_not_understood_is_said(any_app: Flask, shop: Shop) -> None:
    answer = signed_in(any_app, shop.owner).get(f"{LIST}?status=lost&from=soon&person=ada")
    assert answer.status_code == 422
    for sentence in ("There is no status “lost”.", "“soon” is no time", "“ada” is no number"):
        assert sentence in answer.text


def test_pages_do_not_move_when_new_ones_come(any_app: Flask, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_search, "PAGE", 3)
    made = [shop.delivery(Status.FAILED, Reason.REJECTED).id for _ in range(7)][::-1]
    client = signed_in(any_app, shop.owner)
    first = client.get(f"{LIST}?status=failed").text
    shop.delivery(Status.FAILED, Reason.REJECTED)
    following = re.search(r'id="older" href="([^"]+)"', first)
    assert following is not None
    second = client.get(following.group(1).replace("&amp;", "&")).text
    assert shown(first) + shown(second) == made[:6]
    assert 'id="older"' in second
    assert f"before={made[5]}" in second


def test_only_the_first_page_followed_is_live(any_app: Flask, shop: Shop) -> None:
    shop.delivery(Status.FAILED, Reason.REJECTED)
    client = signed_in(any_app, shop.owner)
    assert "data-live" not in client.get(LIST).text
    assert "data-live" in client.get(f"{LIST}?follow=1").text
    assert "data-live" not in client.get(f"{LIST}?follow=1&before=99").text
    poll = client.get(f"{LIST}?follow=1", headers={"HX-Request": "true", "HX-Target": "list"})
    assert poll.text.startswith('<div id="list"')
    same = {"HX-Request": "true", "HX-Target": "list"}
    assert client.get(f"{LIST}?follow=1&since={poll.headers['X-Version']}", headers=same).status_code == 204
    shop.delivery(Status.FAILED, Reason.REJECTED)
    assert client.get(f"{LIST}?follow=1&since={poll.headers['X-Version']}", headers=same).status_code == 200


def test_what_waits_shows_why_its_lane_does(any_app: Flask, shop: Shop) -> None:
    waiting = shop.delivery(Status.WAITING, Reason.BACKLOG)
    client = signed_in(any_app, shop.owner)
    assert shown(client.get(f"{LIST}?reason=backlog").text) == [waiting.id]
    with writing() as session:
        session.get_one(Connection, shop.connection.id).paused_at = clock.now()
    assert shown(client.get(f"{LIST}?reason=paused").text) == [waiting.id]
    assert shown(client.get(f"{LIST}?reason=backlog").text) == []
    page = client.get(f"{LIST}/{waiting.id}").text
    assert "Nothing is sent before somebody acts." in page
    assert ">Resume</button>" in page
    with writing() as session:
        session.get_one(Connection, shop.connection.id).paused_at = None
        lane = session.scalars(select(Lane).where(Lane.kind == LaneKind.EVENTS)).one()
        lane.held_until, lane.held_reason = clock.now() + timedelta(minutes=5), "rate_limited"
    assert shown(client.get(f"{LIST}?reason=rate_limited").text) == [waiting.id]


def test_found_by_klaviyos_request_id(any_app: Flask, shop: Shop) -> None:
    carried = shop.delivery(Status.DELIVERED, Reason.WRITTEN)
    refused = shop.delivery(Status.FAILED, Reason.REJECTED)
    shop.delivery(Status.DELIVERED, Reason.WRITTEN)
    now = clock.now()
    with writing() as session:
        batch = Batch(
            lane_id=1, connection_id=shop.connection.id, endpoint="POST /api/events", size=2, fence=1, started_at=now
        )
        session.add(batch)
        session.flush()
        session.get_one(Delivery, carried.id).batch_id = batch.id
        attempt = Attempt(
            batch_id=batch.id,
            connection_id=shop.connection.id,
            endpoint="POST /api/events",
            size=2,
            started_at=now,
            duration_ms=12,
            http_status=202,
            outcome="answered",
            request_id="req-77",
            revision="2026-07-15",
        )
        session.add(attempt)
        session.flush()
        session.add(AttemptDelivery(attempt_id=attempt.id, delivery_id=refused.id))
    client = signed_in(any_app, shop.owner)
    assert shown(client.get(f"{LIST}?request=req-77").text) == [refused.id, carried.id]
    assert shown(client.get(f"{LIST}?request=req-77&status=failed").text) == [refused.id]
    assert shown(client.get(f"{LIST}?request=nobody").text) == []
    for delivery in (carried, refused):
        page = client.get(f"{LIST}/{delivery.id}").text
        assert "req-77" in page
        assert "2026-07-15" in page
        assert "12 ms" in page


def test_a_search_that_looked_at_much_says_how_far(any_app: Flask, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from webapp.services.deliveries import ranges

    tier = shop.rows.activity(shop.workspace, shop.person, event="tier_earned")
    wanted = shop.rows.delivery(tier, shop.connection)
    for _ in range(8):
        shop.delivery(Status.DELIVERED, Reason.WRITTEN)
    monkeypatch.setattr(ranges, "CHUNKS", (2, 3))
    client = signed_in(any_app, shop.owner)
    first = client.get(f"{LIST}?event=tier_earned").text
    assert "None so far" in first
    further = re.search(r'id="older" href="([^"]+)"[^>]*>Look further back', first)
    assert further is not None
    assert shown(client.get(further.group(1).replace("&amp;", "&")).text) == [wanted.id]


def test_causes_are_counted(any_app: Flask, shop: Shop) -> None:
    shop.delivery(Status.SKIPPED, Reason.EVENT_OFF, created_at=clock.now() - timedelta(days=3))
    for _ in range(3):
        shop.delivery(Status.FAILED, Reason.REJECTED)
    shop.delivery(Status.SKIPPED, Reason.EVENT_OFF)
    html = signed_in(any_app, shop.owner).get(f"{LIST}?view=causes").text
    rows = {
        key: int(number)
        for key, number in re.findall(r'id="cause-([a-z_-]+)".*?data-label="How many" class="count">(\d+)', html, re.S)
    }
    assert rows == {"failed-rejected": 3, "skipped-event_off": 1}
    assert f"{LIST}/resends/new?status=failed&amp;reason=rejected" in html


def test_a_cause_says_what_klaviyo_said_and_has_the_buttons_that_mend_it(any_app: Flask, shop: Shop) -> None:
    second = shop.rows.connection(shop.workspace, shop.rows.store(shop.workspace, "no"), account_name="Acme NO")
    shop.delivery(Status.FAILED, Reason.REJECTED, detail="Bad for ada@example.com")
    for connection in (shop.connection, second):
        activity = shop.rows.activity(shop.workspace, shop.person)
        shop.rows.delivery(activity, connection, status=Status.SKIPPED, reason=Reason.SCOPE_MISSING)
        with writing() as session:
            session.get_one(Connection, connection.id).paused_at = clock.now()
        shop.rows.delivery(activity, connection, kind=Kind.FIELDS)
    owners = signed_in(any_app, shop.owner).get(f"{LIST}?view=causes").text
    for text in ("Bad for ada@example.com", ">Reconnect: Acme SE<", ">Reconnect: Acme NO<", ">Resume: Acme NO<"):
        assert text in owners, text
    agents = signed_in(any_app, shop.support).get(f"{LIST}?view=causes").text
    assert "Bad for a…@example.com" in agents
    assert "Reconnect: Acme SE" not in agents
    assert ">Resume: Acme SE<" in agents
    of_one = signed_in(any_app, shop.owner).get(f"{LIST}?view=causes&connection={second.id}").text
    assert ">Reconnect</button>" in of_one
    listed = re.search(r'id="cause-skipped-scope_missing" href="([^"]+)"', owners)
    assert listed is not None
    assert "from=" in listed.group(1)
    assert len(shown(signed_in(any_app, shop.owner).get(listed.group(1).replace("&amp;", "&")).text)) == 2


def test_the_settings_a_delivery_ran_under_stay_with_it(any_app: Flask, shop: Shop) -> None:
    choices.choose_events(shop.workspace.id, None, [])
    delivery = shop.delivery(Status.SKIPPED, Reason.EVENT_OFF, settled_at=clock.now())
    waiting = shop.delivery(Status.WAITING, Reason.BACKLOG)
    client = signed_in(any_app, shop.owner)

    def settings_of(row: Delivery) -> str:
        found = re.search(r'id="settings">(.*?)</dl>', client.get(f"{LIST}/{row.id}").text, re.S)
        assert found is not None
        return " ".join(re.sub(r"<[^>]+>", " ", found.group(1)).split())

    assert "Event off ·" in settings_of(delivery)
    assert "Changed since" not in settings_of(delivery)
    choices.choose_events(shop.workspace.id, None, ["member_joined_program"])
    choices.choose_fields(shop.workspace.id, None, ["points", "tier_name"])
    with writing() as session:
        connection = session.get_one(Connection, shop.connection.id)
        edit = {"list_id": None, "list_opt_in": None, "store_id": connection.store_id}
        before = {**edit, "behavior": "update_existing", "list_name": None}
        after = {**edit, "behavior": "create_profile", "list_name": "New people"}
        connection.sync_behavior, connection.list_name = SyncBehavior.CREATE_PROFILE, "New people"
        about = ("connection", connection.id)
        entry: dict[str, Any] = {"action": "connection.edited", "subject": about, "before": before, "after": after}
        audit.record(session, workspace_id=shop.workspace.id, actor_id=None, **entry)
    told = settings_of(delivery)
    for text in (
        "Event off now on ·",
        "Profile data 1 of 8 fields shared now 2",
        "Profile sync behavior Only update existing now Create profile",
        "List none now New people",
        "Changed since Changed a connection&#39;s settings",
        "Chose which events are sent",
    ):
        assert text in told, (text, told)
    of_waiting = settings_of(waiting)
    assert "Event off now on" in of_waiting  # that counted when it was accepted
    assert "Profile data 2 of 8 fields shared ·" in of_waiting
    assert "Profile sync behavior Create profile List" in of_waiting


def test_what_stands_beside_it_what_is_under_way_and_the_look_up(any_app: Flask, shop: Shop) -> None:
    activity = shop.rows.activity(shop.workspace, shop.person)
    skipped = {"status": Status.SKIPPED, "reason": Reason.NOT_IN_KLAVIYO}
    fields = shop.rows.delivery(activity, shop.connection, kind=Kind.FIELDS, **skipped)
    event = shop.rows.delivery(activity, shop.connection)
    shop.rows.link(shop.connection, shop.person, found=False, klaviyo_id=None)
    client = signed_in(any_app, shop.support)
    page = client.get(f"{LIST}/{fields.id}").text
    assert "nobody with this address is there" in page
    assert "What Klaviyo has now" in page
    assert "waiting, In line" in page
    with writing() as session:
        lane = session.scalars(select(Lane).where(Lane.kind == LaneKind.EVENTS)).one()
        common = {"connection_id": shop.connection.id, "endpoint": "POST /api/events", "fence": 1, "size": 1}
        session.add(Batch(lane_id=lane.id, members=f"[{event.id}]", started_at=clock.now(), **common))
        lane.held_until, lane.held_reason = clock.now() + timedelta(minutes=5), "rate_limited"
    assert "waiting, Klaviyo&#39;s limit reached" in client.get(f"{LIST}/{fields.id}").text
    assert "A call that holds it is under way since" in client.get(f"{LIST}/{event.id}").text


def test_calls_of_its_batch_that_carried_others_are_not_its_own(any_app: Flask, shop: Shop) -> None:
    """Two people written one by one: one is taken, one refused; each sees its own call."""
    taken = shop.delivery(Status.DELIVERED, Reason.WRITTEN, Kind.FIELDS)
    refused = shop.delivery(Status.FAILED, Reason.REJECTED, Kind.FIELDS)
    row = {"connection_id": shop.connection.id, "endpoint": "PATCH /api/profiles/{id}"}
    batch = shop.rows.save(Batch(lane_id=2, size=2, fence=1, started_at=clock.now(), **row))
    tried = {**row, "batch_id": batch.id, "started_at": clock.now()}
    for size, outcome, request_id in (
        (1, "done", "req-taken"),
        (1, "refused", "req-refused"),
        (2, "again", "req-both"),
    ):
        made = shop.rows.save(Attempt(size=size, outcome=outcome, request_id=request_id, http_status=200, **tried))
        named = {"refused": [refused], "again": [taken, refused]}.get(outcome, [])
        for each in named:
            shop.rows.save(AttemptDelivery(attempt_id=made.id, delivery_id=each.id))
    with writing() as session:
        for each in (taken, refused):
            session.get_one(Delivery, each.id).batch_id = batch.id
    client = signed_in(any_app, shop.owner)
    for delivery, own, foreign in ((taken, "req-taken", "req-refused"), (refused, "req-refused", "req-taken")):
        page = client.get(f"{LIST}/{delivery.id}").text
        assert own in page
        assert "req-both" in page
        assert foreign not in page


def test_one_delivery_in_full(any_app: Flask, shop: Shop) -> None:
    shop.rows.link(shop.connection, shop.person, klaviyo_id="01KADA")
    delivery = shop.delivery(Status.FAILED, Reason.REJECTED, detail="Bad for ada@example.com")
    page = signed_in(any_app, shop.owner).get(f"{LIST}/{delivery.id}").text
    for text in (
        "Refused by Klaviyo",
        "Bad for ada@example.com",
        "Whoever keeps the data in the platform",
        "Cevoid: Member Joined Program",
        "POST /api/events",
        "&#34;unique_id&#34;",
        "01KADA",
        "Cevoid: Points",
        f"/resends/new?id={delivery.id}",
        f"/settings/integrations/klaviyo/deliveries/{delivery.id}",
    ):
        assert text in page, text
    theirs = shop.rows.workspace("theirs")
    foreign = shop.rows.delivery(shop.rows.activity(theirs), shop.rows.connection(theirs))
    assert signed_in(any_app, shop.owner).get(f"{LIST}/{foreign.id}").status_code == 404


def test_addresses_are_masked_for_support_until_revealed(any_app: Flask, shop: Shop) -> None:
    activity = shop.rows.activity(shop.workspace, shop.person, properties='{"email":"ada@example.com"}')
    delivery = shop.rows.delivery(activity, shop.connection, status=Status.FAILED, reason=Reason.REJECTED)
    client = signed_in(any_app, shop.support)
    for path in (LIST, f"{LIST}/{delivery.id}", f"{BASE}/people/{shop.person.id}"):
        page = client.get(path).text
        assert "ada@example.com" not in page, path
        assert "a…@example.com" in page, path
    revealed = client.post(f"{LIST}/{delivery.id}/reveal")
    assert revealed.status_code == 200
    assert "ada@example.com" in revealed.text
    entry = db.session.execute(select(AuditEntry).where(AuditEntry.action == "person.revealed")).scalar_one()
    assert (entry.actor_id, entry.subject_id) == (shop.support.id, str(shop.person.id))
    assert "ada" not in str(entry.after)
    assert "ada@example.com" not in client.get(f"{LIST}/{delivery.id}").text


def test_filters_go_into_an_address_and_back() -> None:
    query = {"status": "failed", "reason": "rejected", "event": "tier_earned", "connection": "3", "request": "r-1"}
    query |= {
        "activity": "5",
        "person": "4",
        "from": "2026-11-23T10:00",
        "to": "2026-11-24T10:00",
        "before": "9",
        "follow": "1",
    }
    filters, problems = parse(query)
    assert problems == []
    assert filters.query() == query
    assert Filters().query() == {}
