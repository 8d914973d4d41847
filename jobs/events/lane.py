"""A step of the events lane: choose, look up, open the batch with its budget, send, record.

A batch of unknown outcome is sent again as it was, its events with the same `unique_id`s; unknown twice in a row it
goes on in halves. Where Klaviyo refuses a bulk call for a `unique_id` it has seen, the batch goes one by one through
the single call, where the first wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs import batches, choose, lookup, settle
from jobs.choose import Item
from jobs.events import plan, shared_look_up
from jobs.lookup import Link
from jobs.outcomes import Outcome, outcome
from jobs.run import Run
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import among, db_now, reading
from webapp.klaviyo import endpoints, payloads
from webapp.klaviyo.answers import Answer, ApiError
from webapp.klaviyo.client import Call
from webapp.klaviyo.endpoints import Endpoint
from webapp.models import Batch, BatchOutcome, Delivery, ProfileLink
from webapp.services.workspaces import snapshot
from webapp.services.workspaces.snapshot import WorkspaceSettings

# How long a call that nobody heard the end of may still change fields in Klaviyo: it may lie in our kernel and in
# Klaviyo's queues, and an accepted event's fields take effect within five minutes.
UNKNOWN_SETTLES_IN = timedelta(minutes=6)


def step(run: Run) -> bool:
    """Send the next call of the lane; whether there was anything to do."""
    if run.lane.unknown_batch_id is not None:
        return _go_on(run)
    items = choose.due(run, Kind.EVENT, payloads.BULK_EVENTS)
    if not items:
        return False
    looked_up = "profiles:read" in run.grant.scopes
    creates = run.connection.sync_behavior is SyncBehavior.CREATE_PROFILE
    if "events:write" not in run.grant.scopes or not (creates or looked_up):
        _settle(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items})
        return True
    try:
        links = _known_first(run, items) if looked_up else {}
    except lookup.MayNotLook:
        _settle(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items})
        return True
    if links is None:
        return False  # due as it is: the next sweep finds the lane again
    planned = plan.plan(
        items, links, creates=creates, looked_up=looked_up, now=clock.now(), started_at=run.lane.started_at
    )
    if planned.settled:
        _settle(run, planned.settled)
    if planned.sendable:
        _send(run, planned.sendable, links)
    return True


def _known_first(run: Run, items: Sequence[Item]) -> dict[int, Link] | None:
    """The people's links; None where the fields lane is about to look them up."""
    people = {item.person_id: item.email for item in items if item.email}
    known = lookup.known_links(run, people, lookup.THERE)
    if shared_look_up.is_coming(run, items, known):
        return None
    return lookup.links_of(run, people, known=known, columns=lookup.THERE)


def _links(run: Run, items: Sequence[Item]) -> dict[int, Link]:
    people = {item.person_id: item.email for item in items if item.email}
    return lookup.links_of(run, people, columns=lookup.THERE)


def _settings(run: Run) -> WorkspaceSettings:
    with reading() as session:
        return snapshot.load(session, run.held.workspace_id)


def _send(run: Run, items: list[Item], links: dict[int, Link]) -> None:
    """One bulk call, or a few single ones while few wait."""
    if len(items) > plan.SINGLES:
        _begin(run, endpoints.EVENTS, plan.fitting(items, _settings(run)), links)
        return
    for item in items:
        _begin(run, endpoints.EVENT, [item], links)


def _begin(run: Run, endpoint: Endpoint, items: Sequence[Item], links: dict[int, Link]) -> None:
    """A batch of these, sent. Their people's fields are read once more now that it is open.

    A newer write of the fields lane either saw it open, and comes once more later, or is in what is read here.
    """
    batch = _open(run, endpoint, items, links)
    known = choose.as_known_now(items)
    if known:
        _call(run, known, links, batch)
    else:
        run.write(lambda session: batches.close(session, run, batch, BatchOutcome.REJECTED))


def _open(run: Run, endpoint: Endpoint, items: Sequence[Item], links: Mapping[int, Link]) -> Batch:
    """The batch row and its budget in one commit, before the call: from here on its outcome is unknown."""

    def work(session: Session) -> Batch:
        _check_creations(session, run, items, links)
        run.reserve(session, endpoint)
        return batches.open_batch(session, run, endpoint, [item.id for item in items], size=len(items))

    return run.write(work)


def _check_creations(session: Session, run: Run, items: Sequence[Item], links: Mapping[int, Link]) -> None:
    """Events of missing people create them: only where that is still wanted, and they are ours then. Raises Stale."""
    missing = {item.person_id: links.get(item.person_id) for item in items}
    missing = {person_id: link for person_id, link in missing.items() if link is None or not link.found}
    if missing:
        run.check_creates(session)
        looked_up = {person_id: link for person_id, link in missing.items() if link is not None}
        lookup.note_creating(session, run, looked_up)


def _go_on(run: Run) -> bool:
    """A batch of unknown outcome first: the same deliveries, none added; erased and settled ones are out."""
    batch = _first_open(run)
    items = [item for item in choose.by_id(run, Kind.EVENT, batches.members(batch)) if item.email is not None]
    items, links = _still_there(run, items)
    if not items:
        run.write(lambda session: batches.close(session, run, batch, BatchOutcome.ACCEPTED))
        return True
    singly = batch.endpoint == endpoints.EVENT.name
    chosen = items[:1] if singly else items
    endpoint = endpoints.EVENT if singly else endpoints.EVENTS

    def work(session: Session) -> None:
        _check_creations(session, run, chosen, links)
        run.reserve(session, endpoint)
        if batch.unknown_times:
            _unsettle(session, run, items)

    run.write(work)
    _call(run, chosen, links, batch, rest=items[1:] if singly else [])
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


def _still_there(run: Run, items: list[Item]) -> tuple[list[Item], dict[int, Link]]:
    """Whoever was deleted in Klaviyo since the first sending would be created by a second one: they are out."""
    creates = run.connection.sync_behavior is SyncBehavior.CREATE_PROFILE
    try:
        links = _links(run, items) if "profiles:read" in run.grant.scopes else {}
        reason = Reason.NOT_IN_KLAVIYO if links else Reason.SCOPE_MISSING
    except lookup.MayNotLook:
        links, reason = {}, Reason.SCOPE_MISSING
    out = [item for item in items if plan.may_not_be_sent(item, links.get(item.person_id), creates=creates)]
    if out:
        _settle(run, {item.id: settle.skipped(reason) for item in out})
    gone = {item.id for item in out}
    return [item for item in items if item.id not in gone], links


def _unsettle(session: Session, run: Run, items: Sequence[Item]) -> None:
    """An earlier sending of these may still set older fields in Klaviyo: they are written once more after that."""
    statement = update(ProfileLink).where(
        ProfileLink.connection_id == run.held.connection_id,
        among(session, ProfileLink.person_id, {item.person_id for item in items}),
    )
    until = db_now(UNKNOWN_SETTLES_IN.total_seconds())
    session.execute(statement.values(rewrite=True, unsettled_until=until))


def _call(run: Run, items: list[Item], links: dict[int, Link], batch: Batch, *, rest: Sequence[Item] = ()) -> None:
    """Send a reserved batch and record what came of it. `rest`: what goes on one by one after it."""
    answer = run.send(_body(run, batch, items, links), size=len(items), batch=batch)
    match outcome(answer):
        case Outcome.DONE:
            _record(run, batch, {item.id: settle.DELIVERED for item in items}, rest, failures=0)
            run.lane.failures = 0
        case Outcome.AGAIN:
            raise run.hold_after([answer])
        case Outcome.UNKNOWN:
            _unknown(run, batch, items, rest)
        case Outcome.SCOPE_MISSING:
            _record(run, batch, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items}, rest)
        case _ if batch.endpoint == endpoints.EVENTS.name and any(map(plan.is_repeated, answer.errors)):
            _one_by_one(run, batch)
        case _ if len(items) == 1:
            _record(run, batch, {items[0].id: _refusal(run, items[0], links, answer)}, rest)
        case _:
            _refused_whole(run, batch, items, links, answer)


def _body(run: Run, batch: Batch, items: Sequence[Item], links: dict[int, Link]) -> Call:
    settings = _settings(run)
    writes = [plan.write_of(settings, item, links.get(item.person_id)) for item in items]
    return payloads.event(writes[0]) if batch.endpoint == endpoints.EVENT.name else payloads.events(writes)


def _record(
    run: Run, batch: Batch, results: dict[int, Result], rest: Sequence[Item] = (), **lane_values: object
) -> None:
    """Statuses, counters, attempts and the batch's end in one transaction."""

    def work(session: Session) -> None:
        settle.settle(session, run.connection, Kind.EVENT, results, attempts=1, batch_id=batch.id)
        if rest:
            batches.shrink(session, batch, [item.id for item in rest], size=len(rest))
        else:
            batches.close(session, run, batch, BatchOutcome.ACCEPTED)

    run.write(work, **lane_values)


def _unknown(run: Run, batch: Batch, items: Sequence[Item], rest: Sequence[Item]) -> None:
    """It may have arrived. Unknown twice in a row: from now on in halves, each a batch of its own."""

    def work(session: Session) -> None:
        times = batches.unknown_again(session, batch)
        if times >= 2 and len(items) > 1 and not rest:
            half = len(items) // 2
            batches.shrink(session, batch, [item.id for item in items[:half]], size=half)
            other = batches.open_batch(
                session, run, endpoints.EVENTS, [item.id for item in items[half:]], size=len(items) - half
            )
            batches.unknown_again(session, other)

    run.write(work)
    raise run.back_off()


def _refused_whole(run: Run, batch: Batch, items: list[Item], links: dict[int, Link], answer: Answer) -> None:
    """A bulk call is refused whole for one bad item: named ones are taken out, else it goes on in halves."""
    named = {e.item: e for e in answer.errors if e.item is not None and e.item < len(items)}
    if named:
        results = {items[index].id: _named(run, items[index], links, error) for index, error in named.items()}
        left = [item for index, item in enumerate(items) if index not in named]
        _record(run, batch, results, left)
        return
    # Halves are sent as batches of their own: what they do not reach waits and is planned again.
    run.write(lambda session: batches.close(session, run, batch, BatchOutcome.REJECTED))
    half = max(1, len(items) // 2)
    for part in (items[:half], items[half:]):
        _begin(run, endpoints.EVENTS if len(part) > 1 else endpoints.EVENT, part, links)
        if run.lane.unknown_batch_id is not None:
            return  # some of it goes again first: the other half may hold later events of the same people


def _one_by_one(run: Run, batch: Batch) -> None:
    """Klaviyo has one of them: the single call drops it silently, and takes the others."""

    def work(session: Session) -> None:
        session.execute(update(Batch).where(Batch.id == batch.id).values(endpoint=endpoints.EVENT.name))

    run.write(work)


def _named(run: Run, item: Item, links: dict[int, Link], error: ApiError) -> Result:
    if error.pointer.endswith("/profile/data/id"):
        return _gone(run, item, links, error.detail)
    return settle.failed(Reason.REJECTED, error.detail)


def _refusal(run: Run, item: Item, links: dict[int, Link], answer: Answer) -> Result:
    """What a refusal of one event means."""
    gone = any(error.pointer.endswith("/profile/data/id") for error in answer.errors)
    if gone or outcome(answer) is Outcome.GONE:
        return _gone(run, item, links, answer.sentence)
    too_large = outcome(answer) is Outcome.TOO_LARGE
    return settle.failed(Reason.PAYLOAD_TOO_LARGE if too_large else Reason.REJECTED, answer.sentence)


def _gone(run: Run, item: Item, links: dict[int, Link], sentence: str) -> Result:
    """A remembered id that is gone is looked up again, once."""
    if lookup.was_asked_again(run, links.get(item.person_id), item.attempts):
        return settle.skipped(Reason.NOT_IN_KLAVIYO)
    run.write(lambda session: lookup.forget(session, run, [item.person_id]))
    return settle.waiting(Reason.RETRYING, clock.now(), sentence)


def _settle(run: Run, results: dict[int, Result]) -> None:
    run.write(lambda session: settle.settle(session, run.connection, Kind.EVENT, results))
