"""People we created go to the chosen list, by id, a thousand a call. Never anybody who was there before.

The profile is written by then: whatever becomes of the list, the delivery is `delivered`, and its reason says.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs import settle
from jobs.fields.plan import Group
from jobs.outcomes import Outcome, outcome
from jobs.run import Hold, Run
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading
from webapp.dialects import among
from webapp.klaviyo import endpoints, payloads
from webapp.klaviyo.answers import Answer
from webapp.models import Connection, ProfileLink

NEEDS = frozenset({"lists:read", "lists:write", "profiles:write"})
LATELY = timedelta(minutes=10)
SCOPE_MISSING = Result(Status.DELIVERED, Reason.LIST_SCOPE_MISSING)


def add(run: Run, groups: Sequence[Group]) -> None:
    """Add these people and settle their deliveries. Raises Hold where Klaviyo did not take them yet, or time was up."""
    for start in range(0, len(groups), payloads.LIST_IDS):
        if start and not run.may_ask_on():
            raise Hold(limited=True)  # those left stay owed, and the next drain goes on with them
        _some(run, groups[start : start + payloads.LIST_IDS])


def _some(run: Run, groups: Sequence[Group]) -> None:
    list_id = run.connection.list_id
    if list_id is None:
        _record(run, groups, settle.DELIVERED, added=False)
        return
    if not run.grant.scopes >= NEEDS:
        _record(run, groups, SCOPE_MISSING, added=False)
        return
    ids = _klaviyo_ids(run, groups)
    missed = [group for group in groups if group.person_id not in ids]
    if missed:  # by another lane's look-up just now: they stay owed, and are decided anew by what it found
        later = settle.waiting(Reason.BACKLOG, clock.now())
        again = {id_: result for group in missed for id_, result in group.results(later).items()}
        run.write(lambda session: settle.settle(session, run.connection, Kind.FIELDS, again))
    refused: list[tuple[Group, Answer]] = []
    try:
        _in_parts(run, list_id, [group for group in groups if group.person_id in ids], ids, refused)
    except Hold:
        # Else the next drain has to find out once more who is refused alone, and ends there as well.
        if refused and _took_others(run):
            _record(run, [group for group, _ in refused], settle.DELIVERED, added=False)
        raise
    is_there = bool(refused) and _took_others(run)
    for group, answer in refused:
        missing = Result(Status.DELIVERED, Reason.LIST_MISSING, detail=answer.sentence)
        _record(run, [group], settle.DELIVERED if is_there else missing, added=False)


def _in_parts(
    run: Run, list_id: str, groups: list[Group], ids: dict[int, str], refused: list[tuple[Group, Answer]]
) -> None:
    """All at once, or what is left of a call that was refused; into `refused` whoever was refused alone.

    Raises Hold, for want of time only where something came of it: the next drain would begin with all of them again.
    """
    parts = [groups] if groups else []
    while parts:
        part = parts.pop()
        answer = _call(run, list_id, part, [ids[group.person_id] for group in part])
        if outcome(answer) is Outcome.DONE:
            _record(run, part, settle.DELIVERED, added=True)
        else:
            parts += filter(None, _not_added(run, part, answer, refused))
        are_fewer = sum(map(len, parts)) + len(refused) < len(groups)
        if parts and not run.may_ask_on() and (are_fewer or (refused and _took_others(run))):
            raise Hold(limited=True)


def _call(run: Run, list_id: str, part: Sequence[Group], ids: Sequence[str]) -> Answer:
    """One call's answer. Raises Hold where adding again, which changes nothing, is all there is to do."""

    def work(session: Session) -> None:
        run.check_list(session)
        run.check_people(session, [group.person_id for group in part])
        run.reserve(session, endpoints.LIST_ADD)

    run.write(work)
    owed = [item.id for group in part for item in group.items]
    answer = run.send(payloads.add_to_list(list_id, ids), size=len(ids), deliveries=owed)
    if outcome(answer) in {Outcome.AGAIN, Outcome.UNKNOWN}:
        raise run.hold_after([answer])  # they stay owed, and wait
    return answer


def _not_added(
    run: Run, part: list[Group], answer: Answer, refused: list[tuple[Group, Answer]]
) -> Sequence[list[Group]]:
    """What goes again of a call that was refused. Whoever was refused alone is kept for the end."""
    named = {error.item for error in answer.errors if error.item is not None and error.item < len(part)}
    if outcome(answer) is Outcome.SCOPE_MISSING:
        _record(run, part, SCOPE_MISSING, added=False)
    elif named:  # deleted in Klaviyo since we created them; the list is as it was
        _record(run, [part[place] for place in sorted(named)], settle.DELIVERED, added=False)
        return [[group for place, group in enumerate(part) if place not in named]]
    elif outcome(answer) is Outcome.GONE and any("list" in error.detail.lower() for error in answer.errors):
        _record(run, part, Result(Status.DELIVERED, Reason.LIST_MISSING, detail=answer.sentence), added=False)
    elif len(part) == 1:
        refused.append((part[0], answer))
    else:
        half = len(part) // 2
        # By chance: where the budget ends it before anybody was added, the next drain does not go the same way.
        return random.sample([part[:half], part[half:]], 2)
    return []


def _took_others(run: Run) -> bool:
    """Whether the list is there: it took somebody just now, perhaps in the drain before this one."""
    lately = ProfileLink.list_added_at > clock.now() - LATELY
    with reading() as session:
        mine = ProfileLink.connection_id == run.held.connection_id
        return session.scalar(select(ProfileLink.person_id).where(mine, lately).limit(1)) is not None


def _klaviyo_ids(run: Run, groups: Sequence[Group]) -> dict[int, str]:
    """Person id -> Klaviyo's id, of those who are there as far as we know."""
    with reading() as session:
        statement = select(ProfileLink.person_id, ProfileLink.klaviyo_id).where(
            ProfileLink.connection_id == run.held.connection_id,
            ProfileLink.found.is_(True),
            among(session, ProfileLink.person_id, [group.person_id for group in groups]),
        )
        return {row.person_id: row.klaviyo_id for row in session.execute(statement) if row.klaviyo_id}


def _record(run: Run, groups: Sequence[Group], result: Result, *, added: bool) -> None:
    def work(session: Session) -> None:
        values: dict[str, object] = {"list_due": False}
        if added:
            values["list_added_at"] = clock.now()
        statement = update(ProfileLink).where(
            ProfileLink.connection_id == run.held.connection_id,
            among(session, ProfileLink.person_id, [group.person_id for group in groups]),
        )
        session.execute(statement.values(**values))
        if result.reason is Reason.LIST_MISSING:
            # Where another list was chosen meanwhile, nothing is known of that one.
            mine = (Connection.id == run.held.connection_id, Connection.list_id == run.connection.list_id)
            missing = update(Connection).where(*mine)
            session.execute(missing.values(list_missing_at=clock.now()))
        results = {id_: value for group in groups for id_, value in group.results(result).items()}
        settle.settle(session, run.connection, Kind.FIELDS, results)

    run.write(work)
