"""Access regained, whichever way: what is said fits what the row shows, paused or in part. Both databases."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from tests.rows import ALL_SCOPES, Rows
from tests.webapp.views.connection_shop import BASE, Shop, attempt
from tests.webapp.views.pages import text_of
from webapp import clock
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.klaviyo.oauth import TokenSet
from webapp.models import ConnectionStat, ConnectionState, Purpose
from webapp.services.connections import authorizations, lifecycle
from webapp.services.connections.authorizations import Outcome

PAUSED = "Acme SE is connected again. It stays paused until somebody resumes it."
GOES_ON = "Acme SE is connected again. What waited goes out now."
OFF = " Klaviyo granted less than we asked for, so this stays off: newsletter. Scopes says why."
LESS = frozenset(ALL_SCOPES.split()) - {"subscriptions:write"}


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    """Where the first connection has lost its access."""
    shop = Shop(any_app, rows)
    lifecycle.lose_grant(shop.first.id, "the app was removed in Klaviyo")
    return shop


def back(shop: Shop, monkeypatch: pytest.MonkeyPatch, granted: frozenset[str], **begun: object) -> Outcome:
    """Somebody comes back from Klaviyo having chosen Acme SE."""
    tokens = TokenSet("access", "refresh", 3600, granted)
    monkeypatch.setattr("webapp.klaviyo.oauth.OAuthApp.exchange", lambda *_: tokens)
    monkeypatch.setattr(authorizations, "_account", lambda _: ("ACCTSE", "Acme SE"))
    return authorizations.finish(attempt(shop.owner_user.id, shop.workspace.id, **begun), "code")


def ways(shop: Shop) -> dict[Purpose, dict[str, object]]:
    return {
        Purpose.CONNECT: {"store_id": shop.de.id},
        Purpose.RECONNECT: {"purpose": Purpose.RECONNECT, "connection_id": shop.first.id},
        Purpose.REPLACE: {"purpose": Purpose.REPLACE, "connection_id": shop.first.id},
    }


@pytest.mark.parametrize("way", list(Purpose))
@pytest.mark.parametrize(("is_paused", "granted"), [(True, LESS), (False, LESS), (True, frozenset(ALL_SCOPES.split()))])
def test_every_way_back_says_what_goes_on_and_what_stays_off(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, way: Purpose, is_paused: bool, granted: frozenset[str]
) -> None:
    lifecycle.pause(shop.workspace.id, shop.first.id, shop.owner_user.id, on=is_paused)
    came = back(shop, monkeypatch, granted, **ways(shop)[way])
    said = (PAUSED if is_paused else GOES_ON) + (OFF if granted is LESS else "")
    if way is Purpose.REPLACE:
        said = f"You chose Acme SE again, so nothing was replaced. {said}"
    assert came.sentence == said
    assert came.is_partly is (granted is LESS and way is not Purpose.REPLACE)
    assert shop.read(shop.first).state is ConnectionState.ACTIVE
    banner = text_of(shop.owner.get(BASE))
    assert "Acme SE is connected again" in banner
    except_for = ", except for what is off." if granted is LESS else "."
    assert (f"It is paused: what waits goes out once somebody resumes it{except_for}" in banner) is is_paused
    assert (f"What waited has gone out or is on its way{except_for}" in banner) is not is_paused
    assert ("so this is off: newsletter. Scopes says why" in banner) is (granted is LESS)


def wait(shop: Shop, *kinds: Kind) -> None:
    """A delivery of each kind waits for the access."""
    for kind in kinds:
        shop.rows.delivery(shop.rows.activity(shop.workspace), shop.first, kind=kind)


CONSENTS_GO = (
    "Acme SE is connected again. What waited goes out now, except for 2 consents: skipped, as Klaviyo did not grant "
    "what is needed. A consent is not sent again from here: once that is granted, the platform may post it again "
    "under a new id."
)


def test_what_waited_and_cannot_go_out_with_a_smaller_grant_is_counted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait(shop, Kind.EVENT, Kind.CONSENT, Kind.CONSENT)
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    key = {"connection_id": shop.first.id, "workspace_id": shop.workspace.id, "kind": Kind.EVENT, "hour": hour}
    shop.rows.save(ConnectionStat(**key, skipped=1))
    assert back(shop, monkeypatch, LESS, **ways(shop)[Purpose.RECONNECT]).sentence == CONSENTS_GO + OFF
    banner = shop.owner.get(BASE)
    assert "What needs it is skipped. What was skipped" in text_of(banner)
    assert f"connection={shop.first.id}&amp;status=skipped&amp;reason=scope_missing" in banner.text
    ids = re.findall(r'\bid="([^"]+)"', banner.text)
    assert len(ids) == len(set(ids)), "a page that moves in place finds each by its id"


def test_events_that_a_smaller_grant_stops_can_be_sent_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    wait(shop, Kind.EVENT, Kind.FIELDS)
    less = frozenset(ALL_SCOPES.split()) - {"profiles:read"}
    came = back(shop, monkeypatch, less, **ways(shop)[Purpose.RECONNECT]).sentence
    assert "except for 1 event and 1 change of profile data: skipped" in came
    assert "It can be sent again once that is granted." in came


def test_whoever_may_create_everybody_sends_events_without_looking_anybody_up(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.change(shop.first, sync_behavior=SyncBehavior.CREATE_PROFILE)
    wait(shop, Kind.EVENT)
    less = frozenset(ALL_SCOPES.split()) - {"profiles:read"}
    assert back(shop, monkeypatch, less, **ways(shop)[Purpose.RECONNECT]).sentence.startswith(GOES_ON)


def test_reading_back_stops_nothing_that_waited(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    wait(shop, Kind.EVENT, Kind.FIELDS, Kind.CONSENT)
    less = frozenset(ALL_SCOPES.split()) - {"metrics:read"}
    assert back(shop, monkeypatch, less, **ways(shop)[Purpose.RECONNECT]).sentence.startswith(GOES_ON)
    banner = text_of(shop.owner.get(BASE))
    assert "so this is off: reading back." in banner
    assert "What waited has gone out or is on its way." in banner
    assert "What was skipped" not in banner


def test_a_paused_connection_tells_what_to_do_before_it_is_resumed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycle.pause(shop.workspace.id, shop.first.id, shop.owner_user.id, on=True)
    wait(shop, Kind.CONSENT)
    came = back(shop, monkeypatch, LESS, **ways(shop)[Purpose.RECONNECT]).sentence
    before = "Before that, reconnect and allow everything asked: without it 1 consent will be skipped."
    assert came == f"{PAUSED} {before}{OFF}"


@pytest.mark.parametrize("way", [Purpose.CONNECT, Purpose.REPLACE])
def test_a_smaller_grant_is_never_taken_in_silence(shop: Shop, monkeypatch: pytest.MonkeyPatch, way: Purpose) -> None:
    back(shop, monkeypatch, frozenset(ALL_SCOPES.split()), **ways(shop)[Purpose.RECONNECT])
    came = back(shop, monkeypatch, LESS, **ways(shop)[way])
    assert "connected again" not in came.sentence
    assert came.sentence.endswith(OFF)


def test_what_a_paused_connection_waits_for_is_said_whole(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for waiting in ("What comes for it waits here", "1 delivery waits here"):
        lifecycle.pause(shop.workspace.id, shop.first.id, shop.owner_user.id, on=False)
        assert f"{waiting}, nothing is lost" in text_of(shop.owner.get(BASE))
        assert "out once you have reconnected and allowed everything asked." in text_of(shop.owner.get(BASE))
        lifecycle.pause(shop.workspace.id, shop.first.id, shop.owner_user.id, on=True)
        assert "allowed everything asked, and somebody resumes it." in text_of(shop.owner.get(BASE))
        shop.rows.delivery(shop.rows.activity(shop.workspace), shop.first)


def test_a_paused_connection_stays_paused_with_another_account_and_says_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacing = {"purpose": Purpose.REPLACE, "connection_id": shop.second.id}
    lifecycle.disconnect(shop.workspace.id, shop.first.id, shop.owner_user.id)
    shop.rows.delivery(shop.rows.activity(shop.workspace), shop.second)
    lifecycle.pause(shop.workspace.id, shop.second.id, shop.owner_user.id, on=True)
    came = back(shop, monkeypatch, frozenset(ALL_SCOPES.split()), **replacing)
    assert came.sentence.endswith("goes to the new account. It stays paused until somebody resumes it.")
    page = text_of(shop.owner.get(shop.url(shop.second)))
    assert "goes to Acme SE as soon as this is done and the connection is resumed." in page
