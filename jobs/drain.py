"""The job: one lane, for a time slice. The allow-listed name that wake-ups carry is `jobs.drain.drain`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobs import context
from jobs.claim import Claim, FenceLost, claim, doubt, let_go, release, start_of
from jobs.consents import lane as consents
from jobs.events import ahead
from jobs.events import lane as events
from jobs.fields import lane as fields
from jobs.run import Hold, Run, Stale
from jobs.tasks import lane as tasks
from webapp import log
from webapp.catalogue.words import Kind
from webapp.database import reading, run_writing
from webapp.dialects import db_now
from webapp.klaviyo.answers import Reached
from webapp.models import Lane, LaneKind
from webapp.services.connections import lifecycle
from webapp.services.oauth import grants

SLICE_SECONDS = 1.0
ALONE = 5  # so many times as long while nobody else waits for a worker
TASKS_SLICE_SECONDS = 0.25  # whoever waits is not asked for between two bites
STEPS: dict[LaneKind, Callable[[Run], bool]] = {
    LaneKind.EVENTS: events.step,
    LaneKind.FIELDS: fields.step,
    LaneKind.CONSENTS: consents.step,
}
# Of events their line says it, see `release`.
NEXT_DUE: dict[LaneKind, Callable[[Run], datetime | None]] = {
    LaneKind.FIELDS: fields.next_due_at,
    LaneKind.CONSENTS: consents.next_due_at,
}


def drain(lane_id: int, fence: int | None = None) -> None:
    """Drain a lane if it is free and due; otherwise the wake-up was stale and this returns at once.

    `fence`: the lane's when the wake-up was asked for. Of two in line for the same lane the later one is void: else
    each would see the other wait, and both would go on behind each other for as long as the backlog lasts.
    """
    with context.app().app_context():
        held = claim(lane_id, fence)
        if held is None:
            return
        try:
            if held.taken_over:
                doubt(held)
            _drain(held)
        except FenceLost:
            log.get("drain").info("fence lost", lane=lane_id)
        except DBAPIError as problem:
            log.get("drain").warning("database", lane=lane_id, kind=type(problem.orig).__name__)
            let_go(held)


def _drain(held: Claim) -> None:
    if held.kind is LaneKind.TASKS:
        again, next_at = tasks.work(held, time.monotonic() + TASKS_SLICE_SECONDS)
        release(held, again=again, due_at=next_at)
        return
    with reading() as session:
        start = start_of(session, held)
    asked = time.monotonic()
    try:
        grant = grants.usable(held.connection_id, known=start.grant)
    except grants.GrantUnavailable as problem:
        # Where nobody answers who is asked for a token, others must not wait behind it.
        _hold(held, Hold(seconds=problem.retry_seconds), slow=time.monotonic() - asked >= grants.WAIT_SECONDS)
        return
    except grants.GrantEnded as ended:
        _lose_grant(held, ended)
        return
    began = time.monotonic()
    run = Run(
        held,
        start.connection,
        grant,
        start.lane,
        ends_at=began + SLICE_SECONDS,
        alone_until=began + ALONE * SLICE_SECONDS,
        settings_version=start.settings_version,
        open_batches=start.open_batches,
    )
    try:
        more = _work(run)
    except Hold as hold:
        _hold(held, hold, run)
    except grants.GrantUnavailable as problem:
        _hold(held, Hold(seconds=problem.retry_seconds), run)
    except grants.GrantEnded as ended:
        run.flush()
        _lose_grant(held, ended)
    except (FenceLost, DBAPIError):
        raise
    except Exception:
        # A mistake of ours must not spin: the lane backs off, and the log has it.
        log.get("drain").exception("step failed", lane=held.lane_id, kind=held.kind)
        _hold(held, run.back_off(), run)
    else:
        _give_back(run, more=more)


def _give_back(run: Run, *, more: bool) -> None:
    if run.held.kind is LaneKind.EVENTS:
        release(run.held, again=more, kind=None if run.line_is_empty else Kind.EVENT)
    else:
        release(run.held, again=more, due_at=None if more else NEXT_DUE[run.held.kind](run))


def _lose_grant(held: Claim, ended: grants.GrantEnded) -> None:
    lifecycle.lose_grant(held.connection_id, ended.cause, ended.version)
    # Somebody has reconnected meanwhile: the lane is still ours, and goes on at once with what they granted.
    _hold(held, Hold())


def _work(run: Run) -> bool:
    """Step after step until nothing is left (False) or the slice is over (True); at least one step.

    What was begun to be prepared within the slice is sent as well, unless the worker was told to stop.
    """
    step = STEPS[run.held.kind]
    try:
        while step(run):
            if context.life.is_ending or (run.ahead is None and not run.may_go_on()):
                return True
    except Stale:
        run.flush()  # the next drain reads the settings as they are now
        return True
    except FenceLost:
        run.flush()  # a call may have been made beside the write that found it out
        raise
    finally:
        ahead.drop(run)
        run.catch_up()
    return False


def _hold(held: Claim, hold: Hold, run: Run | None = None, *, slow: bool = False) -> None:
    """Nobody sleeps holding a worker: write down when to go on, and leave. `slow`: whatever else the run says."""
    why = None if hold.limited else why_of(run)
    if run is not None:
        run.flush()

    def work(session: Session) -> None:
        until: datetime | db_now = hold.until if hold.until is not None else db_now(hold.seconds)
        statement = update(Lane).where(Lane.id == held.lane_id, Lane.fence == held.fence, Lane.owner == held.owner)
        values: dict[str, object] = {"held_until": until, "held_reason": "rate_limited" if hold.limited else "retrying"}
        if slow or (run is not None and run.timed_out):
            values["slow"] = True
        session.execute(
            statement.values(
                **values,
                held_detail=why,
                lease_until=None,
                owner=None,
                woken_at=None,
                failures=Lane.failures + (0 if hold.limited else 1),
            )
        )

    run_writing(work)


def why_of(run: Run | None) -> str | None:
    """What the last call that was not taken came to, for those who look at what waits."""
    answer = run.not_taken if run is not None else None
    if answer is None:
        return None
    if answer.status is not None:
        return f"answered {answer.status}"
    return "could not be reached" if answer.reached is Reached.NOT_SENT else "did not answer"
