"""Where Klaviyo takes long over every single answer, whatever needs many of them gets on all the same.

RQ ends a drain after a minute, and the next one would begin with the first question again.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from jobs import run
from jobs.fields.confirm import UNREADABLE_LOOKS
from tests.jobs.import_jobs import ERRORS, JOB, LOOK, STATUS, at, ended, next_second, several
from tests.jobs.klaviyo import Asked, Given, good
from tests.jobs.shop import Shop
from tests.rows import Rows
from webapp import queue
from webapp.catalogue.words import Kind
from webapp.klaviyo import payloads

SECONDS = 7.0  # of each answer
MANY = 100

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
