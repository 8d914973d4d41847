"""The pages of what is shared, as people use them without JavaScript."""

from __future__ import annotations

import html
import re
from hashlib import sha256
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.rows import Rows
from tests.webapp.views.pages import signed_in, text_of
from tests.webapp.views.troubleshooting import BASE, Shop
from webapp.catalogue.events import EVENTS
from webapp.catalogue.fields import FIELDS
from webapp.catalogue.reasons import Reason, Status
from webapp.database import writing
from webapp.forms.custom_properties import NewProperty
from webapp.models import Delivery
from webapp.services.sharing import choices, custom_properties

EVENTS_URL, FIELDS_URL = f"{BASE}/events", f"{BASE}/profile-data"


@pytest.fixture
def owner(app: Flask, shop: Shop) -> FlaskClient:
    return signed_in(app, shop.owner)


def text(answer: Any) -> str:
    """A page's words, unescaped, spaces single."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", answer.text)))


def ticked(page: str, name: str) -> set[str]:
    return {
        value
        for value in re.findall(rf'name="{name}" value="([^"]+)"', page)
        if re.search(rf'value="{value}"[^>]* checked', page)
    }


def test_every_event_is_explained_with_its_payload_and_a_sample(owner: FlaskClient) -> None:
    page = owner.get(EVENTS_URL)
    words = text(page)
    for event in EVENTS.values():
        assert event.metric in words
        assert event.use in words
        assert event.fires in words
        for field in event.payload:
            assert f" {field.name} " in words
    assert "pointsMissing number, may be null" in words
    assert "rewards list of reward" in words
    assert '"metric": "Cevoid: Tier Earned"' in words
    assert '"Cevoid: Points": 120' in words
    assert words.index("UGC events") < words.index("Cevoid: Post Created") < words.index("Program events")
    assert ticked(page.text, "event") == {"member_joined_program"}


def test_saving_events_says_what_changed(owner: FlaskClient, shop: Shop) -> None:
    form = {"complete": "1", "shown": "member_joined_program"}
    answer = owner.post(EVENTS_URL, data={**form, "event": ["tier_earned"]}, follow_redirects=True)
    assert "Turned on: Tier Earned. Turned off: Member Joined Program. It counts from now on." in text(answer)
    answer = owner.post(EVENTS_URL, data={"complete": "1", "shown": "tier_earned", "event": "tier_earned"})
    assert answer.status_code == 303
    assert "Nothing changed." in text(owner.get(EVENTS_URL))
    recommended = {"complete": "1", "shown": "tier_earned", "event": ["tier_earned", "post_created"]}
    owner.post(EVENTS_URL, data={**recommended, "recommended": "1"})
    expected = {"post_created"} | {event.key for event in EVENTS.values() if event.recommended}
    assert choices.events_on(shop.workspace.id) == expected


@pytest.mark.parametrize(
    ("url", "name", "first", "second"),
    [
        (EVENTS_URL, "event", "member_joined_program", "tier_earned"),
        (FIELDS_URL, "field", "points", "tier_name"),
    ],
)
def test_a_save_is_undone_by_a_button(owner: FlaskClient, url: str, name: str, first: str, second: str) -> None:
    assert "Undo" not in text(owner.get(url))
    saved = owner.post(url, data={"complete": "1", "shown": first, name: second})
    page = owner.get(saved.location)
    assert "Not what you meant? Undo" in text(page)
    form = page.text[page.text.index('<form class="flash done"') :].split("</form>")[0]
    back = {key: re.findall(rf'name="{key}" value="([^"]+)"', form) for key in ("complete", "shown", name)}
    assert back == {"complete": ["1"], "shown": [second], name: [first]}
    undone = owner.post(url, data=back)
    assert ticked(owner.get(undone.location).text, name) == {first}
    assert "Undo" not in text(owner.get(saved.location)), "somebody changed it since"


@pytest.mark.parametrize(("page", "name"), [("events", "event"), ("profile-data", "field")])
def test_a_form_that_names_what_is_not_there_turns_nothing_off(
    owner: FlaskClient, shop: Shop, page: str, name: str
) -> None:
    url = f"/w/mine/settings/integrations/klaviyo/{page}"
    on = "tier_earned" if name == "event" else "points"
    assert owner.post(url, data={name: [on]}).status_code == 303
    refused = owner.post(url, data={name: ["no_such"]})
    assert refused.status_code == 422
    assert "the form names what is not there" in text_of(refused)
    chosen = choices.events_on(shop.workspace.id) if name == "event" else choices.fields(shop.workspace.id)[1]
    assert chosen == {on}


@pytest.mark.parametrize(("url", "name", "on"), [(EVENTS_URL, "event", "tier_earned"), (FIELDS_URL, "field", "points")])
def test_a_form_that_lost_its_choice_turns_nothing_off(
    owner: FlaskClient, shop: Shop, url: str, name: str, on: str
) -> None:
    def chosen() -> frozenset[str]:
        return choices.events_on(shop.workspace.id) if name == "event" else choices.fields(shop.workspace.id)[1]

    assert owner.post(url, data={name: [on]}).status_code == 303
    for form in ({}, {"shown": on}, {name: ""}):
        refused = owner.post(url, data=form)
        assert refused.status_code == 422
        assert "Nothing was changed" in text_of(refused)
        assert chosen() == {on}
    assert "the form came without a choice" in text_of(owner.post(url))
    assert owner.post(url, data={"recommended": "1"}).status_code == 303
    assert chosen() > {on}
    assert owner.post(url, data={"complete": "1", "shown": sorted(chosen())}).status_code == 303
    assert not chosen()


def test_support_sees_but_does_not_choose(app: Flask, shop: Shop) -> None:
    support = signed_in(app, shop.support)
    for url in (EVENTS_URL, FIELDS_URL):
        page = support.get(url)
        assert page.status_code == 200
        assert ">Save<" not in page.text
        assert page.text.count("disabled") >= len(FIELDS)
        assert support.post(url).status_code == 403
    for path in (f"{EVENTS_URL}/test", f"{FIELDS_URL}/properties/new"):
        assert support.get(path).status_code == 403


def test_a_test_event_is_sent_and_followed(owner: FlaskClient, shop: Shop) -> None:
    form = owner.get(f"{EVENTS_URL}/test?event=tier_earned").text
    assert '<option value="tier_earned" selected>' in form
    typed = {"connection": str(shop.connection.id), "event": "tier_earned", "email": "ada@example"}
    wrong = owner.post(f"{EVENTS_URL}/test", data=typed)
    assert wrong.status_code == 422
    assert '<a href="#email">This is not a valid e-mail address.</a>' in wrong.text
    assert 'value="ada@example"' in wrong.text
    sent = owner.post(f"{EVENTS_URL}/test", data={**typed, "email": "ada@example.com", "starts_flows": "1"})
    assert sent.status_code == 303
    url = sent.headers["Location"]
    assert "ada" not in url
    page = text(owner.get(url))
    assert "which may start flows" in page
    assert "On its way: In line" in page
    with writing() as session:
        found = session.query(Delivery).one()
        found.status, found.reason = Status.SKIPPED, Reason.NOT_IN_KLAVIYO
    page = text(owner.get(url))
    assert "Skipped: Not in Klaviyo" in page
    assert "a test creates nobody" in page
    poll = {"HX-Request": "true", "HX-Target": "outcome"}
    first = owner.get(url, headers=poll)
    assert first.text.startswith('<div id="outcome"')
    assert owner.get(f"{url}?since={first.headers['X-Version']}", headers=poll).status_code == 204


@pytest.mark.parametrize("reason", [Reason.REJECTED, Reason.PAYLOAD_TOO_LARGE])
def test_a_refused_test_event_is_mended_by_another_person_or_field(
    owner: FlaskClient, shop: Shop, reason: Reason
) -> None:
    """It is our sample: nobody can post it corrected."""
    typed = {"connection": str(shop.connection.id), "event": "tier_earned", "email": "ada@example.com"}
    url = owner.post(f"{EVENTS_URL}/test", data=typed).headers["Location"]
    with writing() as session:
        found = session.query(Delivery).one()
        found.status, found.reason = Status.FAILED, reason
    in_full = text(owner.get(f"{BASE}/deliveries/{found.id}"))
    for page in (text(owner.get(url)), in_full):
        assert "choose another person, or turn" in page
        assert "Then send another test." in page
        assert "new id" not in page
    assert "An owner of the workspace" in in_full


def test_a_test_about_nobody_is_not_said_to_be_mended_by_creating_people(owner: FlaskClient, shop: Shop) -> None:
    typed = {"connection": str(shop.connection.id), "event": "tier_earned", "email": "ada@example.com"}
    owner.post(f"{EVENTS_URL}/test", data=typed)
    with writing() as session:
        found = session.query(Delivery).one()
        found.status, found.reason = Status.SKIPPED, Reason.NOT_IN_KLAVIYO
    page = owner.get(f"{BASE}/deliveries/{found.id}")
    assert "A test creates nobody: choose somebody who is there" in text(page)
    assert "Choose Create profile" not in text(page)
    assert 'id="mend"' not in page.text


def test_a_custom_property_from_form_to_retirement(owner: FlaskClient, shop: Shop) -> None:
    typed = {"label": "Shoe size", "key": "points", "type": "choice", "choices": "38\n39"}
    wrong = owner.post(f"{FIELDS_URL}/properties", data=typed)
    assert wrong.status_code == 422
    assert '<a href="#key">This key is taken.' in wrong.text
    assert ">38\n39</textarea>" in wrong.text
    made = owner.post(f"{FIELDS_URL}/properties", data={**typed, "key": "shoe_size"}, follow_redirects=True)
    assert "Cevoid: Shoe size is created. It is off until you turn it on and save." in text(made)
    assert "One choice: 38, 39, posted as shoe_size" in text(made)
    form = {"complete": "1", "shown": "points", "field": ["points", "shoe_size"]}
    saved = owner.post(FIELDS_URL, data=form, follow_redirects=True)
    assert "Turned on: Shoe size. It counts from now on." in text(saved)
    assert f'href="{BASE}/backfills/new/{shop.connection.id}?reason=resync">Resync Acme SE<' in saved.text
    known, _ = choices.fields(shop.workspace.id)
    url = f"{FIELDS_URL}/properties/{known['shoe_size'].custom_id}/retire"
    assert "Retire Cevoid: Shoe size?" in text(owner.get(url))
    retired = owner.post(url, follow_redirects=True)
    assert "Retired (1)" in text(retired)
    assert 'value="shoe_size"' not in retired.text


def test_anothers_property_is_not_found(owner: FlaskClient, rows: Rows) -> None:
    from webapp.forms.custom_properties import NewProperty

    theirs = custom_properties.create(rows.workspace("theirs").id, 1, NewProperty("k", "L", "text", ()))
    for method in ("GET", "POST"):
        assert owner.open(f"{FIELDS_URL}/properties/{theirs.id}/retire", method=method).status_code == 404


def test_labels_and_choices_are_escaped(owner: FlaskClient, shop: Shop) -> None:
    typed = {"label": "<b>x</b>", "key": "x", "type": "choice", "choices": "<i>"}
    page = owner.post(f"{FIELDS_URL}/properties", data=typed, follow_redirects=True).text
    assert "<b>x</b>" not in page
    assert "Cevoid: &lt;b&gt;x&lt;/b&gt;" in page


def test_turning_on_very_many_fields_leads_to_no_address_that_servers_refuse(owner: FlaskClient, shop: Shop) -> None:
    keys = [f"k{sha256(bytes([number])).hexdigest()[:58]}" for number in range(80)]
    for key in keys:
        made = NewProperty(key=key, label=key, type="text", choices=())
        custom_properties.create(shop.workspace.id, shop.owner.id, made)
    answer = owner.post(FIELDS_URL, data={"field": keys})
    assert answer.status_code == 303
    assert len(answer.location) < 4_000
    assert len(answer.headers.get("Set-Cookie", "")) < 4_000, "browsers drop a longer cookie, and what it says"
    assert "and 60 more" in owner.get(answer.location).text
