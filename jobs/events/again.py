"""A batch of unknown outcome is sent again as it was, its events with the same `unique_id`s.

Unknown twice in a row it goes on in halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import batches, lookup, settle
from jobs.events import calls, plan
from jobs.events.event import Event, by_id
from jobs.fields import converge
from jobs.lookup import Link
from jobs.run import Run
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import reading
from webapp.dialects import among
from webapp.klaviyo import endpoints
from webapp.models import Batch, BatchOutcome, Delivery
from webapp.services import lanes

# How long a call that nobody heard the end of may still change fields in Klaviyo: it may lie in our kernel and in
# Klaviyo's queues, and an accepted event's fields take effect within five minutes.
UNKNOWN_SETTLES_IN = timedelta(minutes=6)


def go_on(run: Run) -> bool:
    """A batch of unknown outcome first: the same deliveries, none added; erased and settled ones are out."""
    batch = _first_open(run)
    items = [item for item in by_id(batches.members(batch)) if item.email is not None]
    items, links = _still_there(run, items)
    if not items:
        run.write(lambda session: batches.close(session, run, batch, BatchOutcome.ACCEPTED))
        return True
    singly = batch.endpoint == endpoints.EVENT.name
    chosen = items[:1] if singly else items
    endpoint = endpoints.EVENT if singly else endpoints.EVENTS

    def work(session: Session) -> None:
        if batch.unknown_times:
            # The fields lane, which writes them once more, may be asleep. Its row is locked before people's links.
            lanes.owe(session, {(run.held.connection_id, Kind.FIELDS): 0})
        calls.check_creations(session, run, chosen, links)
        run.reserve(session, endpoint)
        if batch.unknown_times:
            # An earlier sending of these may still set older fields in Klaviyo.
            converge.unsettle(session, run, {item.person_id for item in items}, UNKNOWN_SETTLES_IN)

    run.write(work)
    run.settings_version = run.workspace_settings().version
    calls.call(run, chosen, links, batch, rest=items[1:] if singly else [])
    return True


def _first_open(run: Run) -> Batch:
    """The open batch whose events come first: one that was split twice has earlier ones in a later row."""
    with reading() as session:
        found = batches.open_ones(session, run)
        if len(found) == 1:
            return found[0]
        heads = {batches.members(batch)[0]: batch for batch in found}
        order = select(Delivery.id).where(among(session, Delivery.id, heads)).order_by(Delivery.priority, Delivery.id)
        first = session.scalars(order.limit(1)).one_or_none()
        return found[0] if first is None else heads[first]


def _still_there(run: Run, items: list[Event]) -> tuple[list[Event], dict[int, Link]]:
    """Whoever was deleted in Klaviyo since the first sending would be created by a second one: they are out."""
    creates = run.connection.sync_behavior is SyncBehavior.CREATE_PROFILE
    try:
        links = _links(run, items) if "profiles:read" in run.grant.scopes else {}
        reason = Reason.NOT_IN_KLAVIYO if links else Reason.SCOPE_MISSING
    except lookup.MayNotLook:
        links, reason = {}, Reason.SCOPE_MISSING
    out = [item for item in items if plan.may_not_be_sent(item, links.get(item.person_id), creates=creates)]
    if out:
        calls.settle_without(run, {item.id: settle.skipped(reason) for item in out})
    gone = {item.id for item in out}
    return [item for item in items if item.id not in gone], links


def _links(run: Run, items: Sequence[Event]) -> dict[int, Link]:
    people = {item.person_id: item.email for item in items if item.email}
    return lookup.links_of(
        run, people, known=lookup.telling(run, lookup.known_links(run, people)), columns=lookup.THERE
    )
