"""People we created go to the chosen list, by id, a thousand a call. Never anybody who was there before.

The profile is written by then: whatever becomes of the list, the delivery is `delivered`, and its reason says.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs import settle
from jobs.fields.plan import Group
from jobs.outcomes import Outcome, outcome
from jobs.run import Run
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading
from webapp.dialects import among
from webapp.klaviyo import endpoints, payloads
from webapp.models import Connection, ProfileLink

NEEDS = frozenset({"lists:read", "lists:write", "profiles:write"})


def add(run: Run, groups: Sequence[Group]) -> None:
    """Add these people and settle their deliveries. Raises Hold where Klaviyo did not take them yet."""
    for start in range(0, len(groups), payloads.LIST_IDS):
        _some(run, groups[start : start + payloads.LIST_IDS])


def _some(run: Run, groups: Sequence[Group]) -> None:
    list_id = run.connection.list_id
    if list_id is None:
        _record(run, groups, settle.DELIVERED, added=False)
        return
    if not run.grant.scopes >= NEEDS:
        _record(run, groups, Result(Status.DELIVERED, Reason.LIST_SCOPE_MISSING), added=False)
        return
    ids = _klaviyo_ids(run, groups)
    if not ids:
        _record(run, groups, settle.DELIVERED, added=False)
        return
    run.write(lambda session: _reserve(session, run, groups))
    owed = [item.id for group in groups for item in group.items]
    answer = run.send(payloads.add_to_list(list_id, ids), size=len(ids), deliveries=owed)
    match outcome(answer):
        case Outcome.DONE:
            _record(run, groups, settle.DELIVERED, added=True)
        case Outcome.AGAIN | Outcome.UNKNOWN:
            # Adding again changes nothing: they stay owed, and wait.
            raise run.hold_after([answer])
        case Outcome.SCOPE_MISSING:
            _record(run, groups, Result(Status.DELIVERED, Reason.LIST_SCOPE_MISSING), added=False)
        case Outcome.GONE if len(groups) == 1 and any(error.item is not None for error in answer.errors):
            # Deleted in Klaviyo since we created them; the list is as it was.
            _record(run, groups, settle.DELIVERED, added=False)
        case Outcome.GONE if any("list" in error.detail.lower() for error in answer.errors) or len(groups) == 1:
            _record(run, groups, Result(Status.DELIVERED, Reason.LIST_MISSING, detail=answer.sentence), added=False)
        case _ if len(groups) > 1:
            half = len(groups) // 2
            _some(run, groups[:half])
            _some(run, groups[half:])
        case _:
            _record(run, groups, Result(Status.DELIVERED, Reason.LIST_MISSING, detail=answer.sentence), added=False)


def _reserve(session: Session, run: Run, groups: Sequence[Group]) -> None:
    run.check_people(session, [group.person_id for group in groups])
    run.reserve(session, endpoints.LIST_ADD)


def _klaviyo_ids(run: Run, groups: Sequence[Group]) -> list[str]:
    with reading() as session:
        statement = select(ProfileLink.klaviyo_id).where(
            ProfileLink.connection_id == run.held.connection_id,
            among(session, ProfileLink.person_id, [group.person_id for group in groups]),
            ProfileLink.klaviyo_id.is_not(None),
        )
        return [found for found in session.scalars(statement) if found]


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
            missing = update(Connection).where(Connection.id == run.held.connection_id)
            session.execute(missing.values(list_missing_at=clock.now()))
        results = {id_: value for group in groups for id_, value in group.results(result).items()}
        settle.settle(session, run.connection, Kind.FIELDS, results)

    run.write(work)
