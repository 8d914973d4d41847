"""Which signups a withdrawal takes back, and what is said of it with all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobs.consents import leaving
from jobs.consents.decide import Decision, Sent, Step
from jobs.lookup import Link
from webapp.catalogue.reasons import Reason

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
A, B = Sent(NOW - 2 * HOUR, "LIST01"), Sent(NOW - HOUR, "LIST02")
WHOLE = Sent(NOW - HOUR, None)
SOON = Decision(Step.WAIT, Reason.KLAVIYO_PROCESSING, until=NOW)
LATER = Decision(Step.WAIT, Reason.KLAVIYO_PROCESSING, until=NOW + HOUR)
NOT_ON_IT = Decision(Step.SKIP, Reason.NOT_ON_LIST)
MAY_NOT = Decision(Step.SKIP, Reason.SCOPE_MISSING)
SUPERSEDED = Decision(Step.SKIP, Reason.SUPERSEDED)


def link(at: datetime | None, list_id: str | None = None) -> Link:
    return Link(1, "01K", True, NOW, subscribed_at=at, subscribed_list_id=list_id)


def test_the_last_signup_is_this_connections_or_else_the_newest_of_the_account() -> None:
    assert leaving.last_sent(None, {}) is None
    assert leaving.last_sent(link(None), {}) is None
    assert leaving.last_sent(link(None), {"LIST01": A, "LIST02": B}) == B
    assert leaving.last_sent(link(NOW, "LIST01"), {"LIST01": A, "LIST02": B}) == Sent(NOW, "LIST01")
    assert leaving.last_sent(link(NOW), {}) == Sent(NOW, None)
    sent = Sent(A.at, "LIST01", withdrawn_by=7, withdrawn_at=NOW)
    assert leaving.last_sent(link(A.at, "LIST01"), {"LIST01": sent}) == sent


def test_every_list_is_left_and_the_subscription_as_a_whole_where_it_came_last() -> None:
    assert leaving.to_leave(None, {}) == [None]
    assert leaving.to_leave(A, {}) == [A]
    assert leaving.to_leave(B, {"LIST01": A, "LIST02": B}) == [B, A]
    assert leaving.to_leave(WHOLE, {"LIST01": A, None: WHOLE}) == [WHOLE, A]
    assert leaving.to_leave(B, {"LIST02": B, None: Sent(A.at, None)}) == [B]


def test_what_klaviyo_took_of_this_withdrawal_is_not_sent_again() -> None:
    assert leaving.is_taken(Sent(NOW, "LIST01", withdrawn_by=7, withdrawn_at=NOW), 7)
    assert not leaving.is_taken(Sent(NOW, "LIST01", withdrawn_by=7, withdrawn_at=NOW), 8)
    assert not leaving.is_taken(Sent(NOW, "LIST01", withdrawn_by=7), 7), "nobody knows whether it did"
    assert not leaving.is_taken(None, 7)


@pytest.mark.parametrize(
    ("decisions", "said", "after"),
    [
        ([NOT_ON_IT, LATER, SOON, leaving.DONE], SOON, SOON),
        ([leaving.DONE, MAY_NOT], MAY_NOT, MAY_NOT),
        ([NOT_ON_IT, leaving.DONE], leaving.DONE, leaving.DONE),
        ([NOT_ON_IT, NOT_ON_IT], NOT_ON_IT, leaving.DONE),
        ([SUPERSEDED], SUPERSEDED, leaving.DONE),
    ],
)
def test_whatever_is_still_open_is_said_first(decisions: list[Decision], said: Decision, after: Decision) -> None:
    assert leaving.told(decisions) == said
    assert leaving.told_after(decisions) == after


def test_with_the_last_call_of_several_it_is_delivered() -> None:
    assert leaving.told_after([]) == leaving.DONE
