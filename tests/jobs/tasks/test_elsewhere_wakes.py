"""When an account's search for people of other stores is woken, and that no wake-up is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from jobs.tasks import kinds
from jobs.tasks.run import TaskRun
from tests.jobs.shop import Shop
from tests.jobs.tasks.place import work
from tests.jobs.tasks.test_elsewhere import Place
from tests.rows import Rows
from tests.sandbox_process import SandboxProcess
from webapp import clock
from webapp.catalogue.words import Kind, Origin
from webapp.database import reading, writing
from webapp.dialects import db_now
from webapp.models import Activity, Connection, Delivery, Task, TaskState
from webapp.services.connections import lifecycle
from webapp.services.people import elsewhere


@pytest.fixture
def place(any_app: Flask, rows: Rows, sandbox: SandboxProcess) -> Place:
    return Place(rows, sandbox)


@pytest.mark.parametrize("how", ["paused", "without access"])
def test_what_came_while_the_account_could_do_nothing_is_looked_at_when_it_goes_on(place: Place, how: str) -> None:
    days = timedelta(days=3)
    with writing() as session:
        session.get_one(Connection, place.no.id).created_at = clock.now() - days
    if how == "paused":
        lifecycle.pause(place.workspace.id, place.no.id, 1, on=True)
    else:
        lifecycle.lose_grant(place.no.id, "revoked")
    place.post("ada@example.com", points=1)
    assert place.look().state is TaskState.DONE
    assert place.owed() == []
    with writing() as session:
        session.execute(update(Delivery).values(created_at=clock.now() - days + timedelta(hours=1)))
    if how == "paused":
        lifecycle.pause(place.workspace.id, place.no.id, 1, on=False)
    else:
        with writing() as session:
            connection = session.get_one(Connection, place.no.id)
            lifecycle.make_move(session, connection, lifecycle.Move.RECONNECT, actor_id=None)
    with writing() as session:
        session.execute(update(Task).values(due_at=db_now()))
    work(place.no)
    assert place.owed() == [("ada@example.com", True)]


def test_what_comes_while_a_bite_ends_is_looked_at(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its account's drain wakes the task, which has read all there was and is not done yet."""
    quick, real = kinds.KINDS[elsewhere.KIND]

    def ending(run: TaskRun) -> bool:
        more = real(run)
        monkeypatch.setitem(kinds.KINDS, elsewhere.KIND, (quick, real))
        place.post("ada@example.com", points=1)
        with writing() as session:
            session.execute(update(Delivery).values(created_at=clock.now() - timedelta(seconds=5)))
        elsewhere.wake(place.workspace.id, [place.no.id])
        return more

    monkeypatch.setitem(kinds.KINDS, elsewhere.KIND, (quick, ending))
    place.post("nobody@example.com", points=1)
    assert place.look().state is TaskState.DONE
    assert place.owed() == [("ada@example.com", True)]


@pytest.mark.parametrize(("origin", "asked"), [(Origin.PLATFORM, 1), (Origin.BACKFILL, 0)])
def test_a_drain_of_one_account_wakes_the_others(engine_rows: Rows, origin: Origin, asked: int) -> None:
    shop = Shop(engine_rows)
    other = engine_rows.connection(shop.workspace, engine_rows.store(shop.workspace))
    delivery = shop.fields(shop.person(), points=1)
    with writing() as session:
        session.get_one(Activity, delivery.activity_id).origin = origin
    for _ in range(2):
        shop.drain(Kind.FIELDS)
    with reading() as session:
        found = session.scalars(select(Task.connection_id).where(Task.workspace_id == shop.workspace.id)).all()
    assert found == [other.id] * asked
