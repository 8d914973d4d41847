"""Since when whoever signs up is on no list of ours, though Klaviyo shows them subscribed in general."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobs.consents.decide import Sent
from jobs.consents.left import Left, left
from webapp.klaviyo.parse import FoundProfile

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OFF_AT = NOW - 2 * HOUR


def profile(*left_lists: tuple[str, datetime], consented_at: datetime | None = None) -> FoundProfile:
    return FoundProfile("01K", "a@example.com", is_subscribed=True, consented_at=consented_at, left_lists=left_lists)


def test_whoever_left_the_chosen_list_is_not_on_it_whoever_took_them_off() -> None:
    shown = profile(("LIST02", NOW - HOUR))
    assert left(shown, "LIST02", taken_off=(), sent=None, on_list=None) == Left(NOW - HOUR)
    assert left(shown, "LIST01", taken_off=(), sent=None, on_list=None) == Left()
    assert left(shown, None, taken_off=(), sent=None, on_list=None) == Left()


def test_of_the_chosen_list_and_the_one_we_took_them_off_the_later_counts() -> None:
    for chosen_at in (NOW - HOUR, NOW - 3 * HOUR):
        shown = profile(("LIST01", OFF_AT), ("LIST02", chosen_at))
        found = left(shown, "LIST02", taken_off={"LIST01"}, sent=None, on_list=None)
        assert found == Left(max(OFF_AT, chosen_at))


def test_whoever_another_door_subscribed_since_is_subscribed() -> None:
    for consented_at, expected in ((NOW - HOUR, Left()), (NOW - 3 * HOUR, Left(OFF_AT))):
        shown = profile(("LIST01", OFF_AT), consented_at=consented_at)
        assert left(shown, "LIST02", taken_off={"LIST01"}, sent=None, on_list=None) == expected


@pytest.mark.parametrize(
    ("sent", "on_list", "expected"),
    [
        (Sent(NOW - HOUR, "LIST02"), None, Left(unproven="LIST02")),
        (Sent(NOW - HOUR, "LIST02"), True, Left()),
        (Sent(NOW - HOUR, "LIST02"), False, Left(OFF_AT)),
        (Sent(NOW - HOUR, None), None, Left()),
        (Sent(NOW - 3 * HOUR, "LIST01"), None, Left(OFF_AT)),
    ],
)
def test_of_our_own_subscribe_since_its_list_tells(sent: Sent, on_list: bool | None, expected: Left) -> None:
    shown = profile(("LIST01", OFF_AT))
    assert left(shown, "LIST03", taken_off={"LIST01"}, sent=sent, on_list=on_list) == expected


def test_of_several_we_took_them_off_the_last_counts() -> None:
    shown = profile(("LIST01", OFF_AT), ("LIST02", NOW - HOUR), ("LIST04", NOW), consented_at=NOW - 1.5 * HOUR)
    assert left(shown, "LIST03", taken_off={"LIST01"}, sent=None, on_list=None) == Left()
    assert left(shown, "LIST03", taken_off={"LIST01", "LIST02", "LIST05"}, sent=None, on_list=None) == Left(NOW - HOUR)
