"""The chart of 24 hours: every hour in its place, what is over remembered, what is fresh read anew. Both databases."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from flask import Flask

from tests.rows import Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.extensions import db
from webapp.models import Connection, ConnectionStat
from webapp.services.connections import charts

NOON = datetime.fromisoformat("2026-11-24T12:30:00+00:00")


@pytest.fixture
def connection(any_app: Flask, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setattr(clock, "now", lambda: NOON)
    return rows.connection(rows.workspace())


def count(connection: Connection, ago: int, kind: Kind = Kind.EVENT, **counts: int) -> None:
    """Add to an hour's counters. What was read before is forgotten: a page is a session of its own."""
    hour = NOON.replace(minute=0) - timedelta(hours=ago)
    with writing() as session:
        session.merge(
            ConnectionStat(
                connection_id=connection.id, kind=kind, hour=hour, workspace_id=connection.workspace_id, **counts
            )
        )
    db.session.rollback()


def chart(connection: Connection) -> charts.Chart:
    return charts.of([connection.id])[connection.id][0]


def test_hours_stand_in_their_places_failures_on_top(connection: Connection) -> None:
    count(connection, 0, delivered=6, skipped=2, failed=2)
    count(connection, 0, Kind.FIELDS, delivered=2)
    count(connection, 23, delivered=5)
    count(connection, 24, delivered=1000)
    drawn = chart(connection)
    assert (drawn.delivered, drawn.skipped, drawn.failed) == (13, 2, 2)
    assert drawn.path == "M0 13h4v13h-4zM103.5 0h4v26h-4z"
    assert drawn.failed_path == "M103.5 0h4v5h-4z"


def test_nothing_yet_is_an_empty_chart(connection: Connection) -> None:
    assert chart(connection) == charts.Chart("", "", 0, 0, 0)


def test_fresh_hours_are_read_every_time_and_older_ones_once_an_hour(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(connection, 5, delivered=10)
    assert chart(connection).delivered == 10
    count(connection, 0, delivered=1)
    count(connection, 1, delivered=2)
    assert chart(connection).delivered == 13
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(hours=1))
    assert chart(connection).delivered == 13
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(hours=19))
    assert chart(connection).delivered == 3


def test_a_resend_that_takes_back_more_than_there_was_shows_nothing_below_zero(connection: Connection) -> None:
    count(connection, 0, failed=-3, delivered=4)
    assert (chart(connection).failed, chart(connection).delivered) == (0, 4)


def test_how_many_are_done_an_hour(connection: Connection) -> None:
    count(connection, 1, delivered=1000)
    assert charts.of([connection.id])[connection.id][1] == pytest.approx(500)
    count(connection, 0, delivered=3000, failed=0)
    # This hour, half over, does more than the sliding hour: 6,000 an hour.
    assert charts.of([connection.id])[connection.id][1] == pytest.approx(6000)
