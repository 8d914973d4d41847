"""Finds lanes with due work and wakes them: `python -m jobs.sweeper`. Any number of them, no leader.

Four times a second one reading statement; it writes only when there is a lane to wake. Once a minute, in a thread of
its own, housekeeping: a mail server that hangs holds up no delivery.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

from flask import Flask
from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobs import context, housekeeping
from webapp import log, queue
from webapp.database import reading, run_writing
from webapp.dialects import db_now
from webapp.models import Lane
from webapp.queue import WakeUp
from webapp.services import lanes
from webapp.settings import WrongSetting

EVERY_SECONDS = 0.25
WOKEN_AGAIN_SECONDS = 3
HOUSEKEEPING_SECONDS = 60.0
STOP_SECONDS = 2.0
LANES = 2000


def due() -> list[int]:
    """Lanes with something to do that nobody holds, nothing holds back and whose wake-up does not stand in line."""
    statement = select(Lane.id).where(_is_due(), or_(Lane.woken_at.is_(None), _lost()))
    with reading() as session:
        return list(session.scalars(statement.order_by(Lane.next_at).limit(LANES)))


def _is_due() -> ColumnElement[bool]:
    return and_(
        Lane.next_at <= db_now(),
        Lane.stopped.is_(False),
        or_(Lane.held_until.is_(None), Lane.held_until <= db_now()),
        or_(Lane.lease_until.is_(None), Lane.lease_until < db_now()),
    )


def _lost() -> ColumnElement[bool]:
    """The wake-up is gone: younger ones come first by now, or none do.

    A line of a thousand lanes takes a worker half a minute: waking them all again meanwhile would double it. Those of
    one sweep are marked before the first of them stands in line, so the head must be younger by as long as that takes.
    """
    margin = timedelta(seconds=WOKEN_AGAIN_SECONDS)
    passed = []
    for slow in (False, True):
        head, lane = queue.head_of_line(slow=slow), Lane.slow.is_(slow)
        passed.append(lane if head is None else and_(lane, Lane.woken_at < head - margin))
    return and_(
        Lane.woken_at < db_now(-WOKEN_AGAIN_SECONDS),
        or_(*passed, Lane.woken_at < db_now(-lanes.LONGEST_IN_LINE_SECONDS)),
    )


def sweep() -> int:
    """Wake what is due; how many lanes."""
    ids = due()
    if not ids:
        return 0

    def mark(session: Session) -> list[WakeUp]:
        statement = (
            update(Lane)
            .where(
                Lane.id.in_(ids),
                _is_due(),  # no more, where somebody came in between: the mark would let news wait for a lost wake-up
                or_(Lane.woken_at.is_(None), Lane.woken_at < db_now(-WOKEN_AGAIN_SECONDS)),
            )
            .values(woken_at=db_now())
            .returning(Lane.id, Lane.slow, Lane.fence)
        )
        return [WakeUp(*row) for row in session.execute(statement)]

    woken = run_writing(mark)
    lanes.wake_marked(woken)
    return len(woken)


def run(app: Flask, stop: threading.Event) -> None:
    """Sweep until told to stop; the database or Redis being away is waited out."""
    keeper = threading.Thread(target=_keep_house, args=(app, stop), name="housekeeping", daemon=True)
    keeper.start()
    with app.app_context():
        while not stop.wait(EVERY_SECONDS):
            _waiting_out(sweep, stop)
    keeper.join(STOP_SECONDS)


def _keep_house(app: Flask, stop: threading.Event) -> None:
    with app.app_context():
        while not stop.is_set():
            try:
                _waiting_out(housekeeping.run, stop)
            except Exception:
                # A mistake of ours in one round must not be the end of all of them.
                log.get("sweeper").exception("housekeeping failed")
            stop.wait(HOUSEKEEPING_SECONDS)


def _waiting_out(work: Callable[[], object], stop: threading.Event) -> None:
    try:
        work()
    except DBAPIError as problem:
        log.get("sweeper").warning("database", kind=type(problem.orig).__name__)
        stop.wait(1)


def main() -> None:
    """Until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        app = context.app()
    except WrongSetting as problem:
        sys.exit(str(problem))
    run(app, stop)


if __name__ == "__main__":
    if len(sys.argv) != 1:
        sys.exit("It takes nothing more: python -m jobs.sweeper")
    main()
