"""Negative controls: for each guard one scripted interleaving that does harm without it and none with it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, text, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from jobs import drain, pace, run, sweeper
from jobs.events import choice, plan
from jobs.pace import Reserved
from tests.apps import dispose, make_app, own_app
from tests.jobs.klaviyo import Asked, Given, good, html
from tests.jobs.shop import Shop
from tests.rows import Rows
from webapp import clock, engines, queue
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.dialects import db_now
from webapp.forms.activities import check
from webapp.klaviyo import client
from webapp.klaviyo.client import KlaviyoClient
from webapp.models import Budget, Lane
from webapp.services.activities import ingest

EVENT, PATCH = "POST /api/events", "PATCH /api/profiles/{id}"
both = pytest.mark.parametrize("guarded", [True, False], ids=["with it", "without it"])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def guarded_app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with own_app(request.param, tmp_path_factory.mktemp("guards")) as made:
        yield made


@pytest.fixture(scope="module")
def rows(guarded_app: Flask) -> Rows:
    return Rows()


@pytest.fixture
def shop(rows: Rows) -> Shop:
    return Shop(rows)


def lease_is_over(shop: Shop, kind: Kind) -> None:
    """Twelve seconds in which the holder of the lane gave no sign of life."""
    with writing() as session:
        lane = update(Lane).where(Lane.id == shop.lane(kind).id)
        session.execute(lane.values(lease_until=db_now(-1), next_at=db_now()))


@both
def test_fence(shop: Shop, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """A sender is frozen in its first call; another takes the lane over and finishes; the first one wakes."""
    if not guarded:
        monkeypatch.setattr(run, "guard", lambda *_, **__: None)
    # What was settled by another is also seen by the second look at what is about to be sent: away in both forms.
    monkeypatch.setattr(choice, "as_known_now", lambda _run, items: choice.AsKnown(list(items), 1))
    person = shop.person(remembered=True)
    deliveries = [shop.event(person, properties=f'{{"n":{number}}}') for number in range(3)]

    def frozen(_asked: Asked) -> Given:
        lease_is_over(shop, Kind.EVENT)
        drain.drain(shop.lane(Kind.EVENT).id)
        return good(202)

    shop.klaviyo.script(EVENT, frozen)
    shop.drain(Kind.EVENT)
    times = Counter(asked.event["properties"]["n"] for asked in shop.klaviyo.calls(EVENT))
    assert shop.said(*deliveries) == ["delivered: written"] * 3
    # The first one nobody could know of. With the fence whoever woke sends nothing more.
    assert times == ({0: 2, 1: 1, 2: 1} if guarded else {0: 2, 1: 2, 2: 2})


@both
def test_deadline(shop: Shop, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """A sender is frozen just before its first byte; a newer value is written meanwhile; the first one wakes."""
    person = shop.person(remembered=True)
    shop.fields(person, points=1)
    frozen_for = 0.0
    real = KlaviyoClient.call

    def call(self: KlaviyoClient, *arguments: Any, deadline: float | None = None, **rest: Any) -> Any:
        nonlocal frozen_for
        if not shop.klaviyo.calls(PATCH) and not frozen_for:
            frozen_for = 0.001
            shop.fields(person, points=2)
            lease_is_over(shop, Kind.FIELDS)
            drain.drain(shop.lane(Kind.FIELDS).id)
            frozen_for = 20.0
        return real(self, *arguments, deadline=deadline if guarded else None, **rest)

    monkeypatch.setattr(KlaviyoClient, "call", call)
    thawed = SimpleNamespace(monotonic=lambda: time.monotonic() + frozen_for, time=time.time)
    monkeypatch.setattr(client, "time", thawed)
    with shop.working():
        drain.drain(shop.lane(Kind.FIELDS).id)
    written = [asked.body["data"]["attributes"]["properties"]["Cevoid: Points"] for asked in shop.klaviyo.calls(PATCH)]
    assert written == ([2] if guarded else [2, 1])


@both
def test_budget(shop: Shop, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """Two connections of one account have a backlog at the same time."""
    if not guarded:
        monkeypatch.setattr(pace, "reserve", lambda _session, _account, _endpoint, calls, **_: Reserved(calls, {}))
    account = shop.connection.klaviyo_account_id
    other = Shop(shop.rows, klaviyo_account_id=account)
    with writing() as session:
        session.add(Budget(klaviyo_account_id=account, endpoint=EVENT, limits={"1": 3, "60": 3}, spent=[]))
    for place in (shop, other):
        person = place.person(remembered=True)
        for _ in range(3):
            place.event(person)
        place.drain(Kind.EVENT)
    called = len(shop.klaviyo.calls(EVENT)) + len(other.klaviyo.calls(EVENT))
    assert called == (3 if guarded else 6)
    if guarded:
        assert other.lane(Kind.EVENT).held_reason == "rate_limited"


@both
def test_unique_id(shop: Shop, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """Klaviyo commits and its answer is lost: the event goes again."""
    if not guarded:
        monkeypatch.setattr(plan, "unique_id", lambda *_: str(uuid4()))
    recorded: dict[str, Any] = {}

    def commits(answer: Given) -> Callable[[Asked], Given]:
        def record(asked: Asked) -> Given:
            recorded.setdefault(asked.event["unique_id"], asked.event)
            return answer

        return record

    delivery = shop.event(shop.person(remembered=True))
    shop.klaviyo.script(EVENT, commits(html(504)), commits(good(202)))
    shop.drain(Kind.EVENT, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    assert len(recorded) == (1 if guarded else 2)


@both
@pytest.mark.parametrize("lost", ["wake-up", "worker"])
def test_sweeper(shop: Shop, monkeypatch: pytest.MonkeyPatch, guarded: bool, lost: str) -> None:
    """Redis is away when an activity is accepted, or the worker that had been woken for it is killed."""
    jobs: list[int] = []
    reachable = lost == "worker"

    def wake(lanes: Any) -> bool:
        jobs.extend(each.lane_id for each in lanes if reachable)
        return reachable

    monkeypatch.setattr(queue, "wake", wake)
    person = shop.person(remembered=True)
    delivery = shop.event(person)
    if lost == "worker":
        shop.dies(Kind.EVENT, EVENT)
    reachable = True
    if guarded:
        assert sweeper.sweep() >= 1
        assert shop.lane(Kind.EVENT).id in jobs
    if shop.lane(Kind.EVENT).id in jobs:
        shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["delivered: written" if guarded else "waiting: backlog"]


def in_threads(app: Flask, works: list[Callable[[], None]]) -> list[DBAPIError]:
    """Do these at the same time; what the database said against it."""
    problems: list[DBAPIError] = []
    start = threading.Barrier(len(works))

    def work(each: Callable[[], None]) -> None:
        with app.app_context():
            start.wait(5)
            try:
                each()
            except DBAPIError as problem:
                problems.append(problem)

    threads = [threading.Thread(target=work, args=(each,)) for each in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return problems


SLOWLY = """
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.25); RETURN NEW; END';
CREATE TRIGGER slowly BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION slowly();
"""


@both
def test_key_order_of_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """Two calls of the ingest API name the same two new people the other way round, row by row at the same time."""
    app = make_app("postgresql", tmp_path)
    with app.app_context():
        workspace = Rows().workspace()
        with writing() as session:
            session.execute(text(SLOWLY))
        if not guarded:
            monkeypatch.setattr(ingest, "sorted", list, raising=False)

        def accepts(*names: str) -> Callable[[], None]:
            at = clock.iso(clock.now())
            items = [
                {
                    "id": f"{names}-{name}",
                    "type": "profile",
                    "occurred_at": at,
                    "profile": {"email": f"{name}@example.com"},
                }
                for name in names
            ]

            def work() -> None:
                drafts = [check(item, {}, {}, clock.now()) for item in items]
                with writing() as session:
                    ingest.record(session, workspace.id, drafts, now=clock.now())

            return work

        problems = in_threads(app, [accepts("ada", "bo"), accepts("bo", "ada")])
    dispose(app)
    assert [getattr(problem.orig, "sqlstate", "") for problem in problems] == ([] if guarded else ["40P01"])


def read(session: Session) -> int:
    return int(session.execute(text("SELECT n FROM counted")).scalar_one())


def write(session: Session, number: int) -> None:
    session.execute(text("UPDATE counted SET n = :n"), {"n": number})
    session.commit()


def two_increments(engine: Engine) -> int:
    """Both read, then both write; one that is told to wait comes again afterwards. What is counted at the end."""
    with Session(engine) as first, Session(engine) as second:
        seen = read(first)
        told_to_wait = False
        try:
            write(second, read(second) + 1)
        except OperationalError:
            told_to_wait = True
            second.rollback()
        write(first, seen + 1)
        if told_to_wait:
            write(second, read(second) + 1)
        return read(first)


@both
def test_begin_immediate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """Two writers of one SQLite row each read before they write."""
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_MS", 50)
    engine = create_engine(f"sqlite:///{tmp_path / 'counted.sqlite3'}")
    if guarded:
        engines.prepare(engine, read_only=False)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE counted (n INTEGER)"))
        connection.execute(text("INSERT INTO counted VALUES (0)"))
    assert two_increments(engine) == (2 if guarded else 1), "without it one is lost, and nobody is told"
    engine.dispose()
