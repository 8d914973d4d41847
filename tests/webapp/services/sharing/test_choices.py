"""What is shared: exactly what was chosen, two people at once, the entry in the audit log, custom properties."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from webapp.catalogue.events import COMMON, EVENTS, Event
from webapp.extensions import db
from webapp.forms.custom_properties import NewProperty
from webapp.forms.invalid import Invalid
from webapp.models import AuditEntry, Workspace
from webapp.services import audit
from webapp.services.activities import ingest
from webapp.services.sharing import choices, custom_properties

SHOE = NewProperty("shoe_size", "Shoe size", "number", ())


@pytest.fixture
def workspace(any_app: Flask, rows: Rows) -> Workspace:
    return rows.workspace("mine")


def test_exactly_what_was_chosen_is_on_and_said(workspace: Workspace) -> None:
    names = {event.key: event.title for event in EVENTS.values()}
    change = choices.choose_events(workspace.id, 1, ["tier_earned", "post_created", "made_up"])
    assert change.sentence(names) == "Turned on: Post Created, Tier Earned. It counts from now on."
    change = choices.choose_events(workspace.id, 1, ["tier_earned", "points_expiring"])
    assert change.sentence(names) == "Turned on: Points Expiring. Turned off: Post Created. It counts from now on."
    assert choices.events_on(workspace.id) == {"tier_earned", "points_expiring"}
    assert choices.choose_events(workspace.id, 1, ["tier_earned", "points_expiring"]).sentence(names) == (
        "Nothing changed."
    )
    entries = list(db.session.scalars(select(AuditEntry).order_by(AuditEntry.id)))
    assert [(entry.before, entry.after) for entry in entries] == [
        ({"on": []}, {"on": ["post_created", "tier_earned"]}),
        ({"on": ["post_created", "tier_earned"]}, {"on": ["points_expiring", "tier_earned"]}),
    ]


def test_two_who_save_at_once_do_not_undo_each_other(workspace: Workspace) -> None:
    choices.choose_fields(workspace.id, 1, ["points", "tier_name"])
    shown = ["points", "tier_name"]
    choices.choose_fields(workspace.id, 1, ["points", "tier_name", "birthdate"], shown=shown)
    change = choices.choose_fields(workspace.id, 2, ["points"], shown=shown)
    assert (change.on, change.off) == ((), ("tier_name",))
    assert choices.fields(workspace.id)[1] == {"points", "birthdate"}


def test_the_sample_is_what_klaviyo_would_get(rows: Rows, workspace: Workspace) -> None:
    rows.store(workspace, "se", name="acme.se")
    choices.choose_fields(workspace.id, 1, ["points"])
    sample = orjson.loads(choices.samples(workspace.id)["tier_earned"])
    assert sample["metric"] == "Cevoid: Tier Earned"
    assert list(sample["properties"])[:4] == list(COMMON)
    assert (sample["properties"]["storeId"], sample["properties"]["storeName"]) == ("se", "acme.se")
    assert sample["profile"] == {"email": "ada@example.com", "properties": {"Cevoid: Points": 120}}


def test_a_custom_property_has_its_name_for_good(workspace: Workspace) -> None:
    made = custom_properties.create(workspace.id, 1, SHOE)
    known, on = choices.fields(workspace.id)
    assert known["shoe_size"].property == "Cevoid: Shoe size"
    assert on == frozenset()
    choices.choose_fields(workspace.id, 1, ["shoe_size"])
    custom_properties.retire(workspace.id, made.id, 1)
    custom_properties.retire(workspace.id, made.id, 1)
    known, on = choices.fields(workspace.id)
    assert known["shoe_size"].retired
    assert on == frozenset()
    assert choices.choose_fields(workspace.id, 1, ["shoe_size"]).on == ()
    for new, field in [
        (NewProperty("shoe_size", "Another", "text", ()), "key"),
        (NewProperty("another", "shoe SIZE", "text", ()), "label"),
        (NewProperty("points", "Another", "text", ()), "key"),
        (NewProperty("another", "Tier name", "text", ()), "label"),
    ]:
        with pytest.raises(Invalid) as caught:
            custom_properties.create(workspace.id, 1, new)
        assert list(caught.value.problems) == [field]
    actions = list(db.session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))
    assert actions == ["custom_property.created", "fields.chosen", "custom_property.retired"]


@pytest.mark.parametrize("other", ["\u00d6mse", "O\u0308mse", "\u00f6MSE", "o\u0308mse"])
@pytest.mark.parametrize("first", ["\u00f6mse", "o\u0308mse"])
def test_a_label_is_taken_in_any_case_and_any_unicode_form(workspace: Workspace, first: str, other: str) -> None:
    custom_properties.create(workspace.id, 1, NewProperty("first", first, "text", ()))
    with pytest.raises(Invalid) as caught:
        custom_properties.create(workspace.id, 1, NewProperty("other", other, "text", ()))
    assert list(caught.value.problems) == ["label"]
    assert "first" in choices.fields(workspace.id)[0], "the one that is there stays as it is"


def test_of_two_who_create_the_same_label_at_once_one_is_refused(
    any_app: Flask, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = audit.record

    def slow(*args: Any, **values: Any) -> None:
        time.sleep(0.3)  # the other one has looked meanwhile
        record(*args, **values)

    monkeypatch.setattr(audit, "record", slow)

    def create(key: str, label: str) -> bool:
        with any_app.app_context():
            try:
                custom_properties.create(workspace.id, 1, NewProperty(key, label, "text", ()))
            except Invalid:
                return False
            return True

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(create, ["one", "two"], ["Shoe size", "Shoe Size"]))
    assert sorted(made) == [False, True]


def test_anothers_custom_property_is_not_found(rows: Rows, workspace: Workspace) -> None:
    made = custom_properties.create(workspace.id, 1, SHOE)
    other = rows.workspace("other")
    assert custom_properties.get(other.id, made.id) is None
    with pytest.raises(LookupError):
        custom_properties.retire(other.id, made.id, 1)
    assert custom_properties.create(other.id, 1, SHOE).id != made.id


def posted(workspace: Workspace, identity: str, **fields: object) -> str | None:
    item = {
        "id": identity,
        "type": "profile",
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": "ada@example.com", "fields": fields},
    }
    rejected = ingest.accept(workspace.id, [item]).rejected
    return str(rejected[0]["error"]) if rejected else None


def test_custom_values_are_typed_and_a_retired_key_rejects_nothing(workspace: Workspace) -> None:
    assert posted(workspace, "a", shoe_size=40) == "profile.fields.shoe_size is not a field of this workspace"
    made = custom_properties.create(workspace.id, 1, SHOE)
    assert posted(workspace, "b", shoe_size="40") == "profile.fields.shoe_size must be a finite number"
    assert posted(workspace, "c", shoe_size=40) is None
    assert posted(workspace, "d", shoe_size=None) is None
    custom_properties.retire(workspace.id, made.id, 1)
    assert posted(workspace, "e", shoe_size=41) is None


def test_a_new_entry_is_accepted_at_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = EVENTS["points_expiring"].payload
    review = Event(
        "review_written", "Review Written", "UGC", "Thanks.", "A review.", recommended=False, payload=payload
    )
    monkeypatch.setitem(EVENTS, "review_written", review)
    choices.choose_events(workspace.id, 1, ["review_written"])
    item = {
        "id": "r-1",
        "type": "event",
        "event": "review_written",
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": "ada@example.com"},
        "properties": {"pointsExpiring": "many"},
    }
    result = ingest.accept(workspace.id, [item, {**item, "id": "r-2", "properties": {"more": [1]}}])
    assert (result.accepted, result.rejected[0]["error"]) == (1, "properties.pointsExpiring must be a finite number")
    assert "review_written" in choices.samples(workspace.id)
