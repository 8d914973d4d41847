"""People of other stores: looked up when first seen, then daily; found, they are owed what is shared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, select, update

from jobs.tasks import elsewhere as elsewhere_task
from tests.jobs.tasks.place import POINTS, work
from tests.rows import ALL_SCOPES, Rows
from tests.sandbox_process import SandboxProcess
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import ActivityType, Kind, Origin, SyncBehavior
from webapp.database import reading, writing
from webapp.dialects import db_now
from webapp.models import Attempt, Connection, Delivery, Grant, Lane, LaneKind, Person, ProfileLink, Task, TaskState
from webapp.models.delivery import PRIORITY_BACKFILL, PRIORITY_RESEND
from webapp.services.activities import ingest
from webapp.services.people import elsewhere
from webapp.services.sharing import choices

LOOK = "GET /api/profiles"


class Place:
    """Sweden's and Norway's accounts; what is posted is of Sweden. Norway's is the sandbox's Acme NO."""

    def __init__(self, rows: Rows, sandbox: SandboxProcess) -> None:
        self.rows, self.sandbox = rows, sandbox
        sandbox.reset()
        self.workspace = rows.workspace()
        choices.choose_fields(self.workspace.id, None, ["points"])
        values = {"created_at": clock.now() - timedelta(hours=1)}
        self.se: Connection = rows.connection(self.workspace, rows.store(self.workspace, "se"), **values)
        self.no: Connection = rows.connection(
            self.workspace,
            rows.store(self.workspace, "no"),
            klaviyo_account_id="ACCTNO",
            sync_behavior=SyncBehavior.CREATE_PROFILE,
            **values,
        )
        tokens = sandbox.grant("ACCTNO", *ALL_SCOPES.split())
        with writing() as session:
            session.execute(delete(Grant).where(Grant.connection_id == self.no.id))
        rows.grant(self.no, access_token=tokens["access_token"], refresh_token=tokens["refresh_token"])
        rows.store(self.workspace, "dk")
        self.number = 0

    def post(self, email: str, store: str | None = "se", *, minute: int = 0, **fields: Any) -> None:
        self.number += 1
        item = {
            "id": f"a-{self.number}",
            "type": "profile",
            "store": store,
            "occurred_at": f"2026-11-23T10:{minute:02}:00Z",
            "profile": {"email": email, "fields": fields},
        }
        assert ingest.accept(self.workspace.id, [item]).accepted == 1

    def look(self) -> Task:
        """Some seconds later Norway's task has done its work."""
        with writing() as session:
            session.execute(update(Delivery).values(created_at=clock.now() - timedelta(seconds=5)))
        elsewhere.wake(self.workspace.id, [self.no.id])
        with writing() as session:
            session.execute(update(Task).values(due_at=db_now()))
        work(self.no)
        with reading() as session:
            return session.scalars(select(Task).where(Task.connection_id == self.no.id)).one()

    def owed(self) -> list[tuple[str, bool]]:
        """What Norway's account is owed: whose fields, and whether that may create nobody."""
        statement = (
            select(Person.email, Delivery.only_existing)
            .join(Person, Person.id == Delivery.person_id)
            .where(Delivery.connection_id == self.no.id, Delivery.kind == Kind.FIELDS)
            .order_by(Delivery.id)
        )
        with reading() as session:
            return [(str(row.email), row.only_existing) for row in session.execute(statement)]

    def looked_up(self) -> int:
        with reading() as session:
            return sum(session.scalars(select(Attempt.size).where(Attempt.endpoint == LOOK)))


@pytest.fixture
def place(any_app: Flask, rows: Rows, sandbox: SandboxProcess) -> Place:
    return Place(rows, sandbox)


def test_found_there_they_are_owed_what_is_shared_now_and_at_each_change(place: Place) -> None:
    before = set(place.sandbox.profiles("ACCTNO"))
    place.post("ada@example.com", points=1)
    place.post("nobody@example.com", points=1)
    place.post("nothing-shared@example.com", birthdate="1990-12-31")
    assert place.look().state is TaskState.DONE
    assert place.owed() == [("ada@example.com", True)]
    assert place.looked_up() == 2
    place.post("ada@example.com", minute=1, points=2)
    place.post("nobody@example.com", minute=1, points=2)
    assert place.owed() == [("ada@example.com", True)] * 2
    place.look()
    assert place.looked_up() == 2, "at most daily"
    assert place.owed() == [("ada@example.com", True)] * 2
    with writing() as session:
        session.execute(update(ProfileLink).values(looked_up_at=clock.now() - timedelta(hours=25)))
    place.sandbox.put_profiles("ACCTNO", "nobody@example.com")
    place.post("nobody@example.com", minute=2, points=3)
    place.look()
    assert place.owed()[2:] == [("nobody@example.com", True)]
    assert set(place.sandbox.profiles("ACCTNO")) == before | {"nobody@example.com"}
    with reading() as session:
        assert session.scalars(select(Task)).all()[0].state is TaskState.DONE
        assert len(session.scalars(select(Task)).all()) == 1


def test_also_of_stores_without_an_account(place: Place) -> None:
    place.post("ada@example.com", store="dk", points=1)
    place.look()
    assert place.owed() == [("ada@example.com", True)]


def test_in_bites_each_person_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere_task, "LOOKED", 3)
    for number in range(8):
        place.post("ada@example.com", minute=number, points=number)
    task = place.look()
    assert task.state is TaskState.DONE
    assert place.owed() == [("ada@example.com", True)]
    assert place.looked_up() == 1


def test_the_young_are_left_for_a_moment(place: Place) -> None:
    """An elder of theirs may not be committed yet."""
    elsewhere.wake(place.workspace.id, [place.no.id])
    place.post("ada@example.com", points=1)
    work(place.no)
    with reading() as session:
        task = session.scalars(select(Task)).one()
    assert task.state is TaskState.RUNNING
    assert task.due_at > clock.now()
    assert place.owed() == []


def test_what_was_there_before_the_account_tells_of_nobody(place: Place) -> None:
    place.post("ada@example.com", points=1)
    with writing() as session:
        session.execute(update(Delivery).values(created_at=clock.now() - timedelta(hours=2)))
        old = session.scalars(select(Delivery)).one()
    place.post("new@example.com", points=1)
    elsewhere.wake(place.workspace.id, [place.no.id])
    with writing() as session:
        later = update(Delivery).where(Delivery.id != old.id)
        session.execute(later.values(created_at=clock.now() - timedelta(seconds=5)))
    work(place.no)
    assert place.owed() == []
    assert place.looked_up() == 1


@pytest.mark.parametrize("together", [True, False])
def test_a_sync_behind_a_change_does_not_hide_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, together: bool
) -> None:
    """Nor does one before it find the person first: it tells of nobody."""
    monkeypatch.setattr(elsewhere_task, "LOOKED", 800 if together else 1)
    person = place.rows.person(place.workspace, "ada@example.com", fields=POINTS, fields_version=1)

    def sync(priority: int = PRIORITY_BACKFILL) -> None:
        made = place.rows.activity(place.workspace, person, type=ActivityType.PROFILE, origin=Origin.BACKFILL)
        place.rows.delivery(made, place.se, kind=Kind.FIELDS, priority=priority)

    sync()
    sync(PRIORITY_RESEND)  # it had failed
    place.look()
    assert (place.owed(), place.looked_up()) == ([], 0)
    sync()
    place.post("ada@example.com", points=1)
    sync()
    place.look()
    assert place.owed() == [("ada@example.com", True)]


def test_who_was_found_there_meanwhile_is_owed_it_too(place: Place) -> None:
    """By a consent of theirs that came before this task's turn."""
    place.post("ada@example.com", points=1)
    place.post("ada@example.com", minute=1, birthdate="1990-12-31")
    with reading() as session:
        ada = session.scalars(select(Person)).one()
    link = place.rows.link(place.no, ada)
    place.look()
    assert place.owed() == [("ada@example.com", True)]
    assert place.looked_up() == 0
    place.post("ada@example.com", minute=2, birthdate="1990-12-30")
    place.look()
    assert place.owed() == [("ada@example.com", True)], "it waits"
    with writing() as session:
        mine = update(Delivery).where(Delivery.connection_id == place.no.id)
        session.execute(mine.values(status=Status.DELIVERED, reason=Reason.WRITTEN))
        session.merge(link).fields_version = ada.fields_version
    place.post("ada@example.com", minute=3, birthdate="1990-12-31")
    place.look()
    assert place.owed() == [("ada@example.com", True)], "it was written"


def test_who_was_found_there_before_is_owed_changes_only(place: Place) -> None:
    ada = place.rows.person(place.workspace, "ada@example.com", fields=POINTS, fields_version=1)
    place.rows.link(place.no, ada, looked_up_at=clock.now() - timedelta(minutes=30))
    place.post("ada@example.com", birthdate="1990-12-31")
    place.look()
    assert place.owed() == []


MISSING, REJECTED = Reason.SCOPE_MISSING, Reason.REJECTED
NO_WRITE = ALL_SCOPES.replace("profiles:write", "")


SKIPPED = {"status": Status.SKIPPED, "attempts": 2}


def ended(place: Place, reason: Reason, scopes: str, *, asked: bool) -> None:
    """What Norway's account is owed came to this; `asked`: a call was made for it."""
    with writing() as session:
        mine = update(Delivery).where(Delivery.connection_id == place.no.id)
        status = Status.FAILED if reason in {REJECTED, Reason.EXPIRED} else Status.SKIPPED
        session.execute(mine.values(status=status, reason=reason, batch_id=7 if asked else None))
        session.execute(update(Grant).where(Grant.connection_id == place.no.id).values(scopes=scopes))


@pytest.mark.parametrize(
    ("reason", "scopes", "asked"),
    [(MISSING, NO_WRITE, False), (MISSING, ALL_SCOPES, True), (REJECTED, ALL_SCOPES, True)],
)
def test_what_the_account_refused_is_owed_anew_with_a_change_only(
    place: Place, reason: Reason, scopes: str, *, asked: bool
) -> None:
    """However often it is told of, and they are looked up there for anything else."""
    place.post("ada@example.com", points=1)
    place.look()
    assert place.owed() == [("ada@example.com", True)]
    ended(place, reason, scopes, asked=asked)
    for minute in (1, 2):
        place.post("ada@example.com", minute=minute, points=1)
        with writing() as session:
            session.execute(update(ProfileLink).values(looked_up_at=clock.now()))
        place.look()
        assert place.owed() == [("ada@example.com", True)], "nothing changed"
    place.post("ada@example.com", minute=3, points=2)
    assert place.owed() == [("ada@example.com", True)] * 2


@pytest.mark.parametrize("reason", [MISSING, Reason.NOT_IN_KLAVIYO, Reason.EXPIRED])
def test_what_was_not_refused_for_good_hides_nobody_found_there_meanwhile(place: Place, reason: Reason) -> None:
    """Nobody was asked then, or they were not there."""
    place.post("ada@example.com", store="no", points=1)
    ended(place, reason, ALL_SCOPES, asked=False)
    place.post("ada@example.com", minute=1, points=2)
    with reading() as session:
        ada = session.scalars(select(Person)).one()
    place.rows.link(place.no, ada)
    place.look()
    assert place.owed() == [("ada@example.com", False), ("ada@example.com", True)]


@pytest.mark.parametrize(("reason", "waits"), [(Reason.NOT_IN_KLAVIYO, True), (Reason.FIELDS_OFF, False)])
def test_what_was_skipped_as_they_were_not_there_waits_once_they_are_found(
    place: Place, reason: Reason, *, waits: bool
) -> None:
    """Of the same activity: this account was owed it as well, and by then the profile it knew was gone."""
    with writing() as session:
        session.get_one(Connection, place.no.id).sync_behavior = SyncBehavior.UPDATE_EXISTING
    ada = place.rows.person(place.workspace, "ada@example.com")
    link = place.rows.link(place.no, ada)
    place.post("ada@example.com", points=1)
    with writing() as session:
        lane = session.scalars(
            select(Lane).where(Lane.connection_id == place.no.id, Lane.kind == LaneKind.FIELDS)
        ).one()
        lane.skipped = 1
        session.execute(update(Delivery).where(Delivery.connection_id == place.no.id).values(**SKIPPED, reason=reason))
        session.merge(link).klaviyo_id = "01ANOTHER"
    place.look()
    with reading() as session:
        row = session.scalars(select(Delivery).where(Delivery.connection_id == place.no.id)).one()
        lane = session.get_one(Lane, lane.id)
    told = Status.WAITING if waits else Status.SKIPPED
    assert (row.status, row.only_existing, row.attempts) == (told, True, 0 if waits else 2)
    assert (lane.skipped, lane.made, lane.next_at is not None) == (0 if waits else 1, 1, True)
