"""Incidents: when there is one, and the words of a connection's health."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from jobs import watch
from tests.rows import ALL_SCOPES
from webapp.catalogue.incidents import Incident
from webapp.models import ConnectionState, LaneKind
from webapp.services.connections import health
from webapp.services.connections.facts import Facts, LaneFacts

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def at(hours_ago: float) -> datetime:
    return NOW - timedelta(hours=hours_ago)


LONG_AGO = at(24 * 60)


def failing(
    failed: dict[datetime, int], delivered: dict[datetime, int] | None = None, began: datetime = LONG_AGO
) -> str:
    return watch.is_failing(watch.Hours(delivered or {}, failed), began, NOW) or "no"


def test_failing_takes_a_day_of_nothing_but_failures() -> None:
    failed = {at(hour): 1 for hour in range(25)}
    assert failing(failed) == f"25 in 24 hours, since {at(24):%-d %B %H:%M} UTC"
    assert failing(failed, {at(3): 1}) == "no"
    assert failing({at(hour): 1 for hour in range(10)}) == "no"
    assert failing({at(hour): 9 for hour in range(24)}) == "no"
    assert failing({at(hour): 1 for hour in range(0, 40, 2)}) == "no"
    assert failing({at(hour): 2 for hour in range(0, 40, 2)}) == f"26 in 24 hours, since {at(38):%-d %B %H:%M} UTC"


def test_what_failed_before_it_went_on_says_nothing_of_it_now() -> None:
    failed = {at(hour): 1 for hour in range(40)}
    assert failing(failed, began=at(23)) == "no"
    assert failing(failed, began=at(24)) == f"25 in 24 hours, since {at(24):%-d %B %H:%M} UTC"


def quiet(delivered: dict[datetime, int], last: datetime, began: datetime = LONG_AGO) -> datetime | None:
    return watch.quiet_since(watch.Hours(delivered), last, began, NOW)


def test_silence_is_three_times_the_usual_gap() -> None:
    hourly = {at(hour): 5 for hour in range(10, 200)}
    assert quiet(hourly, at(10)) == at(10)
    assert quiet(hourly, at(3)) is None
    assert quiet(hourly, at(10), began=at(2)) is None
    daily = {at(24 * day): 5 for day in range(1, 20)}
    assert quiet(daily, at(24)) is None
    assert quiet(daily, at(73)) == at(73)
    mostly = {at(hour): 5 for hour in range(10, 200)} | {at(300): 1}
    assert quiet(mostly, at(10)) == at(10)
    assert quiet({at(90): 1}, at(90)) is None


def facts(**values: Any) -> Facts:
    plain: dict[str, Any] = dict.fromkeys(Facts._fields)
    return Facts(**{**plain, "state": ConnectionState.ACTIVE, "scopes": ALL_SCOPES, **values})


def test_the_words() -> None:
    lane = LaneFacts(LaneKind.EVENTS, 5, NOW + timedelta(seconds=90), "retrying", 1)
    assert health.of(facts(), [lane], {}, NOW).why == "Klaviyo did not take it; next try 12:01:30 UTC"
    told = LaneFacts(LaneKind.EVENTS, 5, NOW + timedelta(seconds=90), "retrying", 1, "answered 500")
    assert health.of(facts(), [told], {}, NOW).why == "Klaviyo answered 500; next try 12:01:30 UTC"
    slowed = LaneFacts(LaneKind.EVENTS, 5, NOW + timedelta(seconds=42), "rate_limited", 0)
    assert health.of(facts(), [slowed], {}, NOW).why == "its limit is used up until 12:00:42 UTC"
    refused = health.of(facts(), [lane], {Incident.FAILING: "Refused by Klaviyo, 25 in 24 hours"}, NOW)
    assert (refused.word, refused.why) == ("Failing", "Refused by Klaviyo, 25 in 24 hours")
    assert health.of(facts(), [], {Incident.FAILING: ""}, NOW).why == "Klaviyo refuses everything"
    assert health.of(facts(), [], {Incident.SILENT: "yesterday"}, NOW).word == "Silent"
    without = " ".join(scope for scope in ALL_SCOPES.split() if scope != "subscriptions:write")
    assert health.of(facts(scopes=without), [], {}, NOW).why == "newsletter off: scope missing"
    lost = facts(state=ConnectionState.NEEDS_REAUTHORIZATION, state_cause="It was removed", state_at=at(3))
    assert health.of(lost, [], {}, NOW).why == "It was removed 3 h ago"
    assert health.of(facts(paused_at=NOW, paused_by=7), [], {}, NOW).why == "by a person"
    assert health.of(facts(), [], {}, NOW).word == "Delivering"
