"""Whom an import job created, and whom it did not, also beside a signup of the same person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from jobs.fields import lane as fields_lane
from tests.jobs.creating import JOB, JOB_ERRORS, LOOK, LOST, STATUS, SUBSCRIBE, beside, profile
from tests.jobs.klaviyo import Asked, Given, error, good, throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.models import Person


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")


def several(shop: Shop, monkeypatch: pytest.MonkeyPatch, count: int = 3) -> list[Person]:
    """So many strangers that they go by an import job."""
    monkeypatch.setattr(fields_lane, "SINGLES", 2)
    people = [shop.person(there=False) for _ in range(count)]
    for person in people:
        shop.fields(person, points=1)
    return people


@pytest.mark.parametrize("answer", [error(400), throttled(1), error(403)])
def test_a_refused_import_job_created_nobody(shop: Shop, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    people = several(shop, monkeypatch)
    shop.klaviyo.script(JOB, *[answer] * 9)
    shop.drain(Kind.FIELDS)
    assert [shop.link(person).creating_since for person in people] == [None] * 3


def test_an_import_jobs_people_are_dated_by_klaviyos_clock(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was born a moment before the job came by another door, though our look-up had missed them."""
    people = several(shop, monkeypatch)
    job_at = clock.now().replace(microsecond=0) + timedelta(seconds=30)
    created = {"status": "queued", "created_at": job_at.isoformat()}
    shop.klaviyo.script(JOB, good(202, {"type": "profile-bulk-import-job", "id": "job", "attributes": created}))
    shop.drain(Kind.FIELDS)
    over = {"type": "profile-bulk-import-job", "id": "job", "attributes": {"status": "complete", "failed_count": 0}}
    shop.klaviyo.script(STATUS, good(200, over))
    before, after = job_at - timedelta(seconds=1), job_at + timedelta(hours=2)
    born = [profile(people[0], before), profile(people[1], job_at), profile(people[2], after)]
    shop.klaviyo.script(LOOK, good(200, born))
    shop.drain(Kind.FIELDS, times=2)
    assert [shop.link(person).created_by_us_at is not None for person in people] == [False, True, True]


def test_whoever_a_job_did_not_take_was_not_created_by_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    people = several(shop, monkeypatch)
    over = {"status": "complete", "failed_count": 1}
    shop.klaviyo.script(STATUS, good(200, {"type": "profile-bulk-import-job", "id": "job", "attributes": over}))
    bad = {"detail": "No.", "source": {"pointer": "/data/attributes/profiles/data/1"}}
    shop.klaviyo.script(JOB_ERRORS, good(200, [{"type": "import-error", "id": "e", "attributes": bad}]))
    shop.klaviyo.script(LOOK, good(200, []), good(200, []))
    shop.drain(Kind.FIELDS, times=2)
    assert [shop.link(person).creating_since is None for person in people] == [False, True, False]


def test_an_import_job_does_not_date_a_signup_that_began_before_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs may have created them before the job was, which found nobody there when it looked."""
    people = several(shop, monkeypatch)
    shop.consent(people[0])
    shop.klaviyo.script(SUBSCRIBE, LOST)
    shop.klaviyo.script(LOOK, beside(shop, Kind.CONSENT, shop.klaviyo._looked_up))
    job_at = clock.now().replace(microsecond=0) + timedelta(seconds=30)
    created = {"status": "queued", "created_at": job_at.isoformat()}
    shop.klaviyo.script(JOB, good(202, {"type": "profile-bulk-import-job", "id": "job", "attributes": created}))
    shop.drain(Kind.FIELDS)
    over = {"type": "profile-bulk-import-job", "id": "job", "attributes": {"status": "complete", "failed_count": 0}}
    shop.klaviyo.script(STATUS, good(200, over))
    before = [profile(person, job_at - timedelta(seconds=10)) for person in people]
    shop.klaviyo.script(LOOK, good(200, before))
    shop.drain(Kind.FIELDS, times=2)
    assert [shop.link(person).created_by_us_at is not None for person in people] == [True, False, False]


@pytest.mark.parametrize("tells", [True, False], ids=["dated", "not dated"])
@pytest.mark.parametrize(("first", "count"), [("job", 1), ("signup", 1), (None, 0)])
def test_what_a_job_did_not_take_says_nothing_of_a_signup(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, first: str | None, count: int, tells: bool
) -> None:
    """Whichever of them marked first: the signup was not answered, and may have created them."""
    people = several(shop, monkeypatch)
    signup = beside(shop, Kind.CONSENT, shop.klaviyo._looked_up)
    if first is not None:
        shop.consent(people[1])
        shop.klaviyo.script(SUBSCRIBE, LOST)
    if first == "signup":
        shop.klaviyo.script(LOOK, signup)
    job: dict[str, Any] = {"type": "profile-bulk-import-job", "id": "job"}
    dated = {"created_at": clock.iso(clock.now())} if tells else {}
    shop.klaviyo.script(JOB, good(202, {**job, "attributes": {"status": "queued", **dated}}))
    shop.drain(Kind.FIELDS)
    if first == "job":
        shop.drain(Kind.CONSENT)
    bad = {"detail": "No.", "source": {"pointer": "/data/attributes/profiles/data/1"}}
    shop.klaviyo.script(STATUS, good(200, {**job, "attributes": {"status": "complete", "failed_count": 1, **dated}}))
    shop.klaviyo.script(JOB_ERRORS, good(200, [{"type": "import-error", "id": "e", "attributes": bad}]))
    shop.klaviyo.script(LOOK, good(200, []))
    shop.drain(Kind.FIELDS, times=2)
    with writing() as session:
        session.merge(shop.link(people[1])).looked_up_at = None
    shop.fields(people[1], points=2)
    shop.klaviyo.script(LOOK, good(200, [profile(people[1], clock.now())]))
    shop.drain(Kind.FIELDS, times=2)
    assert shop.again().profiles_created == count


@contextmanager
def updates() -> Iterator[list[str]]:
    """The statements that change rows."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("UPDATE"):
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("end", ["created", "failed, and another profile by now"])
def test_a_job_costs_no_statement_for_each_of_its_people(shop: Shop, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """Of thousands its end would be the only writer for many seconds."""
    costs = []
    for count in (3, 30):
        people = several(shop, monkeypatch, count)
        if end == "created":
            born = [profile(person, clock.now()) for person in people]
            shop.klaviyo.script(LOOK, good(200, []), good(200, born))
        else:
            over = {"status": "complete", "failed_count": count}
            shop.klaviyo.script(STATUS, good(200, {"type": "profile-bulk-import-job", "id": "job", "attributes": over}))
            shop.klaviyo.script(JOB_ERRORS, good(200, [_error(place) for place in range(count)]))
            for person in people:
                shop.rows.link(shop.connection, person, klaviyo_id=shop.klaviyo.put(str(person.email)))
            shop.klaviyo.script(LOOK, shop.klaviyo._looked_up, lambda asked: _merged(shop, asked))
        with updates() as found:
            shop.drain(Kind.FIELDS, times=3)
        assert {shop.link(person).fields_version for person in people} == {1}
        costs.append(len(found))
    assert costs[0] == costs[1]


def _error(place: int) -> dict[str, Any]:
    bad = {"detail": "No.", "source": {"pointer": f"/data/attributes/profiles/data/{place}"}}
    return {"type": "import-error", "id": "e", "attributes": bad}


def _merged(shop: Shop, asked: Asked) -> Given:
    """Everybody is another profile now."""
    for email in shop.klaviyo._wanted(asked):
        shop.klaviyo.put(email)
    return shop.klaviyo._looked_up(asked)
