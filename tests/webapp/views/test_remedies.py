"""What helps today: nobody is asked for what was done since, and sending again comes first then. Both databases."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, update

from tests.rows import ALL_SCOPES
from tests.webapp.views.pages import signed_in, text_of
from tests.webapp.views.troubleshooting import LIST, Shop
from webapp import clock
from webapp.catalogue.events import EVENTS
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import Delivery, Grant, Store
from webapp.services.connections import lifecycle
from webapp.services.sharing import choices

TAKEN = "A connected account takes it now. Send it again."
ENABLE = ">Enable Klaviyo<"
ADD = ">Add connection<"


def unrouted(shop: Shop, reason: Reason, store: Store | None, kind: Kind = Kind.EVENT) -> Delivery:
    """A delivery that no connection took."""
    activity = shop.rows.activity(shop.workspace, shop.person, store_id=store.id if store else None)
    return shop.rows.delivery(activity, None, status=Status.SKIPPED, reason=reason, kind=kind)


def pages(app: Flask, shop: Shop, delivery: Delivery) -> tuple[Any, str, str]:
    """The delivery's page, what its cause's row says, and that row."""
    client = signed_in(app, shop.owner)
    row = re.search(rf'id="cause-skipped-{delivery.reason}".*?</tr>', client.get(f"{LIST}?view=causes").text, re.S)
    assert row is not None
    return client.get(f"{LIST}/{delivery.id}"), " ".join(re.sub(r"<[^>]+>", " ", row.group()).split()), row.group()


def of_store(shop: Shop, name: str = "no") -> Store:
    return shop.rows.store(shop.workspace, name)


def resend_is_first(html: str) -> bool:
    return 'class="button primary" id="resend' in html


@pytest.mark.parametrize("reason", [Reason.NOT_CONNECTED, Reason.NO_ROUTE])
def test_what_an_account_takes_now_is_only_to_be_sent_again(any_app: Flask, shop: Shop, reason: Reason) -> None:
    store = of_store(shop)
    shop.rows.connection(shop.workspace, store)
    page, told, row = pages(any_app, shop, unrouted(shop, reason, store))
    for text, html in ((text_of(page), page.text), (told, row)):
        assert TAKEN in text
        assert "belongs to the store" not in text
        assert ENABLE not in html
        assert 'id="mend' not in html
        assert resend_is_first(html)


@pytest.mark.parametrize("reason", [Reason.NOT_CONNECTED, Reason.NO_ROUTE])
def test_where_another_store_is_connected_a_connection_is_to_be_added(
    any_app: Flask, shop: Shop, reason: Reason
) -> None:
    page, told, row = pages(any_app, shop, unrouted(shop, reason, of_store(shop)))
    for text, html in ((text_of(page), page.text), (told, row)):
        assert "Add a connection for the store, or give an existing one its store. Then send it again." in text
        assert ADD in html
        assert ENABLE not in html
        assert not resend_is_first(html)


@pytest.mark.parametrize("reason", [Reason.NOT_CONNECTED, Reason.NO_ROUTE])
def test_where_nothing_is_connected_klaviyo_is_to_be_enabled(any_app: Flask, shop: Shop, reason: Reason) -> None:
    lifecycle.disconnect(shop.workspace.id, shop.connection.id, shop.owner.id)
    page, told, row = pages(any_app, shop, unrouted(shop, reason, of_store(shop)))
    for text, html in ((text_of(page), page.text), (told, row)):
        assert "Enable Klaviyo. Then send it again." in text
        assert ENABLE in html
        assert ADD not in html


def test_a_cause_that_is_mended_in_part_says_both(any_app: Flask, shop: Shop) -> None:
    taken = of_store(shop)
    shop.rows.connection(shop.workspace, taken)
    unrouted(shop, Reason.NO_ROUTE, taken)
    _, told, row = pages(any_app, shop, unrouted(shop, Reason.NO_ROUTE, of_store(shop, "de")))
    assert "Then send it again. What a connected account takes by now can be sent again already." in told
    assert ADD in row


def test_a_consent_that_an_account_would_take_now_is_the_platforms_to_post(any_app: Flask, shop: Shop) -> None:
    page, told, _ = pages(any_app, shop, unrouted(shop, Reason.NOT_CONNECTED, None, Kind.CONSENT))
    for text in (text_of(page), told):
        assert "takes it now. A consent is not sent again from here: the platform may post it again under a" in text
        assert "Whoever keeps the data in the platform" in text
        assert "Enable Klaviyo" not in text


def test_an_account_that_is_back_is_not_to_be_connected_again(any_app: Flask, shop: Shop) -> None:
    ended = shop.delivery(Status.SKIPPED, Reason.DISCONNECTED)
    lifecycle.disconnect(shop.workspace.id, shop.connection.id, shop.owner.id)
    page, told, row = pages(any_app, shop, ended)
    assert "Connect the account again for what happens from now on." in text_of(page)
    assert "Connect the account again" in told
    account = shop.connection.klaviyo_account_id
    shop.rows.connection(shop.workspace, of_store(shop), klaviyo_account_id=account)
    page, told, row = pages(any_app, shop, ended)
    for text, html in ((text_of(page), page.text), (told, row)):
        assert "The account is connected again, for what happens from now on." in text
        assert "Connect the account again" not in text
        assert ADD not in html


def test_an_event_that_is_on_by_now_is_only_to_be_sent_again(any_app: Flask, shop: Shop) -> None:
    off = shop.delivery(Status.SKIPPED, Reason.EVENT_OFF)
    page, told, _ = pages(any_app, shop, off)
    assert "It is on now. Send it again." in text_of(page)
    assert resend_is_first(page.text)
    assert "Turn it on under Events" in told, "another event may still be off"
    choices.choose_events(shop.workspace.id, None, list(EVENTS))
    assert "It is on now. Send it again." in pages(any_app, shop, off)[1]
    choices.choose_events(shop.workspace.id, None, [])
    assert "Turn it on under Events; it counts from then on." in text_of(pages(any_app, shop, off)[0])


def test_what_was_granted_since_is_not_to_be_asked_for(any_app: Flask, shop: Shop) -> None:
    """One that was refused though the scope was granted already is: only another grant can help."""
    refused = shop.delivery(Status.SKIPPED, Reason.SCOPE_MISSING, settled_at=clock.now())
    for since, is_mended in ((timedelta(minutes=1), True), (-timedelta(minutes=1), False)):
        with writing() as session:
            session.execute(update(Grant).values(granted_at=clock.now() + since))
        page, _, _ = pages(any_app, shop, refused)
        assert ("It was granted since. Send it again." in text_of(page)) is is_mended
        assert (">Reconnect</button>" in page.text) is not is_mended
    with writing() as session:
        session.execute(delete(Grant))
    assert "It was granted since" not in text_of(pages(any_app, shop, refused)[0])


def test_nothing_is_to_be_sent_again_to_an_account_that_is_gone(any_app: Flask, shop: Shop) -> None:
    off = shop.delivery(Status.SKIPPED, Reason.EVENT_OFF)
    lifecycle.disconnect(shop.workspace.id, shop.connection.id, shop.owner.id)
    page, _, _ = pages(any_app, shop, off)
    assert "It is on now." in text_of(page)
    assert "Nothing: this is final." in text_of(page)
    assert "end it again" not in text_of(page)


def test_what_an_account_takes_now_but_is_off_by_now_is_to_be_turned_on_first(any_app: Flask, shop: Shop) -> None:
    store = of_store(shop)
    shop.rows.connection(shop.workspace, store)
    lost = unrouted(shop, Reason.NO_ROUTE, store)
    choices.choose_events(shop.workspace.id, None, [])
    page, _, _ = pages(any_app, shop, lost)
    (again,) = re.findall(r'id="resend" href="([^"]+)"', page.text)
    assert "their event is still off under Events" in text_of(signed_in(any_app, shop.owner).get(again))
    assert TAKEN not in text_of(page)
    assert "Turn it on under Events; it counts from then on. Then send it again." in text_of(page)


def test_a_scope_is_asked_for_while_one_account_of_its_cause_has_not_granted_it(any_app: Flask, shop: Shop) -> None:
    second = shop.rows.connection(shop.workspace, of_store(shop), account_name="Acme NO")
    first_lost = shop.delivery(Status.SKIPPED, Reason.SCOPE_MISSING, settled_at=clock.now())
    activity = shop.rows.activity(shop.workspace, shop.person)
    ended = {"status": Status.SKIPPED, "reason": Reason.SCOPE_MISSING, "settled_at": clock.now()}
    shop.rows.delivery(activity, second, **ended)

    def granted(connection_id: int, **values: object) -> None:
        values.setdefault("granted_at", clock.now() + timedelta(minutes=1))
        with writing() as session:
            session.execute(update(Grant).where(Grant.connection_id == connection_id).values(**values))

    def is_asked() -> bool:
        _, told, row = pages(any_app, shop, first_lost)
        is_mended = "It was granted since. Send it again." in told
        assert resend_is_first(row) is is_mended
        assert ("presses Reconnect and allows everything asked" in told) is not is_mended
        assert (">Reconnect" in row) is not is_mended
        return not is_mended

    granted(shop.connection.id)
    assert is_asked()
    granted(second.id)
    assert not is_asked()
    granted(second.id, scopes="accounts:read profiles:read")
    assert is_asked()
    granted(second.id, scopes=ALL_SCOPES, granted_at=clock.now() - timedelta(minutes=1))
    assert is_asked()
