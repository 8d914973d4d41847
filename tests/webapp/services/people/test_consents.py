"""What counts of what a person said, place by place: cases, and any mix of them in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.services.people import consents
from webapp.services.people.consents import NOWHERE, Place, Word

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SE, NO, DK, MOVED = Place(1, 10), Place(2, 20), Place(None, 30), Place(4, 10)
IN, OUT = "subscribed", "unsubscribed"


def word(state: str, minutes: int = 0, place: Place = SE, number: int = 1, *, accepted: int = 1_000) -> Word:
    return Word(state, NOW + minutes * MINUTE, NOW + accepted * MINUTE, number, place)


def held(words: Sequence[Word], text: str = "{}") -> str:
    """The text after these were accepted one after the other."""
    for each in words:
        assert each.place is not None
        said = {"channel": "email", "state": each.state}
        text, _ = consents.merged(text, said, each.occurred_at, each.accepted_at, each.activity_id, each.place)
    return text


@pytest.mark.parametrize("older", [IN, OUT])
@pytest.mark.parametrize("newer", [IN, OUT])
def test_in_one_account_the_newest_counts(newer: str, older: str) -> None:
    assert word(newer, 5).supersedes(word(older, 0))
    assert not word(newer, 0).supersedes(word(older, 5))
    assert word(newer, number=2).supersedes(word(older)), "ties go by arrival"
    other_store = Place(SE.connection_id, 11)
    assert word(newer, 5, other_store).supersedes(word(older)), "an account without a store takes several"


def test_what_is_said_in_another_store_leaves_both_as_they_are() -> None:
    for place in (NO, DK):
        for newer in (IN, OUT):
            for older in (IN, OUT):
                assert not word(newer, 5, place).supersedes(word(older))


def test_a_store_that_another_account_takes_now_ends_its_signups_and_keeps_its_withdrawals() -> None:
    """A signup that waits for the earlier account is over; nobody else takes them off the list of that one."""
    assert word(OUT, 5, MOVED).supersedes(word(IN))
    assert word(IN, 5, MOVED).supersedes(word(IN))
    assert not word(OUT, 5, MOVED).supersedes(word(OUT))
    assert not word(IN, 5, MOVED).supersedes(word(OUT))
    without = word(IN, 0, Place(1, None))
    assert word(OUT, 5, Place(4, None)).supersedes(without), "likewise where there are no stores"


def test_a_withdrawal_that_nothing_was_there_for_ends_any_signup_of_before() -> None:
    for place in (SE, NO, Place(1, None)):
        assert word(OUT, 5, NOWHERE).supersedes(word(IN, 0, place))
        assert not word(OUT, 5, NOWHERE).supersedes(word(IN, 6, place))
        assert not word(OUT, 5, NOWHERE).supersedes(word(OUT, 0, place))
        if place.store_id:
            assert not word(IN, 5, NOWHERE).supersedes(word(IN, 0, place))
    text = held([word(OUT, 0, NOWHERE), word(IN, 5, NOWHERE, 2)])
    assert consents.is_superseded(text, word(IN, -5, number=3))


def test_nobody_says_anything_after_it_was_heard() -> None:
    """A signup dated tomorrow by a wrong clock does not cancel the withdrawals of today."""
    ahead = word(IN, 600, accepted=0)
    assert word(OUT, 5, accepted=5, number=2).supersedes(ahead)
    assert not ahead.supersedes(word(OUT, 5, accepted=5, number=2))
    a_little = word(OUT, 8, accepted=3)
    assert a_little.supersedes(word(IN, 7, accepted=4, number=2)), "a clock a little ahead keeps the order of its own"
    late = word(OUT, -5, accepted=5, number=2)
    assert ahead.supersedes(late), "what happened before it and came after it is older all the same"
    assert word(IN, 601, accepted=0, number=1).supersedes(word(OUT, 600, accepted=0, number=2)), (
        "of one call, in its words"
    )


def test_a_text_of_before_places_were_kept_cancels_no_withdrawal_but_its_own_ends_signups() -> None:
    for state, over in [(IN, [IN]), (OUT, [IN, OUT])]:
        text = orjson.dumps(
            {"email": {"state": state, "occurred_at": "2026-11-23T12:00:00Z", "activity_id": 1}}
        ).decode()
        for older in (IN, OUT):
            assert consents.is_superseded(text, word(older, -5)) == (older in over)
            assert not consents.is_superseded(text, word(older, 5))
        entry = consents.newest_at(text, 7)
        assert entry is not None
        assert entry["state"] == state
        both = held([word(IN, 5)], text)
        assert [each["activity_id"] for each in consents.of_channel(both)] == [1, 1], "it stays beside newer ones"


def test_the_newest_of_each_place_is_kept_with_its_evidence() -> None:
    text = held([word(IN, 0), word(OUT, 5, NO, 2), word(OUT, 9, SE, 3), word(IN, 8, SE, 4)])
    assert [each["activity_id"] for each in consents.of_channel(text)] == [3, 2]
    evidence = {"channel": "email", "state": IN, "source": "form", "policy_version": "2026-04"}
    text, superseded = consents.merged(text, evidence, NOW + 10 * MINUTE, NOW + 11 * MINUTE, 5, NO)
    assert not superseded
    newest = consents.newest_at(text, 2)
    assert newest is not None
    assert newest == {
        **evidence,
        "activity_id": 5,
        "connection_id": 2,
        "store_id": 20,
        "occurred_at": "2026-11-23T12:10:00Z",
        "accepted_at": "2026-11-23T12:11:00Z",
    }
    assert consents.newest_at(text, 3) is None


places = st.builds(Place, st.none() | st.integers(1, 3), st.none() | st.integers(10, 12))
moments = st.integers(-5, 5).map(lambda minutes: NOW + minutes * MINUTE)
words = st.lists(st.builds(Word, st.sampled_from([IN, OUT]), moments, moments, st.just(0), places), max_size=12)


@given(words)
def test_what_is_kept_tells_the_same_as_all_that_was_said(said: list[Word]) -> None:
    said = [replace(each, activity_id=number) for number, each in enumerate(said, 1)]
    text = held(said)
    assert len(consents.of_channel(text)) == len({each.slot for each in said})
    for each in said:
        assert consents.is_superseded(text, each) == any(other.supersedes(each) for other in said)


@given(words)
def test_of_one_account_one_word_is_left_and_it_is_the_newest(said: list[Word]) -> None:
    said = [replace(each, activity_id=number) for number, each in enumerate(said, 1)]
    text = held(said)
    for connection_id in (1, 2, 3):
        mine = [each for each in said if each.place is not None and each.place.connection_id == connection_id]
        newest = max(mine, key=lambda each: each.order, default=None)
        entry = consents.newest_at(text, connection_id)
        assert (entry and entry["activity_id"]) == (newest and newest.activity_id)
        assert sum(not any(other.supersedes(each) for other in mine) for each in mine) == bool(mine)
