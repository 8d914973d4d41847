"""Whoever failed in an import job is looked up once more, however few of them fit the budget of one drain."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from tests.jobs.import_jobs import ERRORS, JOB, LOOK, STATUS, at, ended, next_second, several
from tests.jobs.klaviyo import error, good
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import writing
from webapp.klaviyo import payloads
from webapp.models import Budget, Delivery, Person

MANY, A_CALL, A_SECOND = 12, 2, 3

pytestmark = pytest.mark.usefixtures("few_are_many")


def all_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch, *, there: bool) -> tuple[list[Person], list[Delivery]]:
    """A job is over that took nobody; of its people half are looked up in one drain."""
    made = several(shop, MANY, there=there)
    if not there:
        shop.klaviyo.script(JOB, lambda _: good(202, {"type": "profile-bulk-import-job", "id": "job-none"}))
        shop.klaviyo.jobs["job-none"] = {}
    shop.drain(Kind.FIELDS)
    monkeypatch.setattr(payloads, "LOOKUP_ADDRESSES", A_CALL)
    account = shop.connection.klaviyo_account_id
    with writing() as session:
        mine = (Budget.klaviyo_account_id == account, Budget.endpoint == LOOK)
        session.execute(update(Budget).where(*mine).values(limits={"1": A_SECOND, "60": 750}))
    failed = [{"attributes": {"detail": "Not valid.", "source": {"pointer": at(place)}}} for place in range(MANY)]
    shop.klaviyo.script(STATUS, *[ended(shop, failed_count=MANY)] * 2)
    shop.klaviyo.script(ERRORS, *[good(200, failed)] * 2)
    return made


def drained(shop: Shop, times: int) -> None:
    for _ in range(times):
        next_second(shop)
        shop.drain(Kind.FIELDS)


@pytest.mark.parametrize("there", [True, False], ids=["there", "to be created"])
def test_it_ends_and_nobody_is_asked_about_twice(
    engine_rows: Rows, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    shop = Shop(engine_rows, sync_behavior=CREATES)
    people, deliveries = all_refused(shop, monkeypatch, there=there)
    before = len(shop.klaviyo.calls(LOOK))
    drained(shop, 2)
    assert shop.said(*deliveries) == ["failed: rejected"] * MANY
    assert not any(shop.link(person).job_batch_id for person in people)
    assert len(shop.klaviyo.calls(LOOK)) - before == MANY / A_CALL


@pytest.mark.parametrize("how", ["gone", "put anew"])
@pytest.mark.parametrize("behavior", SyncBehavior)
def test_whose_profile_was_found_gone_before_the_budget_was_used_up_is_decided_anew(
    engine_rows: Rows, monkeypatch: pytest.MonkeyPatch, behavior: SyncBehavior, how: str
) -> None:
    """Of the first drain and of the last one."""
    shop = Shop(engine_rows, sync_behavior=behavior)
    people, deliveries = all_refused(shop, monkeypatch, there=True)
    changed = 0, MANY - 1
    for number in changed:
        del shop.klaviyo.people[str(people[number].email)]
        if how == "put anew":
            shop.klaviyo.put(str(people[number].email))
    drained(shop, 4)
    is_written = how == "put anew" or behavior is CREATES
    said = shop.said(*deliveries)
    assert [said[number] for number in changed] == [
        "delivered: written" if is_written else "skipped: not_in_klaviyo"
    ] * 2
    assert said[1:-1] == ["failed: rejected"] * (MANY - 2), "whose profile is as it was"


def test_where_nobody_may_look_any_more_what_was_found_gone_is_kept(
    engine_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(engine_rows)
    people, deliveries = all_refused(shop, monkeypatch, there=True)
    del shop.klaviyo.people[str(people[0].email)]
    shop.klaviyo.script(LOOK, *[shop.klaviyo._looked_up] * A_SECOND, error(403))
    drained(shop, 2)
    assert shop.said(*deliveries[1:]) == ["failed: rejected"] * (MANY - 1)
    assert shop.said(deliveries[0]) != ["failed: rejected"]
