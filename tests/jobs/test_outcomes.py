"""The table of outcomes, row by row: every answer Klaviyo (or something before it) can give has one decision."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import outcomes
from jobs.outcomes import Outcome, outcome
from webapp.klaviyo.answers import Answer, Reached


def answered(status: int, *, is_json: bool = False, is_foreign: bool = False) -> Answer:
    return Answer(Reached.ANSWERED, 10, status=status, is_json=is_json, is_foreign=is_foreign)


JSON = [
    (200, Outcome.DONE),
    (201, Outcome.DONE),
    (202, Outcome.DONE),
    (204, Outcome.DONE),
    (400, Outcome.REFUSED),
    (401, Outcome.AGAIN),
    (403, Outcome.SCOPE_MISSING),
    (404, Outcome.GONE),
    (405, Outcome.AGAIN),
    (406, Outcome.AGAIN),
    (409, Outcome.CONFLICT),
    (410, Outcome.AGAIN),
    (413, Outcome.TOO_LARGE),
    (415, Outcome.AGAIN),
    (422, Outcome.REFUSED),
    (429, Outcome.AGAIN),
    (500, Outcome.UNKNOWN),
    (502, Outcome.UNKNOWN),
    (503, Outcome.UNKNOWN),
    (504, Outcome.UNKNOWN),
    (524, Outcome.UNKNOWN),
]


@pytest.mark.parametrize(("status", "expected"), JSON)
def test_klaviyos_own_answers(status: int, expected: Outcome) -> None:
    assert outcome(answered(status, is_json=True)) is expected


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_success_without_a_body(status: int) -> None:
    """Events and subscriptions are accepted with an empty body."""
    assert outcome(answered(status)) is Outcome.DONE


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Outcome.UNKNOWN),
        (202, Outcome.UNKNOWN),
        (301, Outcome.AGAIN),
        (302, Outcome.AGAIN),
        (400, Outcome.AGAIN),
        (401, Outcome.AGAIN),
        (403, Outcome.AGAIN),
        (404, Outcome.AGAIN),
        (409, Outcome.AGAIN),
        (413, Outcome.TOO_LARGE),
        (414, Outcome.AGAIN),
        (429, Outcome.AGAIN),
        (500, Outcome.UNKNOWN),
        (524, Outcome.UNKNOWN),
    ],
)
def test_what_is_not_json_is_a_proxys(status: int, expected: Outcome) -> None:
    """A page of HTML says nothing of our access, of a person or of a list: nothing is given up for it."""
    assert outcome(answered(status, is_foreign=True)) is expected


def test_transport() -> None:
    assert outcome(Answer(Reached.NOT_SENT, 0)) is Outcome.AGAIN
    assert outcome(Answer(Reached.UNKNOWN, 3000)) is Outcome.UNKNOWN
    assert outcome(Answer(Reached.ANSWERED, 1, status=None)) is Outcome.UNKNOWN


answers = st.builds(
    Answer,
    reached=st.sampled_from(Reached),
    duration_ms=st.integers(0, 10_000),
    status=st.none() | st.integers(100, 599),
    is_json=st.booleans(),
    is_foreign=st.booleans(),
)


@given(answers)
def test_any_answer_has_a_decision_and_none_gives_up_too_soon(answer: Answer) -> None:
    found = outcome(answer)
    if found is Outcome.DONE:
        assert answer.reached is Reached.ANSWERED
        assert answer.ok
    if found in {Outcome.SCOPE_MISSING, Outcome.GONE, Outcome.CONFLICT, Outcome.REFUSED}:
        assert answer.is_json, "only Klaviyo itself may end a delivery"
        assert answer.reached is Reached.ANSWERED
    if answer.reached is Reached.UNKNOWN or (answer.reached is Reached.ANSWERED and (answer.status or 0) >= 500):
        assert found is Outcome.UNKNOWN, "it may have been done"


def test_the_table_in_words_names_every_status() -> None:
    """The words above the code are what people read: they say what the code does."""
    words = outcomes.__doc__ or ""
    for status, _ in JSON:
        if status not in {200, 201, 202, 204, 502, 503, 504, 500}:
            assert str(status) in words, status
    for word in ("2xx", "5xx", "not JSON", "refused connection", "too late"):
        assert word in words
