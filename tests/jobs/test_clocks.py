"""A worker whose own clock is wrong, or is set while it works, goes by the database's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from tests.apps import own_app
from tests.jobs.klaviyo import throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import reading
from webapp.dialects import db_now
from webapp.models import Budget, Delivery, Task, TaskState
from webapp.services import tasks
from webapp.services.connections import lists

FEW = timedelta(seconds=5)


@pytest.fixture(scope="module")
def remote_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """An app whose database may be on another machine."""
    with own_app("postgresql", tmp_path_factory.mktemp("clocks")) as made:
        yield made


@pytest.fixture(scope="module")
def rows(remote_app: Flask) -> Rows:
    return Rows()


@pytest.fixture(params=[-3600, 3600], ids=["an hour behind", "an hour ahead"])
def wrong_by(request: pytest.FixtureRequest) -> timedelta:
    return timedelta(seconds=request.param)


def step(monkeypatch: pytest.MonkeyPatch, wrong_by: timedelta) -> None:
    """From now on this machine's clock is wrong."""

    class Wrong:
        @staticmethod
        def now(tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + wrong_by

    monkeypatch.setattr(clock, "datetime", Wrong)
    monkeypatch.setattr(clock, "_followed", None)
    assert abs(clock.now() - datetime.now(UTC)) > timedelta(minutes=59)


def by_the_database(delivery: Delivery) -> timedelta:
    """In how long a delivery is due."""
    with reading() as session:
        row = session.execute(select(Delivery.due_at, db_now()).where(Delivery.id == delivery.id)).one()
    found: timedelta = row[0] - row[1]
    return found


def test_nothing_is_held_back_or_sent_early(rows: Rows, monkeypatch: pytest.MonkeyPatch, wrong_by: timedelta) -> None:
    shop = Shop(rows, sync_behavior=CREATES)
    stranger, known, gone = shop.person(there=False), shop.person(remembered=True), shop.person(remembered=True)
    waits, goes, changed = shop.event(known), shop.event(known), shop.fields(gone, points=1)
    made = shop.rows.activity(shop.workspace, stranger)
    fresh = shop.rows.delivery(made, shop.connection, created_at=clock.now())
    shop.klaviyo.script("PATCH /api/profiles/{id}", throttled(1))
    step(monkeypatch, wrong_by)
    shop.drain(Kind.EVENT)
    shop.drain(Kind.FIELDS)
    assert shop.said(waits, goes) == ["delivered: written"] * 2
    assert shop.said(fresh, changed) == ["waiting: backlog", "waiting: rate_limited"]
    assert abs(by_the_database(fresh)) < FEW, "the creation of its person is waited for as long as ever"
    assert abs(by_the_database(changed)) < FEW
    with reading() as session:
        settled = session.execute(select(Delivery.settled_at, db_now()).where(Delivery.id == goes.id)).one()
    assert abs(settled[0] - settled[1]) < FEW
    looked_up_at = shop.link(known).looked_up_at
    assert looked_up_at is not None
    assert abs(looked_up_at - datetime.now(UTC)) < FEW


def test_an_activity_is_due_at_once_whatever_the_web_machine_says(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from webapp.services.activities import ingest

    shop = Shop(rows)
    person = shop.person(remembered=True)
    at = clock.iso(clock.now())
    step(monkeypatch, timedelta(hours=1))
    items = [{"id": "a-1", "type": "profile", "occurred_at": at, "profile": {"email": person.email}}]
    assert ingest.accept(shop.workspace.id, items).accepted == 1
    with reading() as session:
        (made,) = session.scalars(select(Delivery).where(Delivery.connection_id == shop.connection.id))
    assert -FEW < by_the_database(made) <= timedelta(0)


def test_a_task_is_due_at_once_whatever_the_web_machine_says(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, wrong_by: timedelta
) -> None:
    """Somebody waits for it on a page."""
    shop = Shop(rows)
    step(monkeypatch, wrong_by)
    lists.ask(shop.connection, 1)
    with reading() as session:
        task, now = session.execute(select(Task, db_now()).where(Task.connection_id == shop.connection.id)).one()
    assert now - FEW < task.due_at <= now
    tasks.move(shop.workspace.id, task.id, 1, to=TaskState.PAUSED)
    with reading() as session:
        task, now = session.execute(select(Task, db_now()).where(Task.id == task.id)).one()
    assert now - FEW < task.due_at <= now


def test_a_database_whose_clock_is_set_back_waits_for_no_calls_that_are_to_come(rows: Rows) -> None:
    """All of a minute's calls were made just before that."""
    shop = Shop(rows)
    delivery = shop.event(shop.person(remembered=True))
    account, endpoint = shop.connection.klaviyo_account_id, "POST /api/events"
    stamp = int((clock.now() + timedelta(hours=1)).timestamp() * 1000)
    rows.save(Budget(klaviyo_account_id=account, endpoint=endpoint, limits={"1": 3, "60": 3}, spent=[[stamp, 3]]))
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["delivered: written"]
