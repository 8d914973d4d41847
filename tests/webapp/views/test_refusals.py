"""What could not be accepted is found by its id, with the sentence the platform was answered. On both databases."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from tests.webapp.views.pages import signed_in, text_of
from tests.webapp.views.troubleshooting import LIST, Shop
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.database import reading, writing
from webapp.forms.activities import Refused
from webapp.models import Refusal
from webapp.services.activities import ingest, refusals

REFUSED = f"{LIST}/refused"
NO_ADDRESS = "profile.email is not a valid address"


def item(identity: Any, **values: Any) -> dict[str, Any]:
    """An activity that is as it should be."""
    what = {"type": "event", "event": "member_joined_program", "occurred_at": clock.iso(clock.now())}
    return {"id": identity, **what, "profile": {"email": "bo@example.com"}, **values}


def bad(identity: Any) -> dict[str, Any]:
    return item(identity, profile={"email": "no address"})


def kept(shop: Shop) -> dict[str, str]:
    """Id -> why, of the shop's workspace."""
    with reading() as session:
        found = session.execute(
            select(Refusal.external_id, Refusal.error).where(Refusal.workspace_id == shop.workspace.id)
        )
        return {row.external_id: row.error for row in found}


def test_whoever_looks_for_it_is_told_why(any_app: Flask, shop: Shop) -> None:
    ingest.accept(shop.workspace.id, [item("good-1"), bad("bad-1")])
    client = signed_in(any_app, shop.support)
    missed = client.post(f"{LIST}/find", data={"what": " bad-1 "})
    assert missed.status_code == 422
    said = text_of(missed)
    assert "The platform posted bad-1 and was told that it cannot be accepted" in said
    assert NO_ADDRESS in said
    assert client.post(f"{LIST}/find", data={"what": "good-1"}).status_code == 303
    assert NO_ADDRESS not in client.post(f"{LIST}/find", data={"what": "bad-2"}).text


def test_a_call_of_nothing_but_bad_ones_is_remembered_too(any_app: Flask, shop: Shop) -> None:
    result = ingest.accept(shop.workspace.id, [bad("bad-1"), bad("bad-2")])
    assert result.accepted == 0
    assert kept(shop) == {"bad-1": NO_ADDRESS, "bad-2": NO_ADDRESS}


def test_what_has_no_id_to_look_for_is_only_answered(any_app: Flask, shop: Shop) -> None:
    items = [bad(None), bad(7), bad(["a"]), bad("ä"), bad("a" * 201), bad(""), "no object", Refused("not JSON")]
    assert len(ingest.accept(shop.workspace.id, items).rejected) == len(items)
    assert kept(shop) == {}


def test_posted_again_it_is_one_with_what_was_said_last(any_app: Flask, shop: Shop) -> None:
    ingest.accept(shop.workspace.id, [bad("bad-1")])
    ingest.accept(shop.workspace.id, [item("bad-1", event="no such"), item("bad-1", occurred_at="soon")])
    assert kept(shop) == {"bad-1": "occurred_at must be an ISO 8601 time"}
    (found,) = refusals_of(any_app, shop)
    assert found.first_at < found.last_at


def refusals_of(app: Flask, shop: Shop) -> list[refusals.Shown]:
    with app.test_request_context():
        return refusals.page(shop.workspace.id).refused


def test_the_page_lists_the_newest_and_says_what_was_put_right(
    any_app: Flask, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(any_app, shop.support)
    assert "Nothing was refused" in client.get(REFUSED).text
    for identity in ("bad-1", "bad-2", "bad-3"):
        ingest.accept(shop.workspace.id, [bad(identity)])
    ingest.accept(shop.workspace.id, [item("bad-3")])
    assert [row.external_id for row in refusals_of(any_app, shop)] == ["bad-3", "bad-2", "bad-1"]
    page = client.get(REFUSED).text
    assert page.count("Accepted at another time") == 1
    assert "Times are UTC." in page
    assert 'aria-current="page">Refused' in page
    assert re.search(r'aria-current="true">\s*Deliveries', page), "where one is in the navigation"
    monkeypatch.setattr(refusals, "SHOWN", 2)
    page = client.get(REFUSED).text
    assert "bad-1" not in page
    assert 'id="older"' in page


def test_older_ones_are_found_page_by_page(any_app: Flask, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "SHOWN", 2)
    ingest.accept(shop.workspace.id, [bad(f"bad-{number}") for number in range(3)])  # of one moment
    ingest.accept(shop.workspace.id, [bad("bad-3"), bad("bad-4")])
    client, seen, address = signed_in(any_app, shop.support), [], REFUSED
    for _ in range(3):
        page = client.get(address).text
        seen.append(re.findall(r">(bad-\d)<", page))
        older = re.search(r'id="older" href="([^"]+)"', page)
        address = older[1] if older else ""
    assert seen == [["bad-4", "bad-3"], ["bad-2", "bad-1"], ["bad-0"]]
    assert address == "", "there are no more"
    assert ">Newest</a>" in page


@pytest.mark.parametrize("before", ["", "x", "1", "-1-1", "9" * 30 + "-1", "1-" + "9" * 30, "99999999999999999-1"])
def test_a_place_that_is_none_is_the_beginning(any_app: Flask, shop: Shop, before: str) -> None:
    ingest.accept(shop.workspace.id, [bad("bad-1")])
    assert "bad-1" in signed_in(any_app, shop.owner).get(f"{REFUSED}?before={before}").text


def test_a_page_that_is_empty_by_now_says_so(any_app: Flask, shop: Shop) -> None:
    ingest.accept(shop.workspace.id, [bad("bad-1")])
    assert "No older ones" in text_of(signed_in(any_app, shop.owner).get(f"{REFUSED}?before=1-1"))


def test_another_workspaces_is_nobodys_business(any_app: Flask, shop: Shop) -> None:
    theirs = shop.rows.workspace("theirs")
    ingest.accept(theirs.id, [bad("bad-1")])
    client = signed_in(any_app, shop.owner)
    assert "bad-1" not in client.get(REFUSED).text
    assert NO_ADDRESS not in client.post(f"{LIST}/find", data={"what": "bad-1"}).text


def test_no_address_is_kept_and_support_agents_see_none(any_app: Flask, shop: Shop) -> None:
    """An erasure cannot find it here: the sentence is masked before it is written, the id as elsewhere where shown."""
    fields = {"email": "bo@example.com", "fields": {"ada@example.com": 1}}
    ingest.accept(shop.workspace.id, [item("join:ada@example.com", profile=fields)])
    assert kept(shop) == {"join:ada@example.com": "p…@example.com is not a field of this workspace"}
    assert "ada@example.com" not in signed_in(any_app, shop.support).get(REFUSED).text
    assert "join:ada@example.com" in signed_in(any_app, shop.owner).get(REFUSED).text


@pytest.mark.parametrize("name", ["ada'", "o'lovelace", "ada/lovelace", "ada/", "a" * 64])
def test_no_odd_address_is_kept_either(any_app: Flask, shop: Shop, name: str) -> None:
    address = f"{name}@example.com"
    in_a_field = {"email": "bo@example.com", "fields": {address: 1}}
    items = [item("f", profile=in_a_field), item("s", store=address), item("e", event=address)]
    ingest.accept(shop.workspace.id, items)
    said = kept(shop)
    assert set(said) == {"f", "s", "e"}
    assert [error for error in said.values() if name[1:4] in error] == []


@pytest.mark.parametrize("key", ["a\0b", "\ud800", "a\nb"])
def test_what_no_database_keeps_costs_the_good_ones_nothing(any_app: Flask, shop: Shop, key: str) -> None:
    odd = item("odd", profile={"email": "bo@example.com", "fields": {key: 1}}, store=None)
    result = ingest.accept(shop.workspace.id, [item("good"), odd, item("odder", event=key), item("oddest", store=key)])
    assert result.accepted == 1
    assert sorted(kept(shop)) == ["odd", "odder", "oddest"]


@pytest.mark.parametrize("error", ["a\0b", "\ud800"])
def test_nor_would_a_sentence_of_ours(any_app: Flask, shop: Shop, error: str) -> None:
    ingest.accept(shop.workspace.id, [item("good"), Refused(error)])
    with writing() as session:
        refusals.keep(session, shop.workspace.id, {"odd": error}, clock.now())
    assert list(kept(shop)) == ["odd"]


def test_an_id_that_is_also_a_deliverys_number_is_told_of(any_app: Flask, shop: Shop) -> None:
    delivery = shop.delivery(Status.DELIVERED, Reason.WRITTEN)
    client = signed_in(any_app, shop.support)
    assert client.post(f"{LIST}/find", data={"what": str(delivery.id)}).status_code == 303
    ingest.accept(shop.workspace.id, [bad(str(delivery.id))])
    found = client.post(f"{LIST}/find", data={"what": str(delivery.id)})
    assert NO_ADDRESS in found.text
    assert re.search(rf'href="[^"]*/deliveries/{delivery.id}">The delivery of this number', found.text)


def test_an_id_with_spaces_around_it_is_found(any_app: Flask, shop: Shop) -> None:
    ingest.accept(shop.workspace.id, [bad(" bad-1 "), item(" good-1")])
    client = signed_in(any_app, shop.support)
    assert NO_ADDRESS in client.post(f"{LIST}/find", data={"what": " bad-1 "}).text
    assert client.post(f"{LIST}/find", data={"what": " good-1"}).status_code == 303


def test_after_a_month_nobody_asks_any_more(any_app: Flask, shop: Shop) -> None:
    ingest.accept(shop.workspace.id, [bad("old"), bad("young")])
    with writing() as session:
        old = clock.now() - refusals.KEPT - timedelta(seconds=1)
        session.execute(update(Refusal).where(Refusal.external_id == "old").values(first_at=old, last_at=old))
    refusals.prune()
    assert list(kept(shop)) == ["young"]
