"""One delivery in full: its settings, its calls, what stands beside it, its address. On both databases."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from flask import Flask
from sqlalchemy import select

from tests.webapp.views.pages import signed_in, text_of
from tests.webapp.views.troubleshooting import BASE, LIST, Shop
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin, SyncBehavior
from webapp.database import writing
from webapp.extensions import db
from webapp.models import Attempt, AttemptDelivery, AuditEntry, Batch, Connection, Delivery, Lane, LaneKind
from webapp.services import audit
from webapp.services.connections import lifecycle
from webapp.services.sharing import choices


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


def test_what_came_is_not_said_to_hold_only_what_was_posted(any_app: Flask, shop: Shop) -> None:
    activity = shop.rows.activity(shop.workspace, shop.person, properties='{"eventId":"a-1"}', consent='{"a":"b"}')
    delivery = shop.rows.delivery(activity, shop.connection)
    told = text_of(signed_in(any_app, shop.owner).get(f"{LIST}/{delivery.id}"))
    assert "Properties received, with those common to every event" in told
    assert "Consent as received" in told


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


def test_what_holds_its_line_is_said_where_it_was_never_tried_itself(any_app: Flask, shop: Shop) -> None:
    event = shop.delivery(Status.WAITING, Reason.BACKLOG)
    held = {"held_reason": "retrying", "held_detail": "answered 500", "failures": 2}
    with writing() as session:
        lane = session.scalars(select(Lane).where(Lane.kind == LaneKind.EVENTS)).one()
        lane.held_until = clock.now() + timedelta(minutes=5)
        for name, value in held.items():
            setattr(lane, name, value)
    client = signed_in(any_app, shop.support)
    told = text_of(client.get(f"{LIST}/{event.id}"))
    assert "Klaviyo answered 500 at the last try in this line, which did not hold this one." in told
    assert "Klaviyo answered 500" in text_of(client.get(f"{LIST}?view=causes"))


def test_a_call_that_was_answered_is_not_under_way(any_app: Flask, shop: Shop) -> None:
    """A 500 leaves it open whether Klaviyo took the batch; its answer has come all the same."""
    event = shop.delivery(Status.WAITING, Reason.BACKLOG)
    with writing() as session:
        lane = session.scalars(select(Lane).where(Lane.kind == LaneKind.EVENTS)).one()
        lane.held_until, lane.held_reason = clock.now() + timedelta(minutes=5), "retrying"
        lane.held_detail = "answered 500"
        lane_id = lane.id
    row = {"connection_id": shop.connection.id, "endpoint": "POST /api/events", "size": 1, "started_at": clock.now()}
    batch = shop.rows.save(Batch(lane_id=lane_id, members=f"[{event.id}]", fence=1, **row))
    shop.rows.save(Attempt(batch_id=batch.id, outcome="unknown", http_status=500, duration_ms=3, **row))
    told = text_of(signed_in(any_app, shop.support).get(f"{LIST}/{event.id}"))
    assert "under way" not in told
    assert "Klaviyo answered 500 at the last try." in told
    with writing() as session:
        lane = session.get_one(Lane, lane_id)
        lane.held_until, lane.lease_until = None, clock.now() + timedelta(minutes=1)
    told = text_of(signed_in(any_app, shop.support).get(f"{LIST}/{event.id}"))
    assert "under way again; Klaviyo has not answered this one yet. It is due now." in told


def test_a_part_of_a_refused_call_is_under_way_while_it_is_sent_and_not_before(any_app: Flask, shop: Shop) -> None:
    fields = shop.delivery(Status.WAITING, Reason.BACKLOG, Kind.FIELDS)
    with writing() as session:
        lane = session.scalars(select(Lane).where(Lane.kind == LaneKind.FIELDS)).one()
        lane.lease_until, lane_id = clock.now() + timedelta(minutes=1), lane.id
    row = {"connection_id": shop.connection.id, "endpoint": "POST /api/profile-bulk-import-jobs", "size": 1}
    before = clock.now() - timedelta(seconds=9)
    made = Batch(lane_id=lane_id, members=f"[[1,1,[{fields.id}]]]", fence=0, started_at=before, **row)
    batch = shop.rows.save(made)
    shop.rows.save(
        Attempt(batch_id=batch.id, outcome="refused", http_status=400, duration_ms=3, started_at=before, **row)
    )
    client = signed_in(any_app, shop.support)
    assert "under way" not in text_of(client.get(f"{LIST}/{fields.id}"))
    with writing() as session:
        sent = session.get_one(Batch, batch.id)
        sent.fence, sent.started_at = 2, clock.now()
    assert "A call that holds it is under way since" in text_of(client.get(f"{LIST}/{fields.id}"))


def test_a_consent_is_not_told_to_be_sent_again(any_app: Flask, shop: Shop) -> None:
    consent = shop.delivery(Status.SKIPPED, Reason.SCOPE_MISSING, Kind.CONSENT)
    event = shop.delivery(Status.SKIPPED, Reason.SCOPE_MISSING)
    client = signed_in(any_app, shop.owner)
    told = text_of(client.get(f"{LIST}/{consent.id}"))
    assert "The owner presses Reconnect and allows everything asked." in told
    assert "Then send it again" not in told
    assert "Nothing: a consent is not sent again from here." in told
    assert "from here: after that the platform may post it again under a new id." in told
    assert "Then send it again" in text_of(client.get(f"{LIST}/{event.id}"))


def test_without_an_address_it_has_no_route(any_app: Flask, shop: Shop) -> None:
    activity = shop.rows.activity(shop.workspace, route="store")
    delivery = shop.rows.delivery(activity, None, status=Status.SKIPPED, reason=Reason.NO_EMAIL)
    told = text_of(signed_in(any_app, shop.owner).get(f"{LIST}/{delivery.id}"))
    assert "its store has this connection" not in told
    assert "nobody can be found in Klaviyo without an address" in told


def test_an_account_that_was_not_routed_to_is_said_to_have_the_person(any_app: Flask, shop: Shop) -> None:
    activity = shop.rows.activity(shop.workspace, shop.person, route="store")
    other = shop.rows.connection(shop.workspace, shop.rows.store(shop.workspace, "no"), account_name="Acme NO")
    routed = [shop.rows.delivery(activity, shop.connection, kind=kind) for kind in (Kind.EVENT, Kind.FIELDS)]
    elsewhere = shop.rows.delivery(activity, other, kind=Kind.FIELDS, only_existing=True)
    client = signed_in(any_app, shop.support)
    told = text_of(client.get(f"{LIST}/{elsewhere.id}"))
    assert "Because the person is in this account, and what changed of them goes to every connected account" in told
    assert "its store has this connection" not in told
    for each in routed:
        assert "Because its store has this connection" in text_of(client.get(f"{LIST}/{each.id}"))
    synced = shop.rows.activity(shop.workspace, shop.person, origin=Origin.BACKFILL, route="backfill")
    written = shop.rows.delivery(synced, other, kind=Kind.FIELDS, only_existing=True)
    assert "Because everybody known here was synced to this" in text_of(client.get(f"{LIST}/{written.id}"))


def test_it_went_to_the_account_of_its_time(any_app: Flask, shop: Shop) -> None:
    delivery = shop.delivery(Status.DELIVERED, Reason.WRITTEN, settled_at=clock.now())
    client = signed_in(any_app, shop.owner)
    assert "Read back from Klaviyo" in text_of(client.get(f"{LIST}/{delivery.id}"))
    with writing() as session:
        connection = session.get_one(Connection, shop.connection.id)
        lifecycle.replace(session, connection, "ACCTDK", "Other DK", shop.owner.id)
    told = text_of(client.get(f"{LIST}/{delivery.id}"))
    assert "Klaviyo account Acme SE replaced since by Other DK" in told
    assert "Read back from Klaviyo" not in told  # it would ask an account that never got it
    unsent = shop.delivery(Status.SKIPPED, Reason.ACCOUNT_REPLACED, settled_at=clock.now())
    assert "Klaviyo account Other DK" in text_of(client.get(f"{LIST}/{unsent.id}"))


def test_of_a_large_activity_the_beginning_is_shown_and_how_large_it_is(any_app: Flask, shop: Shop) -> None:
    large = f'{{"shortId":"123456","note":"{"x" * 300_000} the end"}}'
    activity = shop.rows.activity(shop.workspace, shop.person, properties=large)
    delivery = shop.rows.delivery(activity, shop.connection)
    page = signed_in(any_app, shop.owner).get(f"{LIST}/{delivery.id}")
    assert len(page.text) < 300_000
    assert "123456" in page.text
    assert "the end" not in page.text
    assert re.search(r"cut here: the first 100,000 of 300,0\d\d characters", text_of(page))
