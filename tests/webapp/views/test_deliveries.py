"""The list of deliveries: filters, pages, one box that finds whatever one has in hand. On both databases."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from tests.webapp.views.pages import signed_in, text_of
from tests.webapp.views.troubleshooting import LIST, Shop, shown
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.forms.delivery_filters import Filters, parse
from webapp.models import Attempt, AttemptDelivery, Batch, Connection, Delivery, Lane, LaneKind
from webapp.services.deliveries import search as delivery_search


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


def test_what_is_not_found_is_told_as_far_as_it_is_known(any_app: Flask, shop: Shop) -> None:
    """A call may have been refused as a whole, and an erased person is not known: neither is told apart here."""
    event = shop.delivery(Status.DELIVERED, Reason.WRITTEN)
    client = signed_in(any_app, shop.support)
    of_id = client.post(f"{LIST}/find", data={"what": "order-7"})
    for text in (
        "Nothing in Mine is called exactly so, and we do not remember that this id was refused by itself.",
        "The platform never posted it, or posted it to another workspace.",
        "The platform was answered 400, 401, 413, 429 or 503 then, and nothing of such a call is kept.",
        "what came is kept for 90 days, what was refused for 30",
        "It is a person's name, or a part of something: only whole addresses and ids are looked for.",
    ):
        assert text in text_of(of_id), text
    assert "erased" not in text_of(of_id)
    of_address = text_of(client.post(f"{LIST}/find", data={"what": "nobody@example.com"}))
    for text in ("Nobody in Mine has exactly this address", "The person was erased", "The whole call was refused."):
        assert text in of_address, text
    assert "this id" not in of_address
    assert "person's name" not in of_address
    for told in (of_id, client.post(f"{LIST}/find", data={"what": "nobody@example.com"})):
        assert shown(told.text) == []
    assert shown(client.post(f"{LIST}/find", data={"what": " "}).text) == [event.id]


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


def test_an_empty_list_says_what_fills_it(any_app: Flask, shop: Shop) -> None:
    client = signed_in(any_app, shop.owner)
    new = text_of(client.get(LIST))
    assert "Nothing came yet" in new
    assert "Send a test event" in new
    assert "Take the filters away" in text_of(client.get(f"{LIST}?status=failed"))
    assert "Send a test event" not in text_of(signed_in(any_app, shop.support).get(LIST))


def test_the_list_alone_is_answered_too_where_nothing_was_found(app: Flask, shop: Shop) -> None:
    client = signed_in(app, shop.owner)
    answer = client.post(f"{LIST}/find", data={"what": "nothing"}, headers={"HX-Request": "true"})
    assert (answer.status_code, 'id="list"' in answer.text) == (422, True)
