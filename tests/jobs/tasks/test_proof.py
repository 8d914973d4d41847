"""Reading back from Klaviyo: what is there is confirmed, what is not is said, by a person's wish and by sample."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import delete, select

from jobs.tasks import proof
from tests.jobs.tasks.place import work
from tests.rows import Rows
from tests.sandbox_process import SandboxProcess
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import ActivityType, Kind
from webapp.database import reading, run_writing, writing
from webapp.extensions import settings
from webapp.klaviyo import payloads
from webapp.klaviyo.client import KlaviyoClient, new_session
from webapp.klaviyo.payloads import EventWrite, ProfileWrite
from webapp.models import Activity, Connection, Delivery, Grant, Task, TaskState, Workspace
from webapp.services.activities.ingest import unique_id
from webapp.services.deliveries import proofs
from webapp.services.sharing import choices
from webapp.services.tracing import profile_now, trace

ADA = "ada@example.com"


class Place:
    """A workspace connected to the sandbox's Acme SE."""

    def __init__(self, rows: Rows, sandbox: SandboxProcess) -> None:
        self.rows = rows
        self.sandbox = sandbox
        sandbox.reset()  # both databases give the same ids: the same unique_id would be the other run's event
        self.workspace: Workspace = rows.workspace()
        choices.choose_fields(self.workspace.id, None, ["points"])
        self.tokens = sandbox.grant("ACCTSE")
        self.connection: Connection = rows.connection(self.workspace, klaviyo_account_id="ACCTSE")
        with writing() as session:
            session.execute(delete(Grant).where(Grant.connection_id == self.connection.id))
        rows.grant(
            self.connection,
            access_token=self.tokens["access_token"],
            refresh_token=self.tokens["refresh_token"],
            scopes=self.tokens["scope"],
        )
        fields = '{"points":{"v":120,"at":"2026-11-23T10:00:00Z","n":1}}'
        self.person = rows.person(self.workspace, ADA, fields=fields, fields_version=1, first_name="Ada")

    def delivered(self, kind: Kind = Kind.EVENT, **values: object) -> tuple[Activity, Delivery]:
        activity = self.rows.activity(self.workspace, self.person, **values)
        delivery = self.rows.delivery(
            activity,
            self.connection,
            kind=kind,
            status=Status.DELIVERED,
            reason=Reason.WRITTEN,
            settled_at=clock.now() - timedelta(minutes=6),
        )
        return activity, delivery

    def send(self, activity: Activity) -> None:
        """Put the event into the sandbox as the engine would."""
        write = EventWrite(
            "Cevoid: Member Joined Program",
            unique_id(self.workspace.id, activity.external_id),
            activity.occurred_at,
            "{}",
            ProfileWrite(None, ADA, {"Cevoid: Points": 120}),
        )
        client = KlaviyoClient(new_session(), settings().klaviyo_api_url)
        assert client.call(payloads.event(write), self.tokens["access_token"], seconds=5).ok


@pytest.fixture
def place(any_app: Flask, rows: Rows, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Place:
    from jobs import context

    monkeypatch.setattr(context, "client", lambda url: KlaviyoClient(new_session(), url))
    return Place(rows, sandbox)


def confirmed(delivery: Delivery) -> bool:
    with reading() as session:
        return session.get_one(Delivery, delivery.id).confirmed_at is not None


def newest_task() -> Task:
    with reading() as session:
        return session.scalars(select(Task).order_by(Task.id.desc()).limit(1)).one()


def test_an_event_that_is_there_is_confirmed(place: Place) -> None:
    activity, delivery = place.delivered()
    place.send(activity)
    proofs.ask(delivery, 1)
    work(place.connection)
    task = newest_task()
    assert (task.state, task.result) == (TaskState.DONE, {"confirmed": 1, "missing": []}), task.error
    assert confirmed(delivery)


def test_what_is_not_there_is_looked_for_patiently_then_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    _, delivery = place.delivered()
    proofs.ask(delivery, 1)
    work(place.connection)
    task = newest_task()
    assert task.state is TaskState.RUNNING
    assert task.due_at > clock.now() + timedelta(seconds=10)
    monkeypatch.setattr(proof, "PATIENCE", timedelta(0))
    with writing() as session:
        session.get_one(Task, task.id).due_at = clock.now() - timedelta(seconds=1)
    work(place.connection)
    assert newest_task().result == {"confirmed": 0, "missing": [delivery.id]}
    assert not confirmed(delivery)


def test_fields_and_consents_are_confirmed_by_what_the_profile_says(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "PATIENCE", timedelta(0))
    activity, _ = place.delivered()
    place.send(activity)
    _, fields = place.delivered(Kind.FIELDS)
    said = {"type": ActivityType.CONSENT, "event": None, "properties": None}
    _, subscribed = place.delivered(Kind.CONSENT, consent='{"channel":"email","state":"subscribed"}', **said)
    place.sandbox.set_subscription("ACCTSE", ADA, "SUBSCRIBED")
    for delivery in (fields, subscribed):
        proofs.ask(delivery, 1)
    work(place.connection)
    assert confirmed(fields)
    assert confirmed(subscribed)
    place.sandbox.set_subscription("ACCTSE", ADA, "UNSUBSCRIBED")
    _, again = place.delivered(Kind.CONSENT, consent='{"channel":"email","state":"subscribed"}', **said)
    proofs.ask(again, 1)
    work(place.connection)
    assert not confirmed(again)


def test_a_missing_permission_is_said(place: Place) -> None:
    with writing() as session:
        session.execute(delete(Grant).where(Grant.connection_id == place.connection.id))
    tokens = place.sandbox.grant("ACCTSE", "accounts:read", "profiles:read")
    place.rows.grant(
        place.connection,
        access_token=tokens["access_token"],
        refresh_token=tokens["refresh_token"],
        scopes=tokens["scope"],
    )
    _, delivery = place.delivered()
    proofs.ask(delivery, 1)
    work(place.connection)
    task = newest_task()
    assert task.state is TaskState.FAILED
    assert "events:read is missing" in str(task.error)


def test_one_in_a_thousand_is_sampled_within_its_hourly_share(
    rows: Rows, any_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proofs, "ONE_IN", 10)
    monkeypatch.setattr(proofs, "AN_HOUR", 3)
    workspace = rows.workspace()
    connection = rows.connection(workspace)
    person = rows.person(workspace)
    settled = clock.now() - timedelta(minutes=6)
    for number in range(45):
        activity = rows.activity(workspace, person)
        status = (Status.FAILED, Reason.REJECTED) if number == 19 else (Status.DELIVERED, Reason.WRITTEN)
        rows.delivery(activity, connection, status=status[0], reason=status[1], settled_at=settled)
    assert run_writing(proofs.due_samples) == 3
    assert newest_task().arguments == {"deliveries": [10, 30, 40], "sample": True}
    assert run_writing(proofs.due_samples) == 0
    with writing() as session:
        for task in session.scalars(select(Task)):
            task.created_at = clock.now() - timedelta(hours=2)
    assert run_writing(proofs.due_samples) == 0


def test_what_klaviyo_has_now_is_read_and_kept_shortly(place: Place) -> None:
    activity, _ = place.delivered()
    place.send(activity)
    profile_now.ask(place.workspace.id, place.person.id, [place.connection.id], 1)
    work(place.connection)
    task = newest_task()
    assert task.state is TaskState.DONE, task.error
    assert task.result["found"] is True
    assert task.result["properties"]["Cevoid: Points"] == 120
    assert ADA not in str(task.result)
    lines = {line.what: line for line in profile_now.latest(trace.known(place.person))[0].lines}
    assert lines["Cevoid: Points"].differs is False
    with writing() as session:
        session.get_one(Task, task.id).created_at = clock.now() - timedelta(minutes=20)
    assert profile_now.forget_old() == 1
    assert profile_now.forget_old() == 0
    stranger = place.rows.person(place.workspace, "nobody-there@example.com")
    profile_now.ask(place.workspace.id, stranger.id, [place.connection.id], 1)
    work(place.connection)
    assert newest_task().result == {"found": False}


def put_on(place: Place, list_id: str) -> None:
    """Klaviyo has the person, and has them on this list."""
    profile = place.sandbox.put_profiles("ACCTSE", ADA)[ADA]
    client = KlaviyoClient(new_session(), settings().klaviyo_api_url)
    added = payloads.add_to_list(list_id, [profile])
    assert client.call(added, place.tokens["access_token"], seconds=5).ok


def test_who_was_put_on_a_list_is_confirmed_only_on_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "PATIENCE", timedelta(0))
    monkeypatch.setattr(proof, "LISTED_WITH", timedelta(hours=1))
    activity, _ = place.delivered()
    place.send(activity)
    _, fields = place.delivered(Kind.FIELDS)
    lists = place.sandbox.lists("ACCTSE")
    with writing() as session:
        session.get_one(Connection, place.connection.id).list_id = lists["Creators"]["id"]
    place.rows.link(place.connection, place.person, list_added_at=clock.now())
    proofs.ask(fields, 1)
    work(place.connection)
    assert newest_task().result == {"confirmed": 0, "missing": [fields.id]}
    put_on(place, lists["Creators"]["id"])
    proofs.ask(fields, 1)
    work(place.connection)
    assert confirmed(fields)


@pytest.mark.parametrize("state", ["subscribed", "unsubscribed"])
def test_a_consent_is_looked_for_on_the_list_it_went_to(
    place: Place, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """The owner chose another list since: only the one of then tells whether it arrived."""
    monkeypatch.setattr(proof, "PATIENCE", timedelta(0))
    said = {"type": ActivityType.CONSENT, "event": None, "properties": None}
    consent = f'{{"channel":"email","state":"{state}"}}'
    _, delivery = place.delivered(Kind.CONSENT, consent=consent, **said)
    lists = place.sandbox.lists("ACCTSE")
    then, today = lists["Creators"]["id"], lists["Program members"]["id"]
    put_on(place, then)
    place.sandbox.set_subscription("ACCTSE", ADA, "SUBSCRIBED")
    with writing() as session:
        session.get_one(Connection, place.connection.id).list_id = today
    place.rows.link(
        place.connection,
        place.person,
        subscribed_at=clock.now(),
        subscribed_list_id=then,
        withdrawn_list_id=then,
        withdrawn_delivery_id=delivery.id,
    )
    proofs.ask(delivery, 1)
    work(place.connection)
    assert confirmed(delivery) is (state == "subscribed"), "they are on the list of then, and not on today's"


@pytest.mark.parametrize("further", ["Creators", "Newsletter"])
def test_a_withdrawal_from_several_lists_is_confirmed_when_all_are_left(
    place: Place, monkeypatch: pytest.MonkeyPatch, further: str
) -> None:
    monkeypatch.setattr(proof, "PATIENCE", timedelta(0))
    said = {"type": ActivityType.CONSENT, "event": None, "properties": None}
    _, delivery = place.delivered(Kind.CONSENT, consent='{"channel":"email","state":"unsubscribed"}', **said)
    lists = {name: row["id"] for name, row in place.sandbox.lists("ACCTSE").items()}
    put_on(place, lists["Creators"])
    place.sandbox.set_subscription("ACCTSE", ADA, "SUBSCRIBED")
    last = lists["Program members"]
    place.rows.link(place.connection, place.person, withdrawn_list_id=last, withdrawn_delivery_id=delivery.id)
    for list_id in (last, lists[further]):
        place.rows.signup(place.connection, place.person, list_id, withdrawn_by=delivery.id)
    proofs.ask(delivery, 1)
    work(place.connection)
    assert confirmed(delivery) is (further == "Newsletter"), "they are still on the list of creators"
