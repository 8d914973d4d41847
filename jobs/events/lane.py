"""A step of the events lane: choose, look up, open the batch with its budget, send, record.

While the call of a full batch is under way the next one is prepared, see `jobs.events.ahead`, and the one before it is
written down.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobs import lookup, settle
from jobs.events import again, ahead, calls, choice, plan, shared_look_up
from jobs.events.ahead import Prepared
from jobs.events.event import Event, remembered
from jobs.lookup import Link
from jobs.run import Run
from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import SyncBehavior
from webapp.klaviyo import endpoints, payloads


def step(run: Run) -> bool:
    """Send the next call of the lane; whether there was anything to do."""
    run.line_is_empty = False
    prepared = ahead.take(run)
    if prepared is not None:
        _carry_out(run, prepared)
        return True  # of lower priorities nobody has looked
    run.catch_up()  # or what was just delivered would still seem to wait
    return again.go_on(run) if run.open_batches else _choose_and_send(run)


def _choose_and_send(run: Run) -> bool:
    items, more, is_all = choice.due_events(run, payloads.BULK_EVENTS)
    if not items:
        return False
    looked_up = "profiles:read" in run.grant.scopes
    creates = run.connection.sync_behavior is SyncBehavior.CREATE_PROFILE
    if "events:write" not in run.grant.scopes or not (creates or looked_up):
        calls.settle_without(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items})
        return True
    try:
        links = _known_first(run, items) if looked_up else {}
    except lookup.MayNotLook:
        calls.settle_without(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items})
        return True
    if links is None:
        return False  # due as it is: the next sweep finds the lane again
    planned = plan.plan(
        items, links, creates=creates, looked_up=looked_up, now=clock.now(), started_at=run.lane.started_at
    )
    goes_on = _carry_out(run, Prepared(more, links, planned))
    run.line_is_empty = is_all and not goes_on and len(planned.sendable) == len(items)
    return goes_on


def _known_first(run: Run, items: Sequence[Event]) -> dict[int, Link] | None:
    """The people's links; None where the fields lane is about to look them up."""
    people = {item.person_id: item.email for item in items if item.email}
    known = lookup.telling(run, remembered(items))
    if shared_look_up.is_coming(run, items, known):
        return None
    return lookup.links_of(run, people, known=known, columns=lookup.THERE)


def _carry_out(run: Run, prepared: Prepared) -> bool:
    """What needs no call is settled; the others go in one bulk call, or in a few single ones while few wait.

    Whether more may be due: where all that were are delivered, nobody need look once more.
    """
    if prepared.planned.settled:
        calls.settle_without(run, prepared.planned.settled)
    sendable = prepared.planned.sendable
    if len(sendable) > plan.SINGLES:
        return _send_bulk(run, prepared)
    delivered = [calls.begin(run, endpoints.EVENT, [item], prepared.links) for item in sendable]
    return prepared.more or not all(delivered)


def _send_bulk(run: Run, prepared: Prepared) -> bool:
    sendable = prepared.planned.sendable
    encoded = prepared.encoded or plan.fitting(sendable, run.settings_seen(), prepared.links)
    chosen = encoded.items
    more = prepared.more or len(chosen) < len(sendable)
    at_once = more and run.has_room(endpoints.EVENTS, 2)  # for this one and the next
    if at_once:
        ahead.start(run, chosen)
    batch = calls.open_batch(run, endpoints.EVENTS, chosen, prepared.links)
    if more and not at_once and run.has_room(endpoints.EVENTS, 1):
        ahead.start(run, chosen)
    delivered = calls.send_opened(run, batch, chosen, prepared.links, encoded)
    return more or not delivered
