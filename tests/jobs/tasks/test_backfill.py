"""Syncing existing people: one delivery a person, in bites, never too far ahead, nothing lost."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, update

from jobs.tasks import backfill, existing
from tests.jobs.tasks.place import Place
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin
from webapp.database import reading, writing
from webapp.models import (
    Activity,
    Connection,
    Delivery,
    Lane,
    LaneKind,
    TaskState,
)
from webapp.models.delivery import PRIORITY_BACKFILL
from webapp.services.connections import lifecycle
from webapp.services.resends import resending
from webapp.services.sharing import backfills


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bites of two, and never five ahead."""
    monkeypatch.setattr(backfill, "BITE", 2)
    monkeypatch.setattr(backfill, "AHEAD", 5)


def test_everybody_is_owed_one_delivery_below_live_traffic(place: Place, small: None) -> None:
    people = place.people(3)
    place.people(1, tested_only=True)
    place.rows.person(place.rows.workspace("other"))
    task = place.work(place.start())
    with reading() as session:
        rows = session.execute(select(Activity, Delivery).join(Delivery, Delivery.activity_id == Activity.id)).all()
        lane = session.scalars(
            select(Lane).where(Lane.connection_id == place.connection.id, Lane.kind == LaneKind.FIELDS)
        ).one()
    assert [activity.external_id for activity, _ in rows] == [f"backfill-{task.id}-{person.id}" for person in people]
    assert {(a.origin, a.properties, a.consent) for a, _ in rows} == {(Origin.BACKFILL, None, None)}
    assert {(d.kind, d.status, d.priority) for _, d in rows} == {(Kind.FIELDS, Status.WAITING, PRIORITY_BACKFILL)}
    assert (lane.made, lane.waiting) == (3, 3)
    assert (task.state, task.total, task.done) == (TaskState.RUNNING, 3, 0)
    place.end(Status.DELIVERED, Reason.WRITTEN, 2)
    place.end(Status.SKIPPED, Reason.NOT_IN_KLAVIYO, 1)
    task = place.work(task)
    assert (task.state, task.done, place.made()) == (TaskState.DONE, 3, 3)
    progress = place.progress(task)
    assert (progress.of(Status.DELIVERED), progress.skipped) == (2, [(Reason.NOT_IN_KLAVIYO, 1)])


def test_it_is_never_far_ahead_of_what_was_written(place: Place, small: None) -> None:
    place.people(12)
    task = place.work(place.start())
    assert place.made() == 6
    assert place.work(task).state is TaskState.RUNNING
    assert place.made() == 6
    place.end(Status.DELIVERED, Reason.WRITTEN, 3)
    task = place.work(task)
    assert (place.made(), task.done) == (8, 3)
    assert place.progress(task).done == 3
    for _ in range(3):
        place.end(Status.DELIVERED, Reason.WRITTEN, 12)
        task = place.work(task)
    assert (place.made(), task.state, place.progress(task).of(Status.DELIVERED)) == (12, TaskState.DONE, 12)


def test_whoever_klaviyo_is_at_holds_nobody_back_but_within_bounds(
    place: Place, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import job takes its time; the next people can be looked up meanwhile."""
    monkeypatch.setattr(backfill, "UNDER_WAY", 9)
    place.people(20)
    task = place.work(place.start())
    assert place.made() == 6
    place.give_to_klaviyo(6)
    task = place.work(task)
    assert place.made() == 10
    place.give_to_klaviyo(4)
    assert place.work(task).state is TaskState.RUNNING
    assert place.made() == 10


def test_a_bite_that_dies_is_done_again_from_where_it_stood(
    place: Place, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.people(4)
    task = place.start()
    real, calls = backfill._save, iter(range(100))

    def dying(*arguments: Any) -> None:
        if next(calls) == 1:
            raise RuntimeError("killed before the commit")
        real(*arguments)

    monkeypatch.setattr(backfill, "_save", dying)
    task = place.work(task)
    assert (place.made(), task.cursor["made"], task.tries) == (2, 2, 1)
    task = place.work(task)
    assert (place.made(), task.cursor["made"]) == (4, 4)
    with reading() as session:
        assert session.scalar(select(func.count(func.distinct(Delivery.person_id)))) == 4


def test_paused_it_waits_and_resumed_it_goes_on(place: Place, small: None) -> None:
    place.people(9)
    task = place.work(place.start())
    backfills.move(place.workspace.id, task.id, 1, TaskState.PAUSED)
    place.end(Status.DELIVERED, Reason.WRITTEN, 6)
    task = place.work(task)
    assert (task.state, place.made()) == (TaskState.PAUSED, 6)
    progress = place.progress(task)
    assert (progress.done, progress.waiting) == (6, 0)
    backfills.move(place.workspace.id, task.id, 1, TaskState.WAITING)
    task = place.work(task)
    assert (task.state, place.made()) == (TaskState.RUNNING, 9)


def test_stopped_in_the_middle_of_a_bite_the_bite_is_dropped(
    place: Place, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.people(4)
    task = place.start()
    real = existing.following

    def pausing(*arguments: Any) -> Any:
        backfills.move(place.workspace.id, task.id, 1, TaskState.PAUSED)
        return real(*arguments)

    monkeypatch.setattr(existing, "following", pausing)
    task = place.work(task)
    assert (task.state, place.made(), task.cursor["made"]) == (TaskState.PAUSED, 0, 0)


def test_cancelled_nobody_new_is_put_in_line_and_nobody_in_it_is_lost(place: Place, small: None) -> None:
    place.people(9)
    task = place.work(place.start())
    backfills.move(place.workspace.id, task.id, 1, TaskState.CANCELLED)
    task = place.work(task)
    assert (task.state, place.made()) == (TaskState.CANCELLED, 6)
    assert place.progress(task).waiting == 6
    place.end(Status.DELIVERED, Reason.WRITTEN, 6)
    progress = place.progress(task)
    assert (progress.waiting, progress.of(Status.DELIVERED), progress.total) == (0, 6, 9)
    backfills.move(place.workspace.id, task.id, 1, TaskState.WAITING)
    assert place.read(task).state is TaskState.CANCELLED


def test_it_ends_with_the_connection(place: Place, small: None) -> None:
    place.people(9)
    task = place.work(place.start())
    lifecycle.disconnect(place.workspace.id, place.connection.id, 1)
    place.end(Status.SKIPPED, Reason.DISCONNECTED, 6)
    task = place.work(task)
    assert (task.state, task.error, place.made()) == (TaskState.FAILED, backfill.ENDED, 6)


def test_it_ends_where_the_account_was_replaced(place: Place, small: None) -> None:
    place.people(9)
    task = place.start()
    with writing() as session:
        statement = update(Connection).where(Connection.id == place.connection.id)
        session.execute(statement.values(klaviyo_account_id="ACCTNO"))
    task = place.work(task)
    assert (task.state, task.error, place.made()) == (TaskState.FAILED, backfill.MOVED, 0)


def test_people_of_another_store_are_written_only_where_they_are(place: Place, small: None) -> None:
    norway = place.rows.store(place.workspace, "no")
    place.rows.connection(place.workspace, norway)
    there, elsewhere = place.people(2, home_store_id=norway.id)
    place.rows.link(place.connection, there)
    place.rows.link(place.connection, elsewhere, found=False, klaviyo_id=None)
    (mine,) = place.people(1)
    task = place.work(place.start())
    with reading() as session:
        owed = {row.person_id: row.only_existing for row in session.scalars(select(Delivery))}
    assert owed == {there.id: True, mine.id: False}, "deleted meanwhile, nobody of another store is created"
    assert (place.progress(task).left_out, task.done) == (1, 1)


@pytest.mark.parametrize("cancelled", [True, False])
def test_what_was_sent_again_is_counted_as_it_ends_then(place: Place, small: None, cancelled: bool) -> None:
    """Also where it was resent before its failure was counted."""
    people = place.people(3)
    task = place.work(place.start())
    assert place.progress(task).waiting == len(people)
    if cancelled:
        backfills.move(place.workspace.id, task.id, 1, TaskState.CANCELLED)
    place.end(Status.FAILED, Reason.REJECTED, 1)
    with writing() as session:
        failed = session.scalars(select(Delivery.id).where(Delivery.status == Status.FAILED)).all()
        assert resending.again(session, place.workspace.id, failed) == (1, {})
    assert cancelled or place.work(task).state is TaskState.RUNNING
    assert place.progress(place.read(task)).waiting == len(people)
    place.end(Status.DELIVERED, Reason.WRITTEN, 3)
    assert cancelled or place.work(task).state is TaskState.DONE
    progress = place.progress(place.read(task))
    assert (progress.waiting, progress.of(Status.DELIVERED), progress.done) == (0, 3, 3)
