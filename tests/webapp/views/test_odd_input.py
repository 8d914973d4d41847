"""Whatever somebody types or pastes, in every form and in every address: an answer in words, never a broken page."""

from __future__ import annotations

from itertools import product
from typing import Any

import orjson
from flask import Flask
from sqlalchemy import select

from tests.webapp.views.pages import signed_in, text_of
from tests.webapp.views.troubleshooting import BASE, LIST, Shop
from webapp.catalogue.reasons import Reason, Status
from webapp.database import writing
from webapp.extensions import db
from webapp.models import Delivery, User
from webapp.services.activities import ingest
from webapp.services.workspaces import users

SETTINGS = "/w/mine/settings"
ODD = (
    "",
    "x\x00y",
    "😀" * 2_000,
    "<b>",
    "-1",
    "²",
    "9" * 18,
    str(2**63),
    "0001-01-01T00:00+14:00",
    "9999-12-31T23:59-14:00",
)
TIMES = ("from", "to")
FILTERS = ("status", "reason", "event", "connection", "person", "request", "activity", *TIMES, "before")
ADDRESSES = {
    "/": ("search", "page"),
    "/sign-in": ("next",),
    "/integrations/klaviyo/callback": ("state", "code", "error"),
    BASE: ("status", "search", "sort", "page", "since"),
    LIST: (*FILTERS, "follow", "view", "since"),
    f"{LIST}?view=causes": ("hours", "connection"),
    f"{LIST}/resends/new": (*FILTERS, "id"),
    f"{BASE}/people": ("email",),
    f"{BASE}/people/1": ("before",),
    f"{BASE}/events": ("turned_on", "turned_off"),
    f"{BASE}/events/test": ("event", "connection"),
    f"{BASE}/profile-data": ("turned_on", "turned_off"),
    f"{BASE}/connections/1/lists": ("store", "sync_behavior", "list"),
    f"{BASE}/connections/1/price": ("store", "sync_behavior", "list"),
    SETTINGS: ("edit",),
    f"{SETTINGS}/audit": ("action", "person", "connection", *TIMES, "before"),
    f"{SETTINGS}/audit.csv": ("action", "person", "connection", *TIMES, "before"),
}
PASSWORDS = {  # slow to hash, as they have to be
    "/sign-in": {"email": "owner@example.com", "password": "no", "next": "/"},
    "/account/password": {"current": "password now", "new": "password to come", "again": "password to come"},
}
TYPED = {
    f"{SETTINGS}/stores": {"external_id": "new", "name": "New"},
    f"{SETTINGS}/stores/1": {"name": "New"},
    f"{SETTINGS}/members": {"email": "new@example.com", "role": "owner", "password": ""},
    f"{SETTINGS}/members/1": {"role": "owner"},
    f"{SETTINGS}/ingest-keys": {"name": "new"},
    f"{BASE}/connections": {"store": ""},
    f"{BASE}/connections/1": {"version": "1", "store": "1", "sync_behavior": "update_existing", "list": ""},
    f"{BASE}/connections/1/undo": {"version": "1"},
    f"{BASE}/connections/1/pause": {"on": "1"},
    f"{BASE}/connections/1/lists": {"store": "", "sync_behavior": "", "list": ""},
    f"{BASE}/connections/1/price": {"store": "", "sync_behavior": "create_profile", "list": ""},
    f"{BASE}/events": {"event": "points_expiring", "shown": "points_expiring", "complete": "1"},
    f"{BASE}/events/test": {"connection": "1", "event": "points_expiring", "email": "ada@example.com"},
    f"{BASE}/profile-data": {"field": "points", "shown": "points", "complete": "1"},
    f"{BASE}/profile-data/properties": {"label": "New", "key": "new", "type": "choice", "choices": "a"},
    f"{BASE}/people": {"email": "ada@example.com"},
    f"{BASE}/backfills/counts": {"connection": "1", "reason": ""},
    f"{BASE}/backfills": {"connection": "1", "count": "1", "name": "new", "reason": ""},
    f"{LIST}/find": {"what": "1"},
    f"{LIST}/resends": {"name": "again", "token": "once", "status": "failed", "id": "", "request": "", "from": ""},
}


def test_any_query_is_answered_in_words(any_app: Flask, shop: Shop) -> None:
    shop.delivery(Status.FAILED, Reason.REJECTED)
    client = signed_in(any_app, shop.owner)
    for address, names in ADDRESSES.items():
        path, _, view = address.partition("?view=")
        given = {"view": view} if view else {}
        for name, text in product(names, ODD):
            answer = client.get(path, query_string={**given, name: text})
            assert answer.status_code < 500, (address, name, text)
            assert answer.text or answer.status_code == 204, (address, name, text)  # a file that breaks off raises here


def test_anything_typed_is_answered_in_words(any_app: Flask, shop: Shop) -> None:
    shop.delivery(Status.FAILED, Reason.REJECTED)
    _type(any_app, shop, TYPED, ODD)


def test_any_password_is_answered_in_words(any_app: Flask, shop: Shop) -> None:
    with writing() as session:
        session.get_one(User, shop.owner.id).password_hash = users.hash_password("password now")
    _type(any_app, shop, PASSWORDS, ODD[:3])


def _type(app: Flask, shop: Shop, forms: dict[str, dict[str, str]], texts: tuple[str, ...]) -> None:
    client = signed_in(app, shop.owner)
    for address, form in forms.items():
        for name, text in product(form, texts):
            answer = client.post(address, data={**form, name: text})
            assert answer.status_code < 500, (address, name, text)
            assert answer.text, (address, name, text)


def test_a_time_of_no_use_is_named_and_left_out(app: Flask, shop: Shop) -> None:
    client = signed_in(app, shop.owner)
    for address in (LIST, f"{SETTINGS}/audit"):
        answer = client.get(f"{address}?from=0202-01-01T00:00")
        assert answer.status_code == 422
        assert "“0202-01-01T00:00” is no time for from" in text_of(answer)


def test_a_character_that_no_database_keeps_is_taken_out(any_app: Flask, shop: Shop) -> None:
    client = signed_in(any_app, shop.owner)
    assert client.post(f"{BASE}/people", data={"email": "ada@\x00example.com"}).status_code == 303


def test_whatever_depth_is_taken_is_shown(app: Flask, shop: Shop) -> None:
    said = []
    for depth in (100, 150, 200, 245, 250, 253, 300, 900):
        item: dict[str, Any] = {"id": f"deep-{depth}", "type": "event", "event": "member_joined_program"}
        item |= {"occurred_at": "2026-11-23T10:00:00Z", "profile": {"email": "ada@example.com"}}
        item["properties"] = orjson.loads('{"a":' * depth + "1" + "}" * depth)
        said.append(ingest.accept(shop.workspace.id, [item]).accepted)
    assert said == [1, 1, 0, 0, 0, 0, 0, 0]
    for delivery in db.session.scalars(select(Delivery)).all():
        for person in (shop.owner, shop.support):
            assert signed_in(app, person).get(f"{LIST}/{delivery.id}").status_code == 200
