"""Incidents are told once when they begin and once when they are over, by page and by mail; never what is not so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from jobs import watch
from tests.apps import own_app
from tests.postbox import Postbox, open_postbox
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.incidents import Incident
from webapp.catalogue.reasons import Reason, Status
from webapp.database import reading, writing
from webapp.models import Alert, Connection, ConnectionStat, ConnectionState, Workspace
from webapp.services import alerts
from webapp.services.connections import banners as connection_banners
from webapp.services.connections import lifecycle
from webapp.services.connections import search as connection_search

LONG_AGO = timedelta(days=40)


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    with open_postbox() as box:
        yield box


@pytest.fixture
def mailing_app(tmp_path: Path, postbox: Postbox) -> Iterator[Flask]:
    environ = {"MAIL_URL": f"smtp://127.0.0.1:{postbox.port}", "MAIL_FROM": "klaviyo@cevoid.test"}
    with own_app("sqlite", tmp_path, **environ) as made:
        yield made


@pytest.fixture
def acme(mailing_app: Flask) -> Connection:
    rows = Rows()
    workspace = rows.workspace("acme")
    rows.user(workspace, email="owner@example.com")
    return rows.connection(workspace, state_at=clock.now() - LONG_AGO)


def hours(connection: Connection, ago: range, **counts: int) -> None:
    """What became final in these hours."""
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    with writing() as session:
        for back in ago:
            key: dict[str, Any] = {
                "connection_id": connection.id,
                "kind": "event",
                "hour": hour - timedelta(hours=back),
                "workspace_id": connection.workspace_id,
            }
            session.merge(ConnectionStat(**key, **counts))


def change(connection: Connection, **values: object) -> None:
    with writing() as session:
        found = session.get_one(Connection, connection.id)
        for name, value in values.items():
            setattr(found, name, value)


def age(cause: Incident, by: timedelta) -> None:
    """Let the open incident have begun earlier."""
    with writing() as session:
        alert = session.query(Alert).filter_by(cause=cause, closed_at=None).one()
        alert.opened_at -= by


def open_now() -> set[str]:
    with reading() as session:
        return {cause for row in alerts.open_causes(session).values() for cause in row}


def failing_until_paused(connection: Connection) -> None:
    hours(connection, range(26), failed=2)
    watch.run()
    age(Incident.FAILING, timedelta(hours=25))
    watch.run()


def test_failing_is_told_once_then_paused_then_told_to_be_over(
    mailing_app: Flask, acme: Connection, postbox: Postbox
) -> None:
    hours(acme, range(26), failed=2)
    rows = Rows()
    activity = rows.activity(rows.workspace("elsewhere"))
    rows.delivery(activity, acme, status=Status.FAILED, reason=Reason.REJECTED)
    watch.run()
    watch.run()
    assert postbox.subjects == ["Acme: Failing"]
    with reading() as session:
        detail = session.scalars(select(Alert.detail)).one()
    assert re.fullmatch(r"Refused by Klaviyo, 5\d in 24 hours, since \d+ \w+ \d\d:00 UTC", detail), detail
    assert "To: owner@example.com" in postbox.letters[0]
    assert "/w/acme/settings/integrations/klaviyo" in postbox.letters[0]
    with mailing_app.test_request_context():
        banners = connection_banners.of(acme.workspace_id, connection_search.counts(acme.workspace_id))
    assert banners.open[0][2].startswith("Klaviyo has refused everything sent to Acme")
    age(Incident.FAILING, timedelta(hours=23))
    watch.run()
    assert open_now() == {"failing"}
    age(Incident.FAILING, timedelta(hours=2))
    watch.run()
    with reading() as session:
        found = session.get_one(Connection, acme.id)
        assert (found.is_paused, found.paused_cause) == (True, "paused_failing")
    assert open_now() == {"paused_failing"}
    watch.run()
    lifecycle.pause(acme.workspace_id, acme.id, None, on=False)
    assert open_now() == set()
    watch.run()
    watch.run()
    assert postbox.subjects == ["Acme: Failing", "Acme: Paused by us", "Acme: Paused by us is over"]


def test_resumed_it_is_judged_by_what_comes_after(acme: Connection, postbox: Postbox) -> None:
    failing_until_paused(acme)
    lifecycle.pause(acme.workspace_id, acme.id, None, on=False)
    watch.run()
    assert open_now() == set()
    change(acme, resumed_at=clock.now() - timedelta(hours=24))
    watch.run()
    assert open_now() == {"failing"}


def test_failing_is_over_with_a_delivery_and_not_with_quiet(acme: Connection, postbox: Postbox) -> None:
    hours(acme, range(26), failed=2)
    watch.run()
    hours(acme, range(26), failed=0)
    age(Incident.FAILING, timedelta(days=3))
    watch.run()
    assert open_now() == {"failing"}
    with reading() as session:
        assert not session.get_one(Connection, acme.id).is_paused
    change(acme, last_delivered_at=clock.now())
    watch.run()
    assert postbox.subjects == ["Acme: Failing", "Acme: Failing is over"]


def test_a_pause_of_a_persons_ends_no_incident_and_a_second_press_changes_nothing(acme: Connection) -> None:
    hours(acme, range(26), failed=2)
    watch.run()
    lifecycle.pause(acme.workspace_id, acme.id, None, on=True)
    watch.run()
    assert open_now() == {"failing"}
    with reading() as session:
        before = session.get_one(Connection, acme.id).paused_at
    lifecycle.pause(acme.workspace_id, acme.id, 7, on=True)
    with reading() as session:
        again = session.get_one(Connection, acme.id)
        assert (again.paused_at, again.paused_by) == (before, None)


def test_lost_access_takes_the_place_of_other_incidents_untold(acme: Connection, postbox: Postbox) -> None:
    hours(acme, range(26), failed=2)
    watch.run()
    lifecycle.lose_grant(acme.id, "Klaviyo no longer accepts our access")
    watch.run()
    assert open_now() == {"needs_reauthorization"}
    assert postbox.subjects == ["Acme: Failing", "Acme: Reconnect needed"]
    change(acme, state=ConnectionState.DISCONNECTED)
    watch.run()
    assert open_now() == set()
    assert len(postbox.letters) == 2


def usually_hourly(connection: Connection, silent_for: int) -> datetime:
    hours(connection, range(silent_for, 200), delivered=5)
    last = clock.now() - timedelta(hours=silent_for)
    change(connection, last_delivered_at=last)
    return last


def test_silence_is_told_while_activities_come_and_is_over_with_a_delivery(acme: Connection, postbox: Postbox) -> None:
    last = usually_hourly(acme, 5)
    watch.run()
    assert open_now() == set()  # nothing came
    hours(acme, range(2), failed=1)
    watch.run()
    assert open_now() == {"silent"}
    assert f"since {last:%-d %B %H:%M} UTC" in " ".join(postbox.letters[0].split())
    hours(acme, range(2), failed=0)
    watch.run()
    assert open_now() == {"silent"}
    change(acme, last_delivered_at=clock.now())
    watch.run()
    assert postbox.subjects == ["Acme: Silent", "Acme: Silent is over"]


@pytest.mark.parametrize(
    ("reason", "is_silent"),
    [(Reason.SCOPE_MISSING, True), (Reason.NOT_IN_KLAVIYO, True), (Reason.EVENT_OFF, False), (Reason.UNCHANGED, False)],
)
def test_what_goes_astray_is_silence_and_what_is_not_meant_to_go_is_not(
    acme: Connection, reason: Reason, is_silent: bool
) -> None:
    usually_hourly(acme, 5)
    rows = Rows()
    with reading() as session:
        workspace = session.get_one(Workspace, acme.workspace_id)
    rows.delivery(rows.activity(workspace), acme, status=Status.SKIPPED, reason=reason)
    hours(acme, range(1), skipped=1)
    watch.run()
    assert open_now() == ({"silent"} if is_silent else set())


def test_what_began_and_ended_before_it_could_be_told_is_one_letter(acme: Connection, postbox: Postbox) -> None:
    with writing() as session:
        alerts.open_alert(session, acme, Incident.SILENT, "noon")
        alerts.close_alert(session, acme.id, Incident.SILENT)
    watch.run()
    watch.run()
    assert postbox.subjects == ["Acme: Silent is over"]
    assert "since noon" in postbox.letters[0]
    assert "delivers again" in postbox.letters[0]


def list_missing(connection: Connection) -> None:
    change(connection, list_id="L1", list_missing_at=clock.now())


def test_a_postbox_that_is_away_is_tried_again(mailing_app: Flask, acme: Connection, postbox: Postbox) -> None:
    list_missing(acme)
    values = mailing_app.extensions["cevoid.settings"]
    mailing_app.extensions["cevoid.settings"] = replace(values, mail_url="smtp://127.0.0.1:1")
    watch.run()
    assert postbox.letters == []
    mailing_app.extensions["cevoid.settings"] = values
    watch.run()
    assert postbox.subjects == ["Acme: List missing"]


def test_a_letter_that_is_refused_stands_before_nobody_elses(acme: Connection, postbox: Postbox) -> None:
    postbox.refused.add("owner@example.com")
    list_missing(acme)
    rows = Rows()
    other = rows.workspace("second")
    rows.user(other, email="second@example.com")
    list_missing(rows.connection(other, klaviyo_account_id="SECOND", account_name="Two\nlines"))
    watch.run()
    assert postbox.subjects == ["Two lines: List missing"]
    postbox.refused.clear()
    watch.run()
    assert len(postbox.letters) == 1  # it rests first
    with writing() as session:
        session.query(Alert).update({"mail_claimed_until": None})
    watch.run()
    assert postbox.subjects[1:] == ["Acme: List missing"]


def test_of_two_that_find_a_letter_due_one_sends_it(acme: Connection) -> None:
    with writing() as session:
        alerts.open_alert(session, acme, Incident.SILENT, "noon")
    (letter,) = alerts.letters("http://127.0.0.1", clock.now())
    assert alerts.claim(letter)
    assert not alerts.claim(letter)
    assert alerts.letters("http://127.0.0.1", clock.now()) == []
    alerts.mailed(letter)
    assert not alerts.claim(letter)
