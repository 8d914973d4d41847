"""To Klaviyo and back, without Klaviyo: installing from there, two answers at one instant, who may. Both databases."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import ALL_SCOPES, Rows
from tests.webapp.views.connection_shop import BASE, Shop, attempt
from tests.webapp.views.pages import signed_in, text_of
from webapp.database import reading, writing
from webapp.klaviyo.oauth import TokenSet
from webapp.models import Authorization, Connection, ConnectionState, Grant, Membership, Purpose, Role, Session
from webapp.services.connections import authorizations, lifecycle
from webapp.services.connections.lifecycle import Refusal

TOKENS = TokenSet("access", "refresh", 3600, frozenset(ALL_SCOPES.split()))


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    return Shop(any_app, rows)


def klaviyo_says(monkeypatch: pytest.MonkeyPatch, accounts: dict[str, tuple[str, str]]) -> None:
    """What account each code is for."""

    def exchange(_app: object, code: str, _verifier: str) -> TokenSet:
        return TokenSet(code, "refresh", 3600, TOKENS.scopes)

    monkeypatch.setattr("webapp.klaviyo.oauth.OAuthApp.exchange", exchange)
    monkeypatch.setattr(authorizations, "_account", lambda tokens: accounts[tokens.access_token])


def test_installing_asks_for_the_workspace_where_there_are_several(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = shop.rows.workspace("empty")
    watched = shop.rows.workspace("watched")
    with writing() as session:
        now = shop.workspace.created_at
        for workspace, role in ((empty, Role.OWNER), (watched, Role.SUPPORT)):
            session.add(Membership(workspace_id=workspace.id, user_id=shop.owner_user.id, role=role, created_at=now))
    page = shop.owner.get("/integrations/klaviyo/install")
    assert "Which workspace?" in text_of(page)
    assert 'action="/w/empty/settings/integrations/klaviyo/install"' in page.text
    assert "watched" not in page.text
    gone_on = shop.owner.post("/w/empty/settings/integrations/klaviyo/install")
    assert gone_on.headers["Location"].split("?")[0].endswith("/oauth/authorize")
    here = shop.owner.post(f"{BASE}/install")
    assert here.headers["Location"].endswith("/connections/new")
    lifecycle.lose_grant(shop.first.id, "gone")
    assert shop.owner.post(f"{BASE}/install").headers["Location"] == BASE
    assert shop.owner.post("/w/watched/settings/integrations/klaviyo/install").status_code == 403
    assert shop.support.get("/integrations/klaviyo/install").headers["Location"] == "/"


def test_installing_an_account_that_needs_it_reconnects_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    klaviyo_says(monkeypatch, {"code": ("ACCTSE", "Acme SE")})
    lifecycle.lose_grant(shop.first.id, "gone")
    begun = attempt(shop.owner_user.id, shop.workspace.id, store_id=shop.de.id)
    assert authorizations.finish(begun, "code").sentence == "Acme SE is connected again. What waited goes out now."
    assert shop.read(shop.first).state is ConnectionState.ACTIVE
    with reading() as session:
        assert len(session.scalars(select(Connection)).all()) == 2


@pytest.mark.parametrize("accounts", [("A", "B"), ("A", "A")])
def test_two_answers_at_one_instant_make_one_connection(
    any_app: Flask, rows: Rows, monkeypatch: pytest.MonkeyPatch, accounts: tuple[str, str]
) -> None:
    workspace = rows.workspace("mine")
    owner = rows.user(workspace)
    signed_in(any_app, owner)
    klaviyo_says(monkeypatch, {str(n): (account, f"Acme {account}") for n, account in enumerate(accounts)})
    begun = [attempt(owner.id, workspace.id) for _ in accounts]
    barrier = threading.Barrier(2)
    said: list[str] = []

    def finish(number: int) -> None:
        with any_app.app_context():
            barrier.wait()
            try:
                said.append(authorizations.finish(begun[number], str(number)).sentence)
            except Refusal as refusal:
                said.append(str(refusal))

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with reading() as session:
        made = session.scalars(select(Connection)).one()
        assert len(session.scalars(select(Grant)).all()) == 1
    assert sorted(said)[0].startswith(f"{made.account_name} is connected")
    other = next(text for text in said if text != f"{made.account_name} is connected.")
    assert "Give the first connection its store" in other if accounts == ("A", "B") else "connected already" in other


def test_an_answer_that_comes_between_the_questions_of_another_is_seen(
    any_app: Flask, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both chose the same account: the grant that came last is kept, as Klaviyo may have ended the other."""
    workspace = rows.workspace("mine")
    owner = rows.user(workspace)
    signed_in(any_app, owner)
    klaviyo_says(monkeypatch, {"code": ("A", "Acme A")})
    begun, real = attempt(owner.id, workspace.id), lifecycle.live
    made = rows.connection(workspace, klaviyo_account_id="A", account_name="Acme A")
    earlier: list[list[Connection]] = [[]]

    def live(*asked: Any) -> list[Connection]:
        """As the first question saw it: without the other's."""
        return earlier.pop() if earlier else real(*asked)

    monkeypatch.setattr(lifecycle, "live", live)
    assert "Acme A is connected already" in authorizations.finish(begun, "code").sentence
    with reading() as session:
        assert session.scalars(select(Connection.id)).all() == [made.id]
        assert session.scalars(select(Grant.version)).one() > 1


def test_whoever_stopped_being_owner_meanwhile_connects_nothing(shop: Shop) -> None:
    with reading() as session:
        signed = session.scalars(select(Session).where(Session.user_id == shop.owner_user.id)).one()
    url = authorizations.begin(signed, shop.workspace.id, Purpose.CONNECT, store_id=shop.de.id)
    state = parse_qs(urlsplit(url).query)["state"][0]
    with writing() as session:
        session.scalars(select(Membership).where(Membership.user_id == shop.owner_user.id)).one().role = Role.SUPPORT
    answer = shop.owner.get(f"/integrations/klaviyo/callback?state={state}&code=any")
    assert answer.status_code == 404


def test_adding_is_refused_before_anybody_leaves_for_klaviyo(shop: Shop) -> None:
    for store, sentence in (
        ("", "Choose the store this Klaviyo account belongs to."),
        ("x", "Choose one of this workspace"),
        ("999999", "Choose one of this workspace"),
        (str(shop.se.id), "This store has a Klaviyo account already."),
    ):
        answer = shop.owner.post(f"{BASE}/connections", data={"store": store}, follow_redirects=True)
        assert sentence in text_of(answer), store
    foreign = shop.rows.store(shop.rows.workspace())
    answer = shop.owner.post(f"{BASE}/connections", data={"store": str(foreign.id)}, follow_redirects=True)
    assert "Choose one of this workspace" in text_of(answer)
    new = shop.owner.get(f"{BASE}/connections/new").text
    assert f'value="{shop.se.id}" disabled' in new
    with reading() as session:
        assert session.scalars(select(Authorization)).all() == []


def test_a_connection_without_a_store_comes_first(any_app: Flask, rows: Rows) -> None:
    workspace = rows.workspace("mine")
    rows.connection(workspace)
    store = rows.store(workspace)
    owner = signed_in(any_app, rows.user(workspace))
    answer = owner.post(f"{BASE}/connections", data={"store": str(store.id)}, follow_redirects=True)
    assert "Give the first connection its store before you add another" in text_of(answer)
    assert "Give it its store first" in text_of(owner.get(f"{BASE}/connections/new"))


def test_disconnected_while_somebody_was_at_klaviyo(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    klaviyo_says(monkeypatch, {"code": ("ACCTSE", "Acme SE")})
    for purpose in (Purpose.RECONNECT, Purpose.REPLACE):
        made = shop.rows.connection(shop.workspace, shop.de)
        begun = attempt(shop.owner_user.id, shop.workspace.id, purpose=purpose, connection_id=made.id)
        lifecycle.disconnect(shop.workspace.id, made.id, shop.owner_user.id)
        with pytest.raises(Refusal, match="disconnected meanwhile"):
            authorizations.finish(begun, "code")
        answer = shop.owner.post(f"{BASE}/connections/{made.id}/{purpose}", follow_redirects=True)
        assert "has been disconnected" in text_of(answer)


def test_an_answer_that_is_an_error_is_one_whatever_code_stands_beside_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanged: list[str] = []
    monkeypatch.setattr("webapp.klaviyo.oauth.OAuthApp.exchange", lambda _app, code, _verifier: exchanged.append(code))
    for error, sentence in (
        ("access_denied", "You did not allow it in Klaviyo"),
        ("server_error", "Klaviyo answered with an error"),
        ("", "Klaviyo answered with an error"),
    ):
        leaving = shop.owner.post(f"{BASE}/connections", data={"store": str(shop.de.id)})
        state = parse_qs(urlsplit(leaving.headers["Location"]).query)["state"][0]
        back = f"/integrations/klaviyo/callback?state={state}&code=a-code&error={error}"
        assert sentence in text_of(shop.owner.get(back, follow_redirects=True))
        assert "unknown, used or too old" in text_of(shop.owner.get(back, follow_redirects=True)), "it is used up"
    assert exchanged == []
