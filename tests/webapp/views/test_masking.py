"""Support agents see no address in full before they reveal it: on no page, in no file, title, link or header."""

from __future__ import annotations

import orjson
from flask import Flask
from flask.testing import FlaskClient

from tests.webapp.views.pages import signed_in
from tests.webapp.views.troubleshooting import BASE, Shop
from webapp import clock
from webapp.catalogue.incidents import Incident
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import ActivityType, Kind
from webapp.database import writing
from webapp.extensions import db
from webapp.models import Attempt, AttemptDelivery, AuditEntry, Delivery, Person, Task, TaskState
from webapp.services import alerts, tasks
from webapp.services.people.addresses import mask_all
from webapp.services.workspaces import ingest_keys

ADDRESS = "ada@example.com"
IN_A_LINK = "https://shop.example.com/?who=ada%40example.com"


def text(value: object) -> str:
    return orjson.dumps(value).decode()


def planted(shop: Shop) -> tuple[Delivery, Task]:
    """The address wherever somebody could have put it: a delivery and a resend to look at."""
    at = "2026-11-23T10:00:00Z"
    with writing() as session:
        person = session.get_one(Person, shop.person.id)
        person.first_name = ADDRESS
        person.fields = text({"points": {"v": "x", "at": at, "n": 1}, "tier_icon": {"v": IN_A_LINK, "at": at, "n": 2}})
        person.consents = text({"email": {"state": "subscribed", "occurred_at": at, "text": f"I, {ADDRESS}, agree"}})
    texts = {
        "properties": text({ADDRESS: 1, "permalink": IN_A_LINK, "caption": f"by {ADDRESS}"}),
        "profile": text({"fields": {"tier_icon": IN_A_LINK}}),
    }
    activity = shop.rows.activity(shop.workspace, shop.person, external_id=f"join:{ADDRESS}", **texts)
    values = {"status": Status.FAILED, "reason": Reason.REJECTED, "detail": f"Bad for {ADDRESS}, see {IN_A_LINK}"}
    delivery = shop.rows.delivery(activity, shop.connection, **values)
    asked = shop.rows.activity(
        shop.workspace,
        shop.person,
        type=ActivityType.CONSENT,
        event=None,
        consent=text({"state": "subscribed", "text": ADDRESS}),
    )
    shop.rows.delivery(asked, shop.connection, kind=Kind.CONSENT, **values)
    tried = {"connection_id": shop.connection.id, "endpoint": "POST /api/events", "size": 1, "outcome": "refused"}
    attempt = shop.rows.save(Attempt(**tried, http_status=400, started_at=clock.now(), error=f"No {ADDRESS}"))
    shop.rows.save(AttemptDelivery(attempt_id=attempt.id, delivery_id=delivery.id))
    shop.rows.save(
        AuditEntry(
            workspace_id=shop.workspace.id,
            actor_id=shop.owner.id,
            action="deliveries.resent",
            subject_type="resend",
            subject_id="1",
            after={"name": f"For {ADDRESS}"},
            at=clock.now(),
        )
    )
    key = ingest_keys.create(shop.workspace.id, f"Of {ADDRESS}", shop.owner.id)
    ingest_keys.revoke(shop.workspace.id, ingest_keys.number_of(shop.workspace.id, key) or 0, shop.owner.id)
    with writing() as session:
        alerts.open_alert(session, shop.connection, Incident.FAILING, "25 in 24 hours")
        arguments = {"filters": {"status": "failed"}, "ids": None, "up_to": 9, "part": shop.connection.id}
        task = tasks.ask(
            session,
            shop.workspace.id,
            shop.connection.id,
            "resend",
            arguments={**arguments, "planned": 1, "token": "t"},
            name=f"For {ADDRESS}",
            actor_id=shop.owner.id,
        )
        looked = tasks.ask(
            session,
            shop.workspace.id,
            shop.connection.id,
            "profile_now",
            arguments={"person": shop.person.id},
            name="What Klaviyo has now",
            actor_id=shop.owner.id,
        )
        properties = {"Cevoid: Tier Icon": IN_A_LINK, "Cevoid: Points": ADDRESS, f"Brought by {ADDRESS}": 1}
        looked.state, looked.finished_at = TaskState.DONE, clock.now()
        looked.result = {"found": True, "id": "01K", "properties": properties, "consent": "SUBSCRIBED"}
        looked.result |= {"first_name": ADDRESS, "last_name": None, "suppressed": [], "on_list": None}
    return delivery, task


def leaks(client: FlaskClient, path: str) -> bool:
    answer = client.get(path, follow_redirects=True)
    assert answer.status_code == 200, path
    said = f"{answer.text} {answer.headers} {answer.request.url}"
    return ADDRESS in said or "ada%40example.com" in said


def test_no_page_and_no_file_says_an_address(any_app: Flask, shop: Shop) -> None:
    delivery, task = planted(shop)
    db.session.rollback()
    pages = [
        "/",
        BASE,
        f"{BASE}/connections/{shop.connection.id}",
        f"{BASE}/deliveries",
        f"{BASE}/deliveries?person={shop.person.id}",
        f"{BASE}/deliveries?activity={delivery.activity_id}",
        f"{BASE}/deliveries?view=causes",
        f"{BASE}/deliveries/{delivery.id}",
        f"{BASE}/deliveries/{delivery.id + 1}",
        f"{BASE}/deliveries/resends",
        f"{BASE}/deliveries/resends/new?status=failed",
        f"{BASE}/deliveries/resends/{task.id}",
        f"{BASE}/people",
        f"{BASE}/people/{shop.person.id}",
        f"{BASE}/operations",
        f"{BASE}/operations/{shop.connection.id}/bundle",
        "/w/mine/settings/audit",
        "/w/mine/settings/audit.csv",
        "/w/mine/settings",
    ]
    client = signed_in(any_app, shop.support)
    assert [path for path in pages if leaks(client, path)] == []
    owner = signed_in(any_app, shop.owner)
    seen_by_owners = [path for path in pages if leaks(owner, path)]
    for path in (f"{BASE}/deliveries", f"{BASE}/people/{shop.person.id}", "/w/mine/settings/audit.csv"):
        assert path in seen_by_owners, path


def test_every_reveal_is_written_down_and_lasts_for_one_look(any_app: Flask, shop: Shop) -> None:
    delivery, _ = planted(shop)
    client = signed_in(any_app, shop.support)
    for path in (f"{BASE}/deliveries/{delivery.id}", f"{BASE}/people/{shop.person.id}"):
        before = db.session.query(AuditEntry).filter_by(action="person.revealed").count()
        assert ADDRESS in client.post(f"{path}/reveal").text
        db.session.rollback()
        assert db.session.query(AuditEntry).filter_by(action="person.revealed").count() == before + 1
        assert not leaks(client, path)


def test_also_of_somebody_without_an_address(any_app: Flask, shop: Shop) -> None:
    """Its payload may hold one all the same: the button, the answer and the audit log go together."""
    named = shop.rows.activity(shop.workspace, properties=text({"email": ADDRESS}))
    plain = shop.rows.activity(shop.workspace, external_id="plain", properties=text({"shortId": "1"}))
    ended = {"status": Status.SKIPPED, "reason": Reason.NO_EMAIL}
    deliveries = [shop.rows.delivery(activity, None, **ended) for activity in (named, plain)]
    client, owner = signed_in(any_app, shop.support), signed_in(any_app, shop.owner)
    pages = [f"{BASE}/deliveries/{delivery.id}" for delivery in deliveries]
    assert [">Reveal</button>" in client.get(page).text for page in pages] == [True, False]
    assert ADDRESS in client.post(f"{pages[0]}/reveal").text
    db.session.rollback()
    entry = db.session.query(AuditEntry).filter_by(action="person.revealed").one()
    about = (entry.actor_id, entry.subject_type, entry.subject_id)
    assert about == (shop.support.id, "delivery", str(deliveries[0].id))
    assert not leaks(client, pages[0])
    for browser, page in ((client, pages[1]), (owner, pages[0])):  # nothing is hidden from them
        assert ">Reveal</button>" not in browser.get(page).text
        assert browser.post(f"{page}/reveal").location.endswith(page)
    assert db.session.query(AuditEntry).filter_by(action="person.revealed").count() == 1


def test_addresses_in_names_links_and_lists() -> None:
    assert mask_all({ADDRESS: [f"<{ADDRESS}>", 7, None]}) == {"a…@example.com": ["<a…@example.com>", 7, None]}
    assert "ada" not in mask_all(IN_A_LINK)
