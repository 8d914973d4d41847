"""Where Klaviyo takes long over every single answer, whatever needs many of them gets on all the same.

RQ ends a drain after a minute, and the next one would begin with the first question again.
"""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from jobs import run
from jobs.consents import send
from jobs.consents.decide import Step
from jobs.fields.confirm import UNREADABLE_LOOKS
from jobs.run import Run
from tests.jobs.import_jobs import ADD, ERRORS, JOB, LOOK, STATUS, at, ended, next_second, several
from tests.jobs.klaviyo import Asked, Given, error, good
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import queue
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.klaviyo import payloads
from webapp.models import ProfileLink

SECONDS = 7.0  # of each answer
MANY = 100
SUBSCRIBE = "POST /api/profile-subscription-bulk-create-jobs"

pytestmark = pytest.mark.usefixtures("few_are_many")


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that answers took, each; the drain's clock goes on by them."""
    found: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(found))
    monkeypatch.setattr(run, "time", clock)
    return found


@pytest.fixture
def rounds(passed: list[float], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The same of calls that are made at once: of each round of them, whatever it asks."""
    real = Run.send_all

    def slowly(self: Run, *what: Any) -> Any:
        passed.append(SECONDS)
        return real(self, *what)

    monkeypatch.setattr(Run, "send_all", slowly)
    return passed


def drained(shop: Shop, kind: Kind, passed: list[float], times: int) -> None:
    """So many drains, none of which goes on for as long as RQ lets it."""
    for _ in range(times):
        passed.clear()
        next_second(shop)
        shop.drain(kind)
        assert sum(passed) < queue.DRAIN_SECONDS


def test_an_import_job_is_for_those_who_could_be_looked_up_in_time(
    shop: Shop, passed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "LOOKUP_ADDRESSES", 1)
    _, deliveries = several(shop, MANY)

    def slowly(asked: Asked) -> Given:
        passed.append(SECONDS / run.AT_ONCE)
        return shop.klaviyo._looked_up(asked)

    shop.klaviyo.script(LOOK, *[slowly] * MANY)
    for _ in range(6):
        passed.clear()
        next_second(shop)
        shop.drain(Kind.FIELDS)
        assert sum(passed) + SECONDS < queue.DRAIN_SECONDS
    assert set(shop.said(*deliveries)) == {"delivered: written"}
    assert len(shop.klaviyo.calls(LOOK)) == MANY
    assert len(shop.klaviyo.calls(JOB)) > 1


def test_who_failed_in_an_import_job_is_read_as_far_as_there_is_time(shop: Shop, passed: list[float]) -> None:
    """Nobody reads the last page: those named by then have failed in the end, and the others go again."""
    _, deliveries = several(shop, 12)
    shop.drain(Kind.FIELDS)

    def page(asked: Asked) -> Given:
        """One failure a page."""
        passed.append(SECONDS)
        number = int(asked.query.get("page[cursor]", 0))
        said = {"attributes": {"detail": "Not valid.", "source": {"pointer": at(number)}}}
        following = {"next": f"https://a.test/?page[cursor]={number + 1}"} if number < 11 else {}
        return good(200, [said], links=following)

    shop.klaviyo.script(STATUS, *[ended(shop, failed_count=12)] * UNREADABLE_LOOKS)
    shop.klaviyo.script(ERRORS, *[page] * 12 * UNREADABLE_LOOKS)
    for _ in range(UNREADABLE_LOOKS):
        assert "failed: rejected" not in shop.said(*deliveries)
        passed.clear()
        next_second(shop)
        shop.drain(Kind.FIELDS)
        assert sum(passed) + SECONDS < queue.DRAIN_SECONDS
    named = len(passed)
    assert shop.said(*deliveries[:named]) == ["failed: rejected"] * named
    assert "waiting: klaviyo_processing" not in shop.said(*deliveries[named:])


@pytest.mark.parametrize("state", ["subscribed", "unsubscribed"])
def test_whoever_says_something_is_written_as_far_as_there_is_time(
    engine_rows: Rows, rounds: list[float], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """A call of the subscriptions holds fewer than were looked up at once."""
    shop = Shop(engine_rows, list_id="LIST01")
    monkeypatch.setattr(payloads, "LOOKUP_ADDRESSES", 10)
    monkeypatch.setattr(send, "AT_MOST", dict.fromkeys((Step.SUBSCRIBE, Step.UNSUBSCRIBE), 10))
    people = [shop.person() for _ in range(MANY)]
    shop.klaviyo.members["LIST01"] = {str(person.email) for person in people}
    deliveries = [shop.consent(person, state) for person in people]
    drained(shop, Kind.CONSENT, rounds, 10)
    assert set(shop.said(*deliveries)) == {"delivered: written"}


def test_of_a_signup_that_is_refused_whole_the_others_go_on_in_the_next_drains(
    engine_rows: Rows, rounds: list[float]
) -> None:
    """Klaviyo does not say whom it does not take, and finding out takes more calls than there is time for."""
    shop = Shop(engine_rows)
    people = [shop.person() for _ in range(64)]
    deliveries = [shop.consent(person) for person in people]
    bad = {shop.klaviyo.people[str(person.email)] for person in (people[33], people[63])}

    def answer(asked: Asked) -> Given:
        return error(400) if bad & {each.get("id") for each in asked.profiles} else good(202)

    shop.klaviyo.script(SUBSCRIBE, *[answer] * 99)
    drained(shop, Kind.CONSENT, rounds, 8)
    failed = {33, 63}
    assert shop.said(*deliveries) == [
        "failed: rejected" if number in failed else "delivered: written" for number in range(64)
    ]


def test_whoever_we_created_goes_to_the_list_as_far_as_there_is_time(
    engine_rows: Rows, rounds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")
    monkeypatch.setattr(payloads, "LIST_IDS", 5)
    people = [shop.person(remembered=True) for _ in range(60)]
    with writing() as session:
        mine = ProfileLink.connection_id == shop.connection.id
        session.execute(update(ProfileLink).where(mine).values(list_due=True, fields_version=1))
    deliveries = [shop.fields(person, points=1) for person in people]
    drained(shop, Kind.FIELDS, rounds, 4)
    assert set(shop.said(*deliveries)) == {"delivered: written"}
    assert len(shop.klaviyo.calls(ADD)) == 12


@pytest.mark.parametrize(("bad", "taken", "times", "comes_to"), [(4, 0, 1, "list_missing"), (3, 9, 12, "written")])
def test_whom_the_list_does_not_take_is_found_out_as_far_as_there_is_time(
    engine_rows: Rows, rounds: list[float], bad: int, taken: int, times: int, comes_to: str
) -> None:
    """Klaviyo does not say whom: it takes more calls than there is time for, and none of them settles anybody."""
    shop = Shop(engine_rows, sync_behavior=CREATES, list_id="LIST01")
    people = [shop.person(remembered=True) for _ in range(bad + taken)]
    with writing() as session:
        mine = ProfileLink.connection_id == shop.connection.id
        session.execute(update(ProfileLink).where(mine).values(list_due=True, fields_version=1))
    deliveries = [shop.fields(person, points=1) for person in people]
    gone = {shop.klaviyo.people[str(person.email)] for person in people[:bad]}

    def answer(asked: Asked) -> Given:
        return error(404) if gone & {each["id"] for each in asked.body["data"]} else good(204)

    shop.klaviyo.script(ADD, *[answer] * 99)
    drained(shop, Kind.FIELDS, rounds, times)
    assert set(shop.said(*deliveries)) == {f"delivered: {comes_to}"}
    assert [shop.link(person).list_added_at is None for person in people] == [True] * bad + [False] * taken


def test_whom_an_import_job_created_is_looked_up_as_far_as_there_is_time(
    engine_rows: Rows, rounds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(engine_rows, sync_behavior=CREATES)
    _, deliveries = several(shop, MANY, there=False)
    shop.drain(Kind.FIELDS)
    monkeypatch.setattr(payloads, "LOOKUP_ADDRESSES", 1)
    drained(shop, Kind.FIELDS, rounds, 6)
    assert set(shop.said(*deliveries)) == {"delivered: written"}
    assert len(shop.klaviyo.calls(LOOK)) == 1 + MANY


def test_what_was_refused_for_an_old_token_is_asked_anew_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight look-ups one after the other would take longer than a drain."""
    monkeypatch.setattr(payloads, "LOOKUP_ADDRESSES", 1)
    _, deliveries = several(shop, 8)
    all_are_asked = threading.Barrier(8, timeout=5)

    def together(asked: Asked) -> Given:
        all_are_asked.wait()
        return shop.klaviyo._looked_up(asked)

    shop.klaviyo.script(LOOK, *[error(401)] * 8, *[together] * 8)
    drained(shop, Kind.FIELDS, [], 2)
    assert set(shop.said(*deliveries)) == {"delivered: written"}
    assert len(shop.klaviyo.calls(LOOK)) == 16
