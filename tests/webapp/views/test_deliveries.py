"""The deliveries' pages: filters, pages, causes, one delivery in full, masked until revealed. On both databases."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from tests.webapp.views.troubleshooting import BASE, Shop, make_shop, signed_in
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.extensions import db
from webapp.forms.delivery_filters import Filters, parse
from webapp.models import Attempt, AttemptDelivery, AuditEntry, Batch, Connection, Delivery, Lane, LaneKind
from webapp.services import delivery_search

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
        f"to={yesterday}": [old],
        f"from={yesterday}&status=delivered": [elsewhere, fields],
    }.items():
        assert shown(client.get(f"{LIST}?{query}").text) == [row.id for row in wanted], query


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
    from webapp.services import delivery_ranges

    tier = shop.rows.activity(shop.workspace, shop.person, event="tier_earned")
    wanted = shop.rows.delivery(tier, shop.connection)
    for _ in range(8):
        shop.delivery(Status.DELIVERED, Reason.WRITTEN)
    monkeypatch.setattr(delivery_ranges, "CHUNKS", (2, 3))
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
    query |= {"person": "4", "from": "2026-11-23T10:00", "to": "2026-11-24T10:00", "before": "9", "follow": "1"}
    filters, problems = parse(query)
    assert problems == []
    assert filters.query() == query
    assert Filters().query() == {}
