"""The pages of a resend: the count first, a name, progress, abort, history."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import select

from tests.webapp.views.pages import signed_in
from tests.webapp.views.troubleshooting import BASE, Shop
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.extensions import db
from webapp.models import AuditEntry, Delivery, Task, TaskState
from webapp.services.tracing import erasures

NEW = f"{BASE}/deliveries/resends/new"
ALL = f"{BASE}/deliveries/resends"


def hidden(page: str) -> dict[str, list[str]]:
    """The form's hidden fields."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page):
        found.setdefault(name, []).append(value)
    return found


def test_count_name_progress_abort_history(app: Flask, shop: Shop) -> None:
    for _ in range(3):
        shop.delivery(Status.FAILED, Reason.REJECTED)
    shop.delivery(Status.FAILED, Reason.REJECTED, Kind.CONSENT)
    for user in (shop.owner, shop.support):
        client = signed_in(app, user)
        page = client.get(f"{NEW}?status=failed").text
        assert "Send 3 deliveries again?" in page
        assert "<b>1</b> consents: a consent is not sent again from here" in page
        assert db.session.scalars(select(Task)).all() == []
        form = hidden(page)
        assert form["status"] == ["failed"]
        assert re.search(r'value="Resend of \d+ \w+ \d\d:\d\d UTC"', page)
        unnamed = client.post(ALL, data={**form, "name": " "})
        assert unnamed.status_code == 422
    answer = client.post(ALL, data={**form, "name": "After the outage"})
    assert answer.status_code == 303
    assert client.post(ALL, data={**form, "name": "After the outage"}).location == answer.location
    assert len(db.session.scalars(select(Task)).all()) == 1
    progress = client.get(answer.location).text
    assert "After the outage" in progress
    assert "<b>0</b> of 3 put in line again." in progress
    assert "0 of 4 looked at" in progress
    assert 'data-live="' in progress
    assert ">Abort</button>" in progress
    client.post(f"{answer.location}/abort")
    db.session.rollback()
    assert db.session.scalars(select(Task)).one().state is TaskState.CANCELLED
    aborted = client.get(answer.location).text
    assert "Aborted" in aborted
    assert 'data-live="' not in aborted
    history = client.get(ALL).text
    assert "After the outage" in history
    assert shop.support.email in history
    assert {row.status for row in db.session.scalars(select(Delivery))} == {Status.FAILED}
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "deliveries.resent")).one()
    assert entry.after == {"name": "After the outage", "deliveries": 3, "filters": {"status": "failed"}}


def test_a_selection(app: Flask, shop: Shop) -> None:
    chosen = [shop.delivery(Status.FAILED, Reason.REJECTED) for _ in range(3)][:2]
    client = signed_in(app, shop.owner)
    listed = client.get(f"{BASE}/deliveries?status=failed").text
    for row in chosen:
        assert f'name="id" value="{row.id}" form="selection"' in listed
    page = client.get(NEW, query_string=[("id", str(row.id)) for row in chosen]).text
    assert "Send 2 deliveries again?" in page
    client.post(ALL, data={**hidden(page), "name": "Two"})
    assert db.session.scalars(select(Task)).one().arguments["ids"] == [row.id for row in chosen]


def test_nothing_chosen_and_nothing_to_send(app: Flask, shop: Shop) -> None:
    client = signed_in(app, shop.owner)
    assert client.get(NEW).status_code == 303
    assert '<p class="flash">Choose some deliveries' in client.get(f"{BASE}/deliveries").text  # amber: nothing was done
    shop.delivery(Status.SKIPPED, Reason.ERASED)
    page = client.get(f"{NEW}?status=skipped").text
    assert "Nothing to send again" in page
    assert "ended for a reason that sending again does not change" in page
    answer = client.post(ALL, data={"name": "x", "token": "y", "status": "skipped"})
    assert answer.location.endswith("/deliveries")
    assert client.get(f"{ALL}/1").status_code == 404


def test_a_box_is_offered_only_where_a_resend_could_do_something(app: Flask, shop: Shop) -> None:
    shop.delivery(Status.FAILED, Reason.REJECTED, Kind.CONSENT)
    shop.delivery(Status.SKIPPED, Reason.SUPERSEDED)
    client = signed_in(app, shop.owner)
    page = client.get(f"{BASE}/deliveries").text
    assert 'name="id"' not in page
    assert "Resend chosen" not in page
    shop.delivery(Status.FAILED, Reason.REJECTED)
    page = client.get(f"{BASE}/deliveries").text
    assert page.count('name="id"') == 1
    assert "Resend chosen" in page


def test_nothing_of_an_erased_person_is_offered(app: Flask, shop: Shop) -> None:
    delivery = shop.delivery(Status.FAILED, Reason.REJECTED)
    client = signed_in(app, shop.owner)
    pages = f"{BASE}/deliveries", f"{BASE}/deliveries/{delivery.id}"
    assert ['name="id"' in client.get(pages[0]).text, 'id="resend"' in client.get(pages[1]).text] == [True, True]
    erasures.erase(shop.workspace.id, str(shop.person.email), shop.owner.id)
    assert ['name="id"' in client.get(pages[0]).text, 'id="resend"' in client.get(pages[1]).text] == [False, False]
    page = client.get(NEW, query_string={"id": delivery.id}).text
    assert "Nothing to send again" in page
    assert "<b>1</b> of erased people: nothing is kept of them that could be sent" in page


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"reason": "not_in_klaviio"}, "There is no reason “not_in_klaviio”."),
        ({"status": "failed", "reason": "bogus"}, "There is no reason “bogus”."),
        ({"status": "failed", "from": "gestern"}, "“gestern” is no time for from; write it like"),
        ({"status": "failed", "person": "ada"}, "“ada” is no number for person."),
        ({"id": ["1", "x1"]}, "“x1” is no number of a delivery."),
        ({"id": "99999999999999999999"}, "“99999999999999999999” is no number of a delivery."),
        ({"id": "x1", "status": "failed"}, "“x1” is no number of a delivery."),
    ],
)
def test_what_is_not_understood_never_widens_it(
    app: Flask, shop: Shop, asked: dict[str, str | list[str]], sentence: str
) -> None:
    shop.delivery(Status.FAILED, Reason.REJECTED)
    client = signed_in(app, shop.support)
    named = {"name": "All of them", "token": "once"}
    for answer in (client.get(NEW, query_string=asked), client.post(ALL, data={**named, **asked})):
        assert answer.status_code == 422
        assert sentence in answer.text
        assert 'name="token"' not in answer.text  # there is no form to send all the same
    assert db.session.scalars(select(Task)).all() == []


@pytest.mark.parametrize("asked", [{}, {"id": ""}, {"status": " ", "before": "9", "follow": "1"}])
def test_without_a_choice_nothing_is_sent_again(app: Flask, shop: Shop, asked: dict[str, str]) -> None:
    shop.delivery(Status.FAILED, Reason.REJECTED)
    answer = signed_in(app, shop.support).post(ALL, data={"name": "All of them", "token": "once", **asked})
    assert answer.status_code == 422
    assert "Choose some deliveries, or filter them first." in answer.text
    assert db.session.scalars(select(Task)).all() == []
