"""Whom acceptance wakes: a lane stands in line once, however much is accepted, and nobody who could not be drained."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from tests.rows import Rows
from webapp import clock, queue
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.dialects import db_now
from webapp.models import Connection, Lane, LaneKind
from webapp.queue import WakeUp
from webapp.services import lanes


class Line:
    """A connection's events lane, and the wake-ups that were asked for."""

    def __init__(self, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connection: Connection = rows.connection(rows.workspace())
        self.woken: list[WakeUp] = []
        self.is_away = False
        monkeypatch.setattr(queue, "wake", self._wake)
        monkeypatch.setattr(queue, "is_away", lambda: False)

    def _wake(self, wanted: list[WakeUp]) -> bool:
        self.woken += [] if self.is_away else wanted
        return not self.is_away

    def accept(self) -> None:
        """Something more is owed."""
        with writing() as session:
            lanes.owe(session, {(self.connection.id, Kind.EVENT): 1})

    def lane(self) -> Lane:
        with reading() as session:
            mine = (Lane.connection_id == self.connection.id, Lane.kind == LaneKind.EVENTS)
            return session.scalars(select(Lane).where(*mine)).one()

    def set(self, **values: object) -> None:
        with writing() as session:
            session.execute(update(Lane).where(Lane.id == self.lane().id).values(**values))


@pytest.fixture
def line(any_app: Flask, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(rows, monkeypatch)


def test_a_backlog_makes_one_wake_up(line: Line) -> None:
    """Each further one would make every slice end early: somebody would always seem to wait."""
    for _ in range(3):
        line.accept()
    assert line.woken == [WakeUp(line.lane().id, slow=False, fence=0)]
    line.set(woken_at=None)  # as whoever drains it leaves it
    line.accept()
    assert line.woken == [WakeUp(line.lane().id, slow=False, fence=0)] * 2
    assert line.lane().made == 4


def test_a_wake_up_that_is_lost_keeps_nobody_asleep(line: Line) -> None:
    line.set(woken_at=db_now(-lanes.LONGEST_IN_LINE_SECONDS - 1))
    line.accept()
    assert len(line.woken) == 1


@pytest.mark.parametrize(
    "held", [{"stopped": True}, {"lease_until": timedelta(seconds=9)}, {"held_until": timedelta(seconds=9)}], ids=str
)
def test_who_could_not_be_drained_is_not_woken(line: Line, held: dict[str, bool | timedelta]) -> None:
    """Nor marked as woken, or the sweep that comes after would pass it."""
    line.set(**{name: clock.now() + value if isinstance(value, timedelta) else value for name, value in held.items()})
    line.accept()
    assert line.woken == []
    assert line.lane().woken_at is None


def test_where_redis_is_away_the_next_sweep_finds_it(line: Line) -> None:
    line.is_away = True
    line.accept()
    assert line.woken == []
    assert line.lane().woken_at is None, "or the sweep would take the wake-up to stand in line"
    assert line.lane().next_at is not None


def test_a_redis_that_was_away_just_now_is_not_asked_and_costs_no_writes(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "is_away", lambda: True)
    line.accept()
    assert line.woken == []
    assert line.lane().woken_at is None
