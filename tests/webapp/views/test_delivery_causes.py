"""The deliveries by cause: how many, what mends them, and who may. On both databases."""

from __future__ import annotations

import re
from datetime import timedelta

from flask import Flask

from tests.webapp.views.pages import signed_in, text_of
from tests.webapp.views.troubleshooting import LIST, Shop, shown
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import Connection, ConnectionState


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
    assert "Times are UTC." in html
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


def what_to_do(html: str, key: str) -> str:
    """What a cause's row says and offers."""
    row = re.search(rf'id="cause-{key}".*?</tr>', html, re.S)
    assert row is not None
    return " ".join(re.sub(r"<[^>]+>", " ", row.group()).split())


def test_where_only_consents_are_meant_nothing_is_offered_to_be_sent_again(any_app: Flask, shop: Shop) -> None:
    shop.delivery(Status.SKIPPED, Reason.SCOPE_MISSING, Kind.CONSENT)
    client = signed_in(any_app, shop.owner)
    told = what_to_do(client.get(f"{LIST}?view=causes").text, "skipped-scope_missing")
    assert "allows everything asked. A consent is not sent again from here: after that the platform may post it" in told
    assert "Reconnect" in told
    assert "end it again." not in told
    assert "Resend" not in told
    shop.delivery(Status.SKIPPED, Reason.SCOPE_MISSING)
    told = what_to_do(client.get(f"{LIST}?view=causes").text, "skipped-scope_missing")
    assert "Then send it again. A consent is not sent again from here: after that the platform may" in told
    assert "Resend" in told


def test_what_an_account_that_is_gone_was_to_get_is_not_offered_to_be_sent_again(any_app: Flask, shop: Shop) -> None:
    refused = shop.delivery(Status.FAILED, Reason.REJECTED)
    shop.delivery(Status.SKIPPED, Reason.SCOPE_MISSING)
    client = signed_in(any_app, shop.owner)
    assert "Resend" in what_to_do(client.get(f"{LIST}?view=causes").text, "failed-rejected")
    with writing() as session:
        session.merge(shop.connection).state = ConnectionState.DISCONNECTED
    html = client.get(f"{LIST}?view=causes").text
    for key in ("failed-rejected", "skipped-scope_missing"):
        told = what_to_do(html, key)
        assert "Nothing is sent to an account that is disconnected." in told
        assert not {"Resend", "Reconnect"} & set(told.split())
    page = text_of(client.get(f"{LIST}/{refused.id}"))
    assert "Nothing is sent to an account that is disconnected." in page
    assert "send it again" not in page


def test_a_consent_that_waits_for_its_person_is_not_lost(any_app: Flask, shop: Shop) -> None:
    shop.delivery(Status.WAITING, Reason.NOT_IN_KLAVIYO, Kind.CONSENT)
    told = what_to_do(signed_in(any_app, shop.owner).get(f"{LIST}?view=causes").text, "waiting-not_in_klaviyo")
    assert "add the person in Klaviyo." in told
    assert "again" not in told
