"""What is older than ninety days goes with all that hangs on it; what is younger stays, on both databases."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from jobs import housekeeping, pruning
from tests.apps import dispose, make_app
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.crypto import digest
from webapp.database import reading, writing
from webapp.extensions import Base
from webapp.models import Activity, Attempt, AttemptDelivery, Delivery, Refusal, Session
from webapp.services.activities import refusals
from webapp.services.workspaces import sessions


def count(model: type[Base]) -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_old_rows_go_and_young_ones_stay(backend: str, tmp_path: Path) -> None:
    app = make_app(backend, tmp_path)
    with app.app_context():
        rows = Rows()
        workspace = rows.workspace()
        connection, person = rows.connection(workspace), rows.person(workspace)
        old = clock.now() - timedelta(days=91)
        for at in (old, clock.now() - timedelta(days=89)):
            activity = rows.activity(workspace, person, accepted_at=at)
            delivery = rows.delivery(activity, connection, status=Status.FAILED, reason=Reason.REJECTED)
            attempt = rows.save(
                Attempt(
                    connection_id=connection.id, endpoint="POST /api/events", size=1, started_at=at, outcome="refused"
                )
            )
            rows.save(AttemptDelivery(attempt_id=attempt.id, delivery_id=delivery.id))
            token = sessions.begin(rows.user(), "a browser")
            with writing() as session:
                session.execute(update(Session).where(Session.token_hash == digest(token)).values(expires_at=at))
        pruning.run()
        assert [count(model) for model in (Activity, Delivery, Attempt, AttemptDelivery, Session)] == [1, 1, 1, 1, 1]
        with reading() as session:
            assert session.scalars(select(Activity.accepted_at)).one() > old
        housekeeping.run()
        assert count(Activity) == 1
    dispose(app)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_all_that_is_over_goes_in_one_round(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of it there is: a bite a round fell behind what comes."""
    monkeypatch.setattr(pruning, "BITE", 2)
    monkeypatch.setattr(refusals, "BITE", 2)
    app = make_app(backend, tmp_path)
    with app.app_context():
        rows = Rows()
        workspace = rows.workspace()
        old = clock.now() - timedelta(days=91)
        for number in range(5):
            rows.activity(workspace, accepted_at=old)
            gone = {"external_id": f"bad-{number}", "error": "no", "first_at": old, "last_at": old}
            rows.save(Refusal(workspace_id=workspace.id, **gone))
        pruning.run()
        assert (count(Activity), count(Refusal)) == (0, 0)
        for _ in range(5):
            rows.activity(workspace, accepted_at=old)
        monkeypatch.setattr(pruning, "LONGEST_SECONDS", 0)
        pruning.run()
        assert count(Activity) == 3, "a round has an end"
    dispose(app)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_what_was_sent_again_stays_until_it_has_ended(backend: str, tmp_path: Path) -> None:
    """It waits for seven days from then on: gone before, it would be lost, and count as waiting for ever."""
    app = make_app(backend, tmp_path)
    with app.app_context():
        rows = Rows()
        workspace = rows.workspace()
        connection, person = rows.connection(workspace), rows.person(workspace)
        activities = [rows.activity(workspace, person, accepted_at=clock.now() - timedelta(days=91)) for _ in range(2)]
        rows.delivery(activities[0], connection)
        rows.delivery(activities[0], connection, kind=Kind.FIELDS, status=Status.FAILED, reason=Reason.REJECTED)
        rows.delivery(activities[1], connection, status=Status.FAILED, reason=Reason.REJECTED)
        pruning.run()
        assert (count(Activity), count(Delivery)) == (1, 2)
        with writing() as session:
            session.execute(update(Delivery).values(status=Status.DELIVERED, reason=Reason.WRITTEN))
        pruning.run()
        assert (count(Activity), count(Delivery)) == (0, 0)
    dispose(app)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_nothing_waits_behind_what_was_sent_again(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bite of the oldest that all wait, as a whole day's for a paused account, is no end of what is over."""
    monkeypatch.setattr(pruning, "BITE", 2)
    app = make_app(backend, tmp_path)
    with app.app_context():
        rows = Rows()
        workspace = rows.workspace()
        connection, person = rows.connection(workspace), rows.person(workspace)
        old = [rows.activity(workspace, person, accepted_at=clock.now() - timedelta(days=91)) for _ in range(7)]
        for activity in old[:3]:
            rows.delivery(activity, connection)
        pruning.run()
        with reading() as session:
            assert list(session.scalars(select(Activity.id).order_by(Activity.id))) == [each.id for each in old[:3]]
    dispose(app)
