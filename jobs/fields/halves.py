"""What is left of an import job that Klaviyo refused whole, or says no end of: batches that were not sent yet.

They go before everything else that is due, so that every drain goes on where the one before it was ended, by the
budget or a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from jobs import batches, choose
from jobs.choose import Item
from jobs.fields import converge
from jobs.fields.plan import Group
from jobs.run import Run
from webapp.database import reading
from webapp.klaviyo import endpoints
from webapp.models import Batch, BatchOutcome


def about_to_send(session: Session, run: Run, half: Batch | None, groups: Sequence[Group]) -> Batch:
    """The batch of a job, in the commit that reserves it: from here on its end is unknown."""
    members = [group.member for group in groups]
    if half is None:
        return batches.open_batch(session, run, endpoints.IMPORT_JOB, members, size=len(groups))
    batches.shrink(session, half, members, size=len(groups))
    batches.note_sending(session, half, run.held.fence)
    return half


def leave(session: Session, run: Run, batch: Batch, parts: Sequence[Sequence[Group]]) -> None:
    """Klaviyo took nothing of this batch. It goes on with the first of these parts, the others become their own."""
    full = [[group.member for group in part] for part in parts]
    if not full:
        batches.close(session, run, batch, BatchOutcome.REJECTED)
        return
    batches.shrink(session, batch, full[0], size=len(full[0]))
    batches.note_sending(session, batch, batches.NOT_SENT)
    for members in full[1:]:
        batches.open_batch(session, run, endpoints.IMPORT_JOB, members, size=len(members), sent=False)


def go_again(session: Session, run: Run, members: list[Any], *, halved: bool, unknown_times: int = 0) -> None:
    """Members of a job that is over, perhaps: before everything else they are looked at once more."""
    cut = len(members) // 2 if halved else 0
    for part in (members[:cut], members[cut:]):
        if part:
            batches.open_batch(
                session, run, endpoints.IMPORT_JOB, part, size=len(part), sent=False, unknown_times=unknown_times
            )


def first(run: Run) -> tuple[Batch | None, list[Item]]:
    """The first half that is not sent yet, with what is still due of it. Those of which nothing is are closed."""
    while run.open_batches:
        batch = _open_ones(run)[0]
        items = choose.due_by_id(run, _deliveries(batch))
        if items:
            return batch, items
        run.write(partial(batches.close, run=run, batch=batch, outcome=BatchOutcome.REJECTED))
    return None, []


def write_off(run: Run) -> None:
    """Batches of a holder that never told: its people are written again now, and once more when that is settled."""
    lost = [batch for batch in _open_ones(run) if batch.fence != batches.NOT_SENT]

    def work(session: Session) -> None:
        for batch in lost:
            is_job = batch.endpoint == endpoints.IMPORT_JOB.name
            settles_in = converge.JOB_SETTLES_IN if is_job else converge.CALL_SETTLES_IN
            converge.unsettle(session, run, [member[0] for member in batches.members(batch)], settles_in)
            batches.close(session, run, batch, BatchOutcome.LOST)

    if lost:
        run.write(work)


def _open_ones(run: Run) -> list[Batch]:
    with reading() as session:
        return batches.open_ones(session, run)


def _deliveries(batch: Batch) -> list[int]:
    found: list[list[Any]] = batches.members(batch)
    return [id_ for member in found for id_ in member[2]]
