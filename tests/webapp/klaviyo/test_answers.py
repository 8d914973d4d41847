"""Reading what announces limits, what says how long to wait, and what says what was wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.klaviyo.answers import (
    LONGEST_WAIT,
    Answer,
    Reached,
    parse_errors,
    parse_limits,
    parse_retry_after,
)

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["errors", "source", "pointer", "meta", "detail", "code", "title"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.text(max_size=40) | st.integers().map(str) | st.datetimes().map(str))
def test_any_retry_after_is_a_sensible_wait_or_none(header: str) -> None:
    found = parse_retry_after(header, NOW)
    assert found is None or 0 <= found <= LONGEST_WAIT


@given(st.integers(0, 10**12 - 1))
def test_seconds_are_seconds(seconds: int) -> None:
    assert parse_retry_after(str(seconds), NOW) == min(seconds, LONGEST_WAIT)


@given(st.integers(-100_000, 2 * LONGEST_WAIT))
def test_a_moment_is_the_seconds_until_then(seconds: int) -> None:
    header = format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True)
    assert parse_retry_after(header, NOW) == min(max(0, seconds), LONGEST_WAIT)
    assert parse_retry_after(header.replace("GMT", "-0000"), NOW) == min(max(0, seconds), LONGEST_WAIT)


@given(st.dictionaries(st.integers(1, 86_400), st.integers(1, 10**6), max_size=4), st.text(" ;=w,x", max_size=5))
def test_announced_limits_are_read_back(limits: dict[int, int], noise: str) -> None:
    announced = ", ".join(["75", *(f"{calls};w={window}" for window, calls in limits.items())])
    assert parse_limits(announced) == limits
    assert parse_limits(f"{noise}, {announced}") == limits


@given(st.text(max_size=30))
def test_any_other_text_announces_nothing_odd(text: str) -> None:
    assert all(isinstance(each, int) for row in parse_limits(text).items() for each in row)


def test_a_thousand_lists_in_the_place_of_a_text_say_nothing() -> None:
    deep: Any = orjson.loads("[" * 1_000 + "]" * 1_000)
    (error,) = parse_errors({"errors": [{"code": deep, "detail": deep, "source": {"pointer": deep}}]})
    assert (error.code, error.detail, error.pointer) == ("", "", "")


@given(anything)
def test_any_body_is_read_for_errors(body: Any) -> None:
    for error in parse_errors(body):
        assert isinstance(error.code, str)
        assert isinstance(error.detail, str)
        assert isinstance(error.meta, dict)
        assert error.item is None or error.item >= 0
    assert parse_errors({"errors": [body]}) is not None


@pytest.mark.parametrize(
    ("pointer", "item"),
    [
        ("/data/attributes/events-bulk-create/data/7/attributes/events/data/0/attributes/time", 7),
        ("/data/attributes/profiles/data/12/attributes/email", 12),
        ("/data/attributes/profiles/data/12", 12),
        ("/data/0", 0),
        ("/data/attributes/email", None),
        ("/data/", None),
        ("/data/3x/", None),
        ("", None),
    ],
)
def test_a_pointer_names_the_outermost_item(pointer: str, item: int | None) -> None:
    (error,) = parse_errors({"errors": [{"source": {"pointer": pointer}}]})
    assert error.item == item


def test_a_title_stands_in_for_a_detail_and_only_three_are_said() -> None:
    body = {"errors": [{"title": "One."}, {"detail": "Two."}, {"detail": "Three."}, {"detail": "Four."}]}
    answer = Answer(Reached.ANSWERED, 5, status=400, is_json=True, errors=parse_errors(body))
    assert answer.sentence == "One. Two. Three."
    assert Answer(Reached.UNKNOWN, 5, why="The connection failed.").sentence == "The connection failed."


def test_a_thousand_errors_are_enough() -> None:
    assert len(parse_errors({"errors": [{}] * 5000})) == 1000


@pytest.mark.parametrize(("status", "ok"), [(None, False), (199, False), (200, True), (299, True), (300, False)])
def test_ok_is_2xx(status: int | None, ok: bool) -> None:
    assert Answer(Reached.ANSWERED, 1, status=status).ok is ok
