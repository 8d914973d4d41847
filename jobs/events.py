"""The events lane: single calls while few wait (fresh, exact, idempotent), bulk calls as soon as many do.

A batch is written before its call. One of unknown outcome is sent again as it was, its events with the same
`unique_id`s; unknown again, or refused as a whole, it goes one by one through the single call, where the first wins.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from jobs import choose, lookup, settle
from jobs.choose import Item
from jobs.run import Run, finish, is_unknown
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.events import EVENTS
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import Kind, Origin, SyncBehavior
from webapp.database import reading
from webapp.klaviyo import endpoints, payloads
from webapp.klaviyo.answers import Answer, Reached
from webapp.klaviyo.payloads import EventWrite, ProfileWrite
from webapp.models import Batch, BatchOutcome, Delivery, Lane, ProfileLink
from webapp.services import people, workspace_settings
from webapp.services.activities import unique_id
from webapp.services.workspace_settings import WorkspaceSettings

# Up to here single calls: each is its own answer, and 58 a second are allowed for good.
SINGLES = 5
CREATION_WAIT = timedelta(seconds=60)
CREATION_LOOK = timedelta(seconds=2)


def step(run: Run) -> bool:
    """Send the next call of the lane; whether there was anything to do."""
    if run.lane.unknown_batch_id is not None:
        return _go_on(run, run.lane.unknown_batch_id)
    items = choose.due(run, Kind.EVENT, payloads.BULK_EVENTS)
    if not items:
        return False
    if "events:write" not in run.grant.scopes or not _may_look_up(run):
        _settle(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items})
        return True
    with reading() as session:
        settings = workspace_settings.load(session, run.held.workspace_id)
    links = lookup.links_of(run, {item.person_id: item.email for item in items if item.email})
    early, sendable = _sort(run, items, links)
    if early:
        _settle(run, early)
    if sendable:
        single = len(sendable) <= SINGLES
        chosen = _fit(settings, sendable[:1] if single else sendable, links)
        endpoint = endpoints.EVENT if single else endpoints.EVENTS
        _send(run, settings, chosen, links, _open(run, chosen, endpoint.name))
    return True


def _may_look_up(run: Run) -> bool:
    creates = run.connection.sync_behavior is SyncBehavior.CREATE_PROFILE
    return creates or "profiles:read" in run.grant.scopes


def _sort(run: Run, items: list[Item], links: dict[int, ProfileLink]) -> tuple[dict[int, Result], list[Item]]:
    """What is settled without a call, and what is to be sent, a person's events in order."""
    now = clock.now()
    early: dict[int, Result] = {}
    sendable: list[Item] = []
    for item in items:
        link = links.get(item.person_id)
        if item.email is None:
            early[item.id] = settle.skipped(Reason.ERASED)
        elif item.expires_at <= now:
            early[item.id] = settle.failed(Reason.EXPIRED)
        elif link is not None and link.found:
            sendable.append(item)
        elif not _creates(run, item):
            early[item.id] = settle.skipped(Reason.NOT_IN_KLAVIYO)
        elif now - item.created_at < CREATION_WAIT:
            early[item.id] = settle.waiting(Reason.BACKLOG, now + CREATION_LOOK)
        else:
            sendable.append(item)
    return early, sendable


def _creates(run: Run, item: Item) -> bool:
    """A test event never creates anybody."""
    creates = run.connection.sync_behavior is SyncBehavior.CREATE_PROFILE
    return creates and item.origin is not Origin.TEST


def _fit(settings: WorkspaceSettings, items: list[Item], links: dict[int, ProfileLink]) -> list[Item]:
    """As many as fit one body, with room to spare."""
    size = 0
    fitting: list[Item] = []
    for item in items:
        size += len(item.properties or "") * 2 + len(item.fields_text) + 600
        if fitting and size > payloads.BODY_BYTES:
            break
        fitting.append(item)
    return fitting


def write_of(settings: WorkspaceSettings, item: Item, link: ProfileLink | None) -> EventWrite:
    """One event as Klaviyo gets it, with the person's shared fields as known now."""
    event = EVENTS[item.event or ""]
    known_id = link.klaviyo_id if link is not None and link.found else None
    shared = people.shared_changes(item.fields, 0, settings.fields, settings.fields_on)
    return EventWrite(
        metric=event.metric,
        unique_id=unique_id(settings.workspace_id, item.external_id),
        time=item.occurred_at,
        properties=item.properties or "{}",
        profile=ProfileWrite(id=known_id, email=item.email, properties=shared),
        backfill=item.origin is not Origin.PLATFORM,
    )


def _open(run: Run, items: list[Item], endpoint: str) -> Batch:
    """The batch row, committed before the call: from here on its outcome is unknown until it is recorded."""

    def work(session: Session) -> Batch:
        values = {
            "lane_id": run.held.lane_id,
            "connection_id": run.held.connection_id,
            "endpoint": endpoint,
            "size": len(items),
            "fence": run.held.fence,
            "outcome": BatchOutcome.UNKNOWN,
            "started_at": clock.now(),
        }
        batch = session.scalars(insert(Batch).returning(Batch), [values]).one()
        ids = [item.id for item in items]
        session.execute(update(Delivery).where(Delivery.id.in_(ids)).values(batch_id=batch.id))
        session.execute(update(Lane).where(Lane.id == run.held.lane_id).values(unknown_batch_id=batch.id))
        return batch

    batch = run.write(work)
    run.lane.unknown_batch_id = batch.id
    return batch


def _go_on(run: Run, batch_id: int) -> bool:
    """The batch of unknown outcome first: the same deliveries, none added."""
    with reading() as session:
        batch = session.scalars(select(Batch).where(Batch.id == batch_id)).one()
        settings = workspace_settings.load(session, run.held.workspace_id)
    items = [item for item in choose.of_batch(run, Kind.EVENT, batch_id) if item.email is not None]
    if not items:
        _close(run, batch, BatchOutcome.ACCEPTED)
        return True
    links = lookup.links_of(run, {item.person_id: item.email for item in items if item.email})
    singly = batch.endpoint == endpoints.EVENT.name
    _send(run, settings, items[:1] if singly else items, links, batch)
    return True


def _send(
    run: Run, settings: WorkspaceSettings, items: list[Item], links: dict[int, ProfileLink], batch: Batch
) -> None:
    writes = [write_of(settings, item, links.get(item.person_id)) for item in items]
    singly = batch.endpoint == endpoints.EVENT.name
    call = payloads.event(writes[0]) if singly else payloads.events(writes)
    answer = run.call(call, size=len(items), batch=batch)
    if answer.ok:
        _delivered(run, items, batch)
    elif is_unknown(answer):
        _unknown(run, batch)
    elif answer.reached is Reached.NOT_SENT or answer.status in {401, 410} or not answer.is_json:
        raise run.back_off()
    elif answer.status == 403:
        _settle(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items}, attempts=1)
    elif singly:
        _settle(run, {items[0].id: _refusal(run, items[0], answer)}, attempts=1)
    else:
        _refused_whole(run, items, batch, answer)


def _delivered(run: Run, items: list[Item], batch: Batch) -> None:
    def work(session: Session) -> None:
        results = {item.id: settle.DELIVERED for item in items}
        settle.settle(session, run.connection, Kind.EVENT, results, attempts=1)

    run.write(work, failures=0)
    run.lane.failures = 0
    left = batch.endpoint == endpoints.EVENT.name and batch.size > 1
    if not left:
        _close(run, batch, BatchOutcome.ACCEPTED)


def _unknown(run: Run, batch: Batch) -> None:
    """It may have arrived. Unknown twice in a row: from now on one by one."""

    def work(session: Session) -> None:
        found = session.get_one(Batch, batch.id)
        found.unknown_times += 1
        if found.unknown_times >= 2:
            found.endpoint = endpoints.EVENT.name

    run.write(work, slow=True)
    raise run.back_off()


def _refused_whole(run: Run, items: list[Item], batch: Batch, answer: Answer) -> None:
    """A bulk call is refused whole for one bad item: the named ones are taken out, and the rest goes one by one."""
    named = {error.item: error for error in answer.errors if error.item is not None}
    bad = {
        items[index].id: settle.failed(Reason.REJECTED, error.detail)
        for index, error in named.items()
        if index < len(items) and error.code != "duplicate_unique_id" and "unique_id" not in error.pointer
    }

    def work(session: Session) -> None:
        settle.settle(session, run.connection, Kind.EVENT, bad, attempts=1)
        session.get_one(Batch, batch.id).endpoint = endpoints.EVENT.name

    run.write(work)


def _refusal(run: Run, item: Item, answer: Answer) -> Result:
    """What a single event's 4xx means. A remembered id that is gone is looked up again, once."""
    if answer.status == 404 and item.attempts == 0:
        run.write(lambda session: _forget(session, run, item.person_id))
        return settle.waiting(Reason.RETRYING, clock.now(), answer.sentence)
    if answer.status == 404:
        return settle.skipped(Reason.NOT_IN_KLAVIYO)
    reason = Reason.PAYLOAD_TOO_LARGE if answer.status == 413 else Reason.REJECTED
    return settle.failed(reason, answer.sentence)


def _forget(session: Session, run: Run, person_id: int) -> None:
    statement = update(ProfileLink).where(
        ProfileLink.connection_id == run.held.connection_id, ProfileLink.person_id == person_id
    )
    session.execute(statement.values(found=None, looked_up_at=None))


def _settle(run: Run, results: dict[int, Result], attempts: int = 0) -> None:
    run.write(lambda session: settle.settle(session, run.connection, Kind.EVENT, results, attempts=attempts))


def _close(run: Run, batch: Batch, outcome: BatchOutcome) -> None:
    run.write(lambda session: finish(session, batch, outcome), unknown_batch_id=None)
    run.lane.unknown_batch_id = None
