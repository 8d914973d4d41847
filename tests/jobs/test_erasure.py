"""After an erasure nothing of the person is left in any table, whatever was under way: the whole database is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import requests
from sqlalchemy import select

from jobs.fields import lane as fields_lane
from tests.jobs.klaviyo import Asked, Given, error
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.extensions import Base
from webapp.forms.delivery_filters import Filters
from webapp.models import BatchOutcome, Person, Task, TaskState
from webapp.services.activities import ingest
from webapp.services.people import addresses
from webapp.services.resends import runs
from webapp.services.sharing import choices, trials
from webapp.services.tracing import erasures, profile_now

ADA = "ada.lovelace@example.com"
SECRETS = (ADA, "lovelace", "Ada-First", "Gold-Secret", "caption-secret", "evidence-secret", "01PROFILE")


def everything() -> Iterator[tuple[str, str]]:
    """Every row of every table as text, with its table's name."""
    with reading() as session:
        for table in Base.metadata.sorted_tables:
            for row in session.connection().execute(select(table)):
                yield table.name, repr(tuple(row))


def leftovers(words: tuple[str, ...] = SECRETS) -> list[tuple[str, str]]:
    """Where one of these words still stands."""
    return [(table, word) for table, row in everything() for word in words if word.lower() in row.lower()]


@pytest.fixture
def shop(engine_rows: Rows) -> Iterator[Shop]:
    made = Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")
    choices.choose_events(made.workspace.id, None, ["post_created"])
    made.klaviyo.put(ADA)
    yield made
    # The next test's tables are these: nothing of this person may stand in them.
    erasures.erase(made.workspace.id, ADA, None)
    erasures.sweep()


def post(shop: Shop, identity: str, kind: str = "event", **more: Any) -> None:
    profile = {"email": ADA, "first_name": "Ada-First", "fields": {"tier_name": "Gold-Secret", "points": 5}}
    item = {"id": identity, "type": kind, "occurred_at": clock.iso(clock.now()), "profile": profile, **more}
    if kind == "event":
        item |= {"event": "post_created", "properties": {"caption": "caption-secret"}}
    assert ingest.accept(shop.workspace.id, [item]).rejected == []


def consent(shop: Shop, identity: str, state: str) -> None:
    said = {"channel": "email", "state": state, "collected_by": "checkbox", "text": "evidence-secret"}
    post(shop, identity, "consent", consent=said)


def quoting(_asked: Asked) -> Given:
    """A refusal that repeats what it was sent."""
    return error(400, detail=f"{ADA} named Ada-First has a bad tier Gold-Secret")


def person(shop: Shop) -> Person:
    with reading() as session:
        return session.scalars(select(Person).where(Person.email == ADA)).one()


def live_through_everything(shop: Shop) -> int:
    """Delivered, refused with a quotation, unknown, waiting; traced, tested, resent. The person's id."""
    post(shop, "e-1")
    consent(shop, "c-1", "subscribed")
    for kind in Kind:
        shop.drain(kind)
    for number, (kind, endpoint) in enumerate(
        {
            Kind.EVENT: "POST /api/events",
            Kind.FIELDS: "PATCH /api/profiles/{id}",
            Kind.CONSENT: "POST /api/profile-subscription-bulk-delete-jobs",
        }.items()
    ):
        shop.klaviyo.members["LIST01"].add(ADA)
        shop.klaviyo.script(endpoint, quoting)
        if kind is Kind.CONSENT:
            consent(shop, "c-2", "unsubscribed")
        else:
            post(shop, f"refused-{number}")
        shop.drain(kind)
    post(shop, "open")
    shop.klaviyo.script("POST /api/events", requests.exceptions.ReadTimeout())
    shop.drain(Kind.EVENT)
    post(shop, "waits")
    ada = person(shop)
    addresses.note_reveal(shop.workspace.id, ("person", ada.id), 1, f"person {ada.id}")
    trials.send(
        shop.workspace.id, 1, connection_id=shop.connection.id, event="post_created", email=ADA, starts_flows=False
    )
    profile_now.ask(shop.workspace.id, ada.id, [shop.connection.id], 1)
    with writing() as session:
        task = session.scalars(select(Task).where(Task.kind == "profile_now")).one()
        task.state, task.result = TaskState.DONE, {"found": True, "first_name": "Ada-First", "id": "01PROFILE"}
    runs.start(shop.workspace.id, 1, "Again", "token", [], Filters(person_id=ada.id))
    return ada.id


def test_nothing_is_left_in_any_table(shop: Shop) -> None:
    live_through_everything(shop)
    there = {word for _, word in leftovers()}
    assert there == set(SECRETS), "the test would see them"
    assert any(batch.outcome is BatchOutcome.UNKNOWN for batch in shop.batches())
    removed = erasures.erase(shop.workspace.id, ADA, actor_id=7)
    assert removed["people"] == 1
    assert leftovers() == []
    shop.check_counters()
    for kind in Kind:
        shop.drain(kind, times=2)
    erasures.sweep()
    assert leftovers() == []


def test_a_drain_under_way_leaves_nothing_behind(shop: Shop) -> None:
    """Klaviyo's answer comes when the person is erased already: who was there is noted, and swept away again."""
    post(shop, "e-1")

    def erased(asked: Asked) -> Given:
        erasures.erase(shop.workspace.id, ADA, None)
        return shop.klaviyo._looked_up(asked)

    shop.klaviyo.script("GET /api/profiles", erased)
    shop.drain(Kind.EVENT)
    erasures.sweep()
    assert leftovers() == []


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [
        (Kind.EVENT, "POST /api/events"),
        (Kind.FIELDS, "PATCH /api/profiles/{id}"),
        (Kind.CONSENT, "POST /api/profile-subscription-bulk-create-jobs"),
    ],
)
def test_a_refusal_that_comes_after_the_erasure_is_not_kept_either(shop: Shop, kind: Kind, endpoint: str) -> None:
    """Klaviyo repeats what it was sent, when nobody is to know it any more."""
    post(shop, "e-1")
    consent(shop, "c-1", "subscribed")

    def erased(asked: Asked) -> Given:
        erasures.erase(shop.workspace.id, ADA, None)
        return quoting(asked)

    shop.klaviyo.script(endpoint, erased)
    shop.drain(kind)
    assert len(shop.klaviyo.calls(endpoint)) == 1
    erasures.sweep()
    assert leftovers() == []


@pytest.mark.parametrize("beside", [0, 10])
def test_nothing_goes_out_for_somebody_erased_while_it_was_prepared(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, beside: int
) -> None:
    """Their neighbours are written all the same."""
    monkeypatch.setattr(fields_lane, "SINGLES", 2)
    post(shop, "p-1", "profile")
    others = [shop.fields(shop.person(), points=1) for _ in range(beside)]

    def erased(asked: Asked) -> Given:
        answer = shop.klaviyo._looked_up(asked)
        erasures.erase(shop.workspace.id, ADA, None)
        return answer

    shop.klaviyo.script("GET /api/profiles", erased)
    shop.drain(Kind.FIELDS, times=3)
    written = [asked for asked in shop.klaviyo.asked if asked.endpoint not in {"GET /api/profiles"}]
    assert "Gold-Secret" not in repr(written)
    assert bool(written) is bool(others)


def test_what_stays_says_what_happened_and_when(shop: Shop) -> None:
    ada = live_through_everything(shop)
    erasures.erase(shop.workspace.id, ADA, None)
    with reading() as session:
        gone = session.get_one(Person, ada)
    assert gone.erased_at is not None
    assert (orjson.loads(gone.fields), orjson.loads(gone.consents), gone.home_store_id) == ({}, {}, None)
    outcomes = [outcome for _, _, outcome in shop.attempts()]
    assert {"done", "refused", "unknown"} <= set(outcomes)
