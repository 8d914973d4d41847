"""Incidents: when there is one, that it is told once when it begins and once when it is over, by page and mail."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask

from jobs import watch
from tests.apps import dispose, make_app
from tests.rows import ALL_SCOPES, Rows
from webapp import clock
from webapp.catalogue.incidents import Incident
from webapp.database import reading, writing
from webapp.models import Alert, Connection, ConnectionStat, ConnectionState, LaneKind
from webapp.services import alerts, connection_banners, connection_search, health
from webapp.services.connection_facts import Facts, LaneFacts

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def at(hours_ago: float) -> datetime:
    return NOW - timedelta(hours=hours_ago)


def test_failing_takes_a_day_of_nothing_but_failures() -> None:
    failed = {at(hour): 1 for hour in range(25)}
    assert watch.is_failing(watch.Hours({}, failed), NOW) == "25 in 24 hours"
    assert watch.is_failing(watch.Hours({at(3): 1}, failed), NOW) is None
    assert watch.is_failing(watch.Hours({}, {at(hour): 1 for hour in range(10)}), NOW) is None
    assert watch.is_failing(watch.Hours({}, {at(hour): 9 for hour in range(10)}), NOW) is None


def test_silence_is_three_times_the_usual_gap_while_something_was_to_deliver() -> None:
    hourly = {at(hour): 5 for hour in range(10, 200)}
    assert watch.silent_since(watch.Hours(hourly), 3, at(10), NOW) == at(10)
    assert watch.silent_since(watch.Hours(hourly), 0, at(10), NOW) is None
    daily = {at(24 * day): 5 for day in range(1, 20)}
    assert watch.silent_since(watch.Hours(daily), 3, at(24), NOW) is None
    assert watch.silent_since(watch.Hours({at(90): 1}), 3, at(90), NOW) is None


def facts(**values: object) -> Facts:
    plain: dict[str, object] = dict.fromkeys(Facts._fields)
    return Facts(**{**plain, "state": ConnectionState.ACTIVE, "scopes": ALL_SCOPES, **values})  # type: ignore[arg-type]


def test_the_words() -> None:
    lane = LaneFacts(LaneKind.EVENTS, 5, NOW + timedelta(seconds=90), "retrying", 1)
    assert health.of(facts(), [lane], {}, NOW).why == "Klaviyo did not take it; next try 12:01:30 UTC"
    slowed = LaneFacts(LaneKind.EVENTS, 5, NOW + timedelta(seconds=42), "rate_limited", 0)
    assert health.of(facts(), [slowed], {}, NOW).why == "its limit is used up until 12:00:42 UTC"
    assert health.of(facts(), [lane], {Incident.FAILING: "25 in 24 hours"}, NOW).word == "Failing"
    assert health.of(facts(), [], {Incident.SILENT: "yesterday"}, NOW).word == "Silent"
    without = " ".join(scope for scope in ALL_SCOPES.split() if scope != "subscriptions:write")
    assert health.of(facts(scopes=without), [], {}, NOW).why == "off: newsletter"
    lost = facts(state=ConnectionState.NEEDS_REAUTHORIZATION, state_cause="It was removed", state_at=at(3))
    assert health.of(lost, [], {}, NOW).why == "It was removed, for 3 h"
    assert health.of(facts(paused_at=NOW, paused_by=7), [], {}, NOW).why == "by a person"
    assert health.of(facts(), [], {}, NOW).word == "Delivering"


class Postbox(socketserver.BaseRequestHandler):
    """The least an SMTP server says."""

    letters: list[str]

    def handle(self) -> None:
        connection: socket.socket = self.request
        stream = connection.makefile("rwb")

        def say(line: str) -> None:
            stream.write(line.encode() + b"\r\n")
            stream.flush()

        say("220 ready")
        text: list[str] | None = None
        for raw in stream:
            line = raw.decode().rstrip("\r\n")
            if text is not None:
                if line == ".":
                    self.letters.append("\n".join(text))
                    text = None
                    say("250 taken")
                else:
                    text.append(line)
            elif line.upper() == "DATA":
                text = []
                say("354 go on")
            elif line.upper() == "QUIT":
                say("221 bye")
                return
            else:
                say("250 fine")


@pytest.fixture
def postbox() -> Iterator[tuple[int, list[str]]]:
    letters: list[str] = []
    handler = type("Handler", (Postbox,), {"letters": letters})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], letters
        server.shutdown()


@pytest.fixture
def mailing_app(tmp_path: Path, postbox: tuple[int, list[str]]) -> Iterator[Flask]:
    environ = {"MAIL_URL": f"smtp://127.0.0.1:{postbox[0]}", "MAIL_FROM": "klaviyo@cevoid.test"}
    made = make_app("sqlite", tmp_path, **environ)
    with made.app_context():
        yield made
    dispose(made)


def failing_hours(connection: Connection) -> None:
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    with writing() as session:
        for ago in range(25):
            session.add(
                ConnectionStat(
                    connection_id=connection.id,
                    workspace_id=connection.workspace_id,
                    kind="event",
                    hour=hour - timedelta(hours=ago),
                    failed=2,
                )
            )


def test_failing_is_told_once_then_paused_then_told_to_be_over(
    mailing_app: Flask, postbox: tuple[int, list[str]]
) -> None:
    rows, letters = Rows(), postbox[1]
    workspace = rows.workspace("acme")
    rows.user(workspace, email="owner@example.com")
    connection = rows.connection(workspace)
    failing_hours(connection)
    watch.run()
    watch.run()
    assert len(letters) == 1
    assert "Subject: Acme: Failing" in letters[0]
    assert "To: owner@example.com" in letters[0]
    assert "/w/acme/settings/integrations/klaviyo" in letters[0]
    with mailing_app.test_request_context():
        banners = connection_banners.of(workspace.id, connection_search.counts(workspace.id))
    assert banners.open[0][2].startswith("Klaviyo has refused everything sent to Acme")
    with writing() as session:
        alert = session.query(Alert).one()
        alert.opened_at -= timedelta(hours=25)
    watch.run()
    with reading() as session:
        found = session.get_one(Connection, connection.id)
        assert (found.is_paused, found.paused_cause) == (True, "paused_failing")
        assert {cause for row in alerts.open_causes(session).values() for cause in row} == {"paused_failing"}
    watch.run()
    assert [line for text in letters for line in text.splitlines() if line.startswith("Subject:")] == [
        "Subject: Acme: Failing",
        "Subject: Acme: Paused by us",
    ]


def test_a_postbox_that_is_away_is_tried_again(mailing_app: Flask, postbox: tuple[int, list[str]]) -> None:
    rows, letters = Rows(), postbox[1]
    workspace = rows.workspace("acme")
    rows.user(workspace)
    connection = rows.connection(workspace)
    with writing() as session:
        alerts.open_alert(session, connection, Incident.LIST_MISSING)
        found = session.get_one(Connection, connection.id)
        found.list_id, found.list_missing_at = "L1", clock.now()
    values = mailing_app.extensions["cevoid.settings"]
    from dataclasses import replace

    mailing_app.extensions["cevoid.settings"] = replace(values, mail_url="smtp://127.0.0.1:1")
    watch.run()
    assert letters == []
    mailing_app.extensions["cevoid.settings"] = values
    watch.run()
    assert len(letters) == 1
