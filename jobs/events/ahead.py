"""The next batch, read, planned and encoded while the call of the present one is under way.

Only behind a full bulk batch of live events, and only where everybody is remembered: whatever needs a look-up is left
to the step itself. It is chosen as if the present batch were delivered, so that any other outcome drops it. What
changes before it is sent is found out when it is opened: fields, erasures and what others settled by
`choice.as_known_now`, settings by their version.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache

from flask import Flask

from jobs import context, lookup
from jobs.events import choice, plan
from jobs.events.event import Event, remembered
from jobs.events.plan import Encoded, Planned
from jobs.lookup import Link
from jobs.run import Run
from webapp import clock
from webapp.catalogue.words import SyncBehavior
from webapp.klaviyo import payloads
from webapp.models.delivery import PRIORITY_LIVE


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a step goes by: whether `more` may be due than was chosen, people's links, and what is to be done."""

    more: bool
    links: dict[int, Link]
    planned: Planned
    encoded: Encoded | None = None


def start(run: Run, behind: Sequence[Event]) -> None:
    """Begin to prepare what comes behind these, if the drain is to go on for so long."""
    if run.may_go_on() and behind[-1].priority == PRIORITY_LIVE and "profiles:read" in run.grant.scopes:
        delivered = run.taken.delivery_ids if run.taken is not None else frozenset()
        run.ahead = _thread().submit(_prepare, context.app(), run, behind, delivered)


def take(run: Run) -> Prepared | None:
    """What was prepared, once. None: nothing was, or nothing that could be. Raises what its reading raised."""
    found, run.ahead = run.ahead, None
    return None if found is None else found.result()


def drop(run: Run) -> None:
    """What was prepared does not hold any more. Nothing of it is under way when this returns."""
    found, run.ahead = run.ahead, None
    if found is not None and not found.cancel():
        wait([found])


def _prepare(app: Flask, run: Run, behind: Sequence[Event], delivered: frozenset[int]) -> Prepared | None:
    with app.app_context():
        items, more, _ = choice.due_events_behind(run, payloads.BULK_EVENTS, behind, delivered)
        people = {item.person_id for item in items if item.email}
        links = lookup.telling(run, remembered(items))
        now = clock.now()
        if not items or not all(lookup.is_believed(links.get(person_id), now) for person_id in people):
            return None
        creates = run.connection.sync_behavior is SyncBehavior.CREATE_PROFILE
        planned = plan.plan(items, links, creates=creates, looked_up=True, now=now, started_at=run.lane.started_at)
        return Prepared(more, links, planned, plan.fitting(planned.sendable, run.settings_seen(), links))


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="ahead")
