"""Budgets: whatever is reserved, never more than the limit in any second or minute; 429s and announced limits count."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, literal, select
from sqlalchemy.orm import Session

from jobs import pace
from jobs.pace import OverBudget, learn, reserve, room
from webapp.database import reading, run_writing, writing
from webapp.dialects import db_now
from webapp.extensions import db
from webapp.klaviyo import endpoints
from webapp.klaviyo.answers import Answer, Reached
from webapp.klaviyo.endpoints import Endpoint
from webapp.models import Budget
from webapp.models.types import UtcDateTime

START = datetime(2026, 11, 23, 10, tzinfo=UTC)
SMALL = Endpoint("POST", "/api/small", (), 3, 7)
DOCUMENTED = {"1": 3, "60": 7}
accounts = itertools.count(1)
with_database = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Clock:
    """The database's clock, as a test sets it."""

    def __init__(self) -> None:
        self.now = START

    def db_now(self, plus_seconds: float = 0.0) -> Any:
        return literal(self.now + timedelta(seconds=plus_seconds), UtcDateTime())


@contextmanager
def set_clock() -> Iterator[Clock]:
    found = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "db_now", found.db_now)
        read = bindparam("now", callable_=lambda: found.now, type_=UtcDateTime())
        patch.setattr(pace, "_LOCKED", select(pace._ROW, read))
        yield found


def account() -> str:
    return f"PACE{next(accounts)}"


def throttled(retry_after: int | None) -> Answer:
    return Answer(Reached.ANSWERED, 5, status=429, is_json=True, retry_after=retry_after)


def announced(**limits: int) -> Answer:
    return Answer(
        Reached.ANSWERED, 5, status=202, limits={int(w.removeprefix("w")): calls for w, calls in limits.items()}
    )


def take(session: Session, name: str, endpoint: Endpoint = SMALL, calls: int = 1, share: float = 1.0) -> int:
    """How many were reserved now; 0 over budget."""
    try:
        return reserve(session, name, endpoint, calls, share=share).calls
    except OverBudget:
        return 0


def most_in(taken: list[tuple[datetime, int]], window: float) -> int:
    """The most calls in any window of that many seconds."""
    span = timedelta(seconds=window)
    return max((sum(n for at, n in taken if end - span < at <= end) for end, _ in taken), default=0)


moments = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 20, 99, 100, 101, 450, 999, 1000, 7000, 59_000]),
        st.integers(1, 9),
        st.sampled_from([0.5, 1.0]),
    ),
    min_size=5,
    max_size=40,
)


@with_database
@given(moments)
def test_never_more_than_the_limit_in_any_window(engine_app: Flask, steps: list[tuple[int, int, float]]) -> None:
    name = account()
    taken: list[tuple[datetime, int]] = []
    with set_clock() as clock, writing() as session:
        for advance, calls, share in steps:
            clock.now += timedelta(milliseconds=advance)
            got = take(session, name, calls=calls, share=share)
            assert got <= calls
            taken.append((clock.now, got))
            if share < 1 and got:
                assert sum(n for at, n in taken if at > clock.now - timedelta(seconds=1)) <= 1
                assert sum(n for at, n in taken if at > clock.now - timedelta(seconds=60)) <= 3
    assert most_in(taken, 1) <= SMALL.per_second
    assert most_in(taken, 60) <= SMALL.per_minute


@with_database
@given(moments)
def test_whoever_is_told_when_to_come_gets_something_then(
    engine_app: Flask, steps: list[tuple[int, int, float]]
) -> None:
    name = account()
    with set_clock() as clock, writing() as session:
        for advance, calls, share in steps:
            clock.now += timedelta(milliseconds=advance)
            until = refused_until(session, name, calls, share)
            if until is not None:
                assert clock.now < until <= clock.now + timedelta(seconds=60.2)
                clock.now = until - timedelta(milliseconds=1)
                assert refused_until(session, name, calls, share) == until, "not before"
                clock.now = until
                assert take(session, name, share=share) == 1


def test_what_is_left_can_be_taken_at_once(engine_app: Flask) -> None:
    with set_clock(), writing() as session:
        name = account()
        assert reserve(session, name, SMALL).left == SMALL.per_second - 1
        assert reserve(session, name, SMALL, SMALL.per_second - 1).left == 0
        assert take(session, name) == 0


def refused_until(session: Session, name: str, calls: int, share: float) -> datetime | None:
    """When to come again; None where something was reserved."""
    try:
        reserve(session, name, SMALL, calls, share=share)
    except OverBudget as over:
        return over.until
    return None


spents = st.lists(st.tuples(st.integers(0, 600), st.integers(1, 5)), max_size=30).map(
    lambda rows: [[100 * step, calls] for step, calls in sorted(dict(rows).items())]
)


@given(spents, st.integers(60_000, 62_000), st.integers(1, 20), st.integers(1, 60))
def test_room_is_what_is_left_of_every_window(spent: list[list[int]], now: int, second: int, minute: int) -> None:
    free, wait = room(spent, {1: second, 60: minute}, now)
    used = {w: sum(n for start, n in spent if start + 100 > now - 1000 * w) for w in (1, 60)}
    assert free == min(second - used[1], minute - used[60])
    assert wait >= 1
    if free < 1:
        later, _ = room(spent, {1: second, 60: minute}, now + wait)
        assert later >= 1


def test_the_whole_budget_can_be_used(engine_app: Flask) -> None:
    """A backlog uses every minute: sliding windows lose a step of a tenth of a second of each and no more."""
    name, taken = account(), []
    with set_clock() as clock, writing() as session:
        for _ in range(3):
            began = clock.now
            taken.append(0)
            while clock.now < began + timedelta(seconds=60.1):
                clock.now += timedelta(milliseconds=300)
                taken[-1] += take(session, name, endpoints.EVENTS, 10)
    assert taken == [150, 150, 150]


@pytest.mark.parametrize(("retry_after", "seconds"), [(5, 5), (None, 1), (0, 1), (68_000, 68_000)])
def test_a_429_blocks_for_as_long_as_it_says(engine_app: Flask, retry_after: int | None, seconds: int) -> None:
    name = account()
    with set_clock() as clock, writing() as session:
        assert take(session, name) == 1
        learn(session, name, SMALL, throttled(retry_after), DOCUMENTED)
        for later in (0.0, seconds - 0.01):
            clock.now = START + timedelta(seconds=later)
            with pytest.raises(OverBudget) as over:
                reserve(session, name, SMALL)
            assert over.value.until == START + timedelta(seconds=seconds)
        clock.now = START + timedelta(seconds=seconds)
        assert take(session, name) == 1
        assert take(session, name, endpoints.EVENT) == 1, "another endpoint was never blocked"


def test_of_several_429s_the_longest_counts(engine_app: Flask) -> None:
    name = account()
    with set_clock() as clock, writing() as session:
        assert take(session, name) == 1
        for seconds in (2, 3600, 1):
            learn(session, name, SMALL, throttled(seconds), DOCUMENTED)
        clock.now = START + timedelta(seconds=3599)
        assert take(session, name) == 0
        clock.now = START + timedelta(seconds=3600)
        assert take(session, name) == 1


@pytest.mark.parametrize(
    ("answer", "first_second", "first_minute"),
    [
        (announced(w1=5, w60=20), 5, 20),
        (announced(w1=1, w60=2), 1, 2),
        (announced(w1=2), 2, 7),
        (announced(w60=4), 3, 4),
        (announced(w86400=1), 3, 7),
        (announced(w0=1), 3, 7),
        (announced(w1=0, w60=0), 1, 1),
        (Answer(Reached.UNKNOWN, 5), 3, 7),
        (Answer(Reached.ANSWERED, 5, status=202), 3, 7),
    ],
)
def test_announced_limits_replace_ours_in_both_directions(
    engine_app: Flask, answer: Answer, first_second: int, first_minute: int
) -> None:
    name = account()
    with set_clock() as clock, writing() as session:
        assert take(session, name) == 1
        learn(session, name, SMALL, answer, DOCUMENTED)
        clock.now += timedelta(minutes=2)
        assert sum(take(session, name, calls=3) for _ in range(20)) == first_second
        for _ in range(300):
            clock.now += timedelta(milliseconds=150)
            first_second += take(session, name, calls=9)
        assert first_second == first_minute


def test_a_429_blocks_an_endpoint_of_which_nothing_was_reserved(engine_app: Flask) -> None:
    name = account()
    with set_clock(), writing() as session:
        learn(session, name, SMALL, throttled(5), {})
        assert take(session, name) == 0


def test_low_priority_leaves_half(engine_app: Flask) -> None:
    name = account()
    with set_clock(), writing() as session:
        assert take(session, name, endpoints.EVENTS, 10, share=0.5) == 5
        assert take(session, name, endpoints.EVENTS, 10, share=0.5) == 0
        assert take(session, name, endpoints.EVENTS, 10) == 5, "live work takes the rest"
        assert take(session, name, endpoints.ACCOUNTS, share=0.5) == 1, "half of one is one"


def in_threads(app: Flask, count: int, work: Callable[[], None]) -> None:
    def run() -> None:
        with app.app_context():
            work()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def test_workers_of_all_machines_share_one_budget(engine_app: Flask) -> None:
    """By the database's own clock, from the first reservation on, which all of them try to make."""
    name = account()
    taken: list[int] = []

    def work() -> None:
        taken.extend(run_writing(lambda session: take(session, name, endpoints.EVENTS, 2)) for _ in range(12))

    in_threads(engine_app, 5, work)
    with reading() as session:
        spent = session.scalars(select(Budget.spent).where(Budget.klaviyo_account_id == name)).one()
    assert sum(taken) == sum(calls for _, calls in spent) >= 10, "none is lost, all of the first second's are used"
    for step, _ in spent:
        assert sum(calls for start, calls in spent if step - 1000 <= start <= step) <= 10


def test_the_clock_is_read_once_the_row_is_locked(engine_app: Flask) -> None:
    """Whoever waits for another's reservation, even for one that comes to nothing, spends as of when it goes on."""
    name = account()
    key = pace._key(name, SMALL)
    run_writing(lambda session: take(session, name))
    read: list[datetime] = []

    def reads() -> None:
        run_writing(lambda session: read.append(pace._locked(session, key, SMALL).now))

    with Session(db.engine) as held:
        pace._locked(held, key, SMALL)
        waiting = threading.Thread(target=in_threads, args=(engine_app, 1, reads))
        waiting.start()
        time.sleep(0.3)  # it stands in line by now; where it came later it is right all the more
        released = held.execute(select(db_now().label("now"))).scalar_one()
        held.rollback()
    waiting.join(30)
    assert read[0] >= released
