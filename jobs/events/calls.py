"""An events call: the batch opened with its budget, sent, and recorded whatever came of it.

Where Klaviyo refuses a bulk call for a `unique_id` it has seen, the batch goes one by one through the single call,
where the first wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from types import MappingProxyType

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs import batches, creations, lookup, settle
from jobs.events import ahead, choice, plan
from jobs.events.event import Event
from jobs.events.plan import Encoded
from jobs.lookup import Link
from jobs.outcomes import Outcome, outcome
from jobs.run import Run, Taken
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.dialects import among
from webapp.klaviyo import endpoints, payloads
from webapp.klaviyo.answers import Answer, ApiError
from webapp.klaviyo.client import Call
from webapp.klaviyo.endpoints import Endpoint
from webapp.models import Batch, BatchOutcome, Delivery


def begin(run: Run, endpoint: Endpoint, items: Sequence[Event], links: dict[int, Link]) -> bool:
    """A batch of these, sent; whether all of them were delivered."""
    return send_opened(run, open_batch(run, endpoint, items, links), items, links)


def open_batch(run: Run, endpoint: Endpoint, items: Sequence[Event], links: Mapping[int, Link]) -> Batch:
    """The batch row and its budget in one commit, before the call: from here on its outcome is unknown."""

    def work(session: Session) -> Batch:
        run.reserve(session, endpoint)
        batch = _open(session, run, endpoint, items)
        check_creations(session, run, items, links, at=batch.started_at)
        return batch

    return run.write(work)


def _open(session: Session, run: Run, endpoint: Endpoint, items: Sequence[Event]) -> Batch:
    carried = {item.person_id: item.fields_version for item in items}
    ids = [item.id for item in items]
    return batches.open_batch(session, run, endpoint, ids, size=len(ids), carried=carried)


def send_opened(
    run: Run, batch: Batch, items: Sequence[Event], links: dict[int, Link], encoded: Encoded | None = None
) -> bool:
    """Send an open batch; whether all of it was delivered. Its people's fields are read once more now that it is open.

    A newer write of the fields lane either saw it open, and comes once more later, or is in what is read here.
    """
    left, run.settings_version = choice.as_known_now(run, items)
    if left:
        ready = encoded.entries if encoded is not None and encoded.version == run.settings_version else {}
        return call(run, left, links, batch, ready=ready) and len(left) == len(items)
    run.write(lambda session: batches.close(session, run, batch, BatchOutcome.REJECTED))
    return False


def check_creations(
    session: Session, run: Run, items: Sequence[Event], links: Mapping[int, Link], at: datetime | None = None
) -> None:
    """Events of missing people create them: only where that is still wanted, and they are ours then. Raises Stale.

    `at`: the mark of this call, by which a refusal takes it back; not known of one that goes again, and may have been
    taken the first time.
    """
    missing = {item.person_id: links.get(item.person_id) for item in items}
    missing = {person_id: link for person_id, link in missing.items() if link is None or not link.found}
    if missing:
        run.check_creates(session)
        creations.note(session, run, [person_id for person_id, link in missing.items() if link is not None], at)


def call(
    run: Run,
    items: list[Event],
    links: dict[int, Link],
    batch: Batch,
    *,
    rest: Sequence[Event] = (),
    ready: Mapping[tuple[int, int], bytes] = MappingProxyType({}),
) -> bool:
    """Send a reserved batch and record what came of it; whether it was delivered.

    `rest`: what goes on one by one after it; `ready`: entries by the settings as they are, see `Encoded`.
    """
    answer = run.send(_body(run, batch, items, links, ready), size=len(items), batch=batch)
    came = outcome(answer)
    if came is not Outcome.DONE:
        ahead.drop(run)  # it was chosen as if these were delivered
    match came:
        case Outcome.DONE:
            _taken(run, batch, items, rest)
        case Outcome.AGAIN:
            raise run.hold_after([answer])
        case Outcome.UNKNOWN:
            _unknown(run, batch, items, rest)
        case Outcome.SCOPE_MISSING:
            skipped = {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items}
            _record(run, batch, skipped, rest, refused=items)
        case _ if batch.endpoint == endpoints.EVENTS.name and any(map(plan.is_repeated, answer.errors)):
            _one_by_one(run, batch)
        case _ if len(items) == 1:
            _record(run, batch, {items[0].id: _refusal(run, items[0], links, answer)}, rest, refused=items)
        case _:
            _refused_whole(run, batch, items, links, answer)
    return came is Outcome.DONE


def _body(
    run: Run, batch: Batch, items: Sequence[Event], links: dict[int, Link], ready: Mapping[tuple[int, int], bytes]
) -> Call:
    if batch.endpoint == endpoints.EVENT.name:
        return payloads.event(plan.write_of(run.settings_seen(), items[0], links.get(items[0].person_id)))
    changed = [item for item in items if (item.id, item.fields_version) not in ready]
    again = plan.entries_of(changed, run.settings_seen(), links) if changed else {}
    entries = {**ready, **again}
    return payloads.events([entries[item.id, item.fields_version] for item in items])


def _taken(run: Run, batch: Batch, items: Sequence[Event], rest: Sequence[Event]) -> None:
    """Delivered. Where the next batch is about to go, it is written down while that is under way.

    Until then it counts as one whose end nobody knows, and goes again where the worker dies.
    """
    delivered = {item.id: settle.DELIVERED for item in items}
    run.taken = Taken(frozenset(delivered), partial(_record, run, batch, delivered, rest, failures=0))
    run.lane.failures = 0
    if run.ahead is None:
        run.catch_up()


def _record(
    run: Run,
    batch: Batch,
    results: dict[int, Result],
    rest: Sequence[Event] = (),
    *,
    refused: Sequence[Event] = (),
    **lane_values: object,
) -> None:
    """Statuses, counters, attempts and the batch's end in one transaction. `refused`: by these it created nobody.

    Whoever of them is to be looked up again keeps their order: what was to go later of theirs waits as well.
    """
    again = {item.person_id for item in refused if results[item.id].status is Status.WAITING}
    rest = [item for item in rest if item.person_id not in again]
    nobody = {item.person_id for item in refused} - {item.person_id for item in rest}

    def work(session: Session) -> None:
        if nobody:
            creations.note_refused(session, run, nobody, batch.started_at)
        settle.settle(session, run.connection, Kind.EVENT, results, attempts=1, batch_id=batch.id)
        if again:
            _take_out(session, run, again, but=batch)
        if rest:
            batches.shrink(session, batch, [item.id for item in rest], size=len(rest))
        else:
            batches.close(session, run, batch, BatchOutcome.ACCEPTED, repeatable=True)

    run.write(work, **lane_values)


def _take_out(session: Session, run: Run, people: set[int], *, but: Batch) -> None:
    """These people's events out of the other halves of a batch."""
    for other in batches.open_ones(session, run):
        if other.id == but.id:
            continue
        held = batches.members(other)
        theirs = among(session, Delivery.id, held), among(session, Delivery.person_id, people)
        out = set(session.scalars(select(Delivery.id).where(*theirs)))
        left = [delivery_id for delivery_id in held if delivery_id not in out]
        if left:
            batches.shrink(session, other, left, size=len(left))
        else:
            batches.close(session, run, other, BatchOutcome.ACCEPTED)


def _unknown(run: Run, batch: Batch, items: Sequence[Event], rest: Sequence[Event]) -> None:
    """It may have arrived. Unknown twice in a row: from now on in halves, each a batch of its own."""

    def work(session: Session) -> None:
        times = batches.unknown_again(session, batch)
        if times >= 2 and len(items) > 1 and not rest:
            batches.unknown_again(session, _halve(session, run, batch, items))

    run.write(work)
    raise run.back_off()


def _refused_whole(run: Run, batch: Batch, items: list[Event], links: dict[int, Link], answer: Answer) -> None:
    """A bulk call is refused whole for one bad item: named ones are taken out, else it goes on in halves."""
    named = {e.item: e for e in answer.errors if e.item is not None and e.item < len(items)}
    if named:
        results = {items[index].id: _named(run, items[index], links, error) for index, error in named.items()}
        left = [item for index, item in enumerate(items) if index not in named]
        _record(run, batch, results, left, refused=[item for item in items if item.id in results])
        return
    # Both halves stay open until they are sent: where the budget or a crash comes in between, it goes on from there.
    run.write(lambda session: _halve(session, run, batch, items))


def _halve(session: Session, run: Run, batch: Batch, items: Sequence[Event]) -> Batch:
    """The batch keeps the first half of these; the other becomes one of its own, which is given."""
    half = len(items) // 2
    batches.shrink(session, batch, [item.id for item in items[:half]], size=half)
    if half == 1:
        _singly(session, batch)
    rest = items[half:]
    return _open(session, run, endpoints.EVENTS if len(rest) > 1 else endpoints.EVENT, rest)


def _one_by_one(run: Run, batch: Batch) -> None:
    """Klaviyo has one of them: the single call drops it silently, and takes the others."""
    run.write(lambda session: _singly(session, batch))


def _singly(session: Session, batch: Batch) -> None:
    session.execute(update(Batch).where(Batch.id == batch.id).values(endpoint=endpoints.EVENT.name))


def _named(run: Run, item: Event, links: dict[int, Link], error: ApiError) -> Result:
    if error.pointer.endswith("/profile/data/id"):
        return _gone(run, item, links, error.detail)
    return settle.failed(Reason.REJECTED, error.detail)


def _refusal(run: Run, item: Event, links: dict[int, Link], answer: Answer) -> Result:
    """What a refusal of one event means."""
    gone = any(error.pointer.endswith("/profile/data/id") for error in answer.errors)
    if gone or outcome(answer) is Outcome.GONE:
        return _gone(run, item, links, answer.sentence)
    too_large = outcome(answer) is Outcome.TOO_LARGE
    return settle.failed(Reason.PAYLOAD_TOO_LARGE if too_large else Reason.REJECTED, answer.sentence)


def _gone(run: Run, item: Event, links: dict[int, Link], sentence: str) -> Result:
    """A remembered id that is gone is looked up again, once."""
    if lookup.was_asked_again(run, links.get(item.person_id), item.attempts):
        return settle.skipped(Reason.NOT_IN_KLAVIYO)
    run.write(lambda session: lookup.forget(session, run, [item.person_id]))
    return settle.waiting(Reason.RETRYING, clock.now(), sentence)


def settle_without(run: Run, results: dict[int, Result]) -> None:
    """Statuses that need no call."""
    run.write(lambda session: settle.settle(session, run.connection, Kind.EVENT, results))
