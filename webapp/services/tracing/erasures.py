"""Erasing a person: the address, the fields, the consents and every payload go; ids, times and statuses stay.

The links to Klaviyo's records go too; in Klaviyo itself nothing is removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import affected, reading, run_writing
from webapp.dialects import among
from webapp.models import Activity, Attempt, AttemptDelivery, Delivery, Person, ProfileLink, Signup
from webapp.services import audit, lanes
from webapp.services.people import addresses
from webapp.services.tracing import profile_now

SWEPT = timedelta(hours=1)  # no drain goes on for so long


def erase(workspace_id: int, email: str, actor_id: int | None) -> dict[str, int]:
    """Erase whoever has this address, in whatever spelling; what was removed.

    As `{"people", "activities", "deliveries_stopped"}`.
    """
    return run_writing(lambda session: _erase(session, workspace_id, email, actor_id))


def _erase(session: Session, workspace_id: int, email: str, actor_id: int | None) -> dict[str, int]:
    theirs = (Person.workspace_id == workspace_id, Person.email.in_(addresses.spellings(email)))
    found = session.scalars(select(Person).where(*theirs).order_by(Person.email).with_for_update()).all()
    removed = Counter({"people": 0, "activities": 0, "deliveries_stopped": 0})
    for person in found:
        removed.update(_erase_one(session, person, actor_id))
    return dict(removed)


def _erase_one(session: Session, person: Person, actor_id: int | None) -> dict[str, int]:
    now = clock.now()
    person.email = person.first_name = person.last_name = None
    person.fields = person.consents = "{}"
    person.home_store_id = None
    person.erased_at = now
    blank = {"properties": None, "profile": None, "consent": None, "erased_at": now}
    # By their deliveries, which are found by an index; every activity of a person has one.
    theirs = select(Delivery.activity_id).where(Delivery.person_id == person.id)
    activities = affected(session, update(Activity).where(Activity.id.in_(theirs)).values(**blank))
    _forget(session, [person.id])
    stopped = _stop(session, person.workspace_id, person.id)
    profile_now.forget(session, person.workspace_id, person.id)
    audit.record(
        session,
        workspace_id=person.workspace_id,
        actor_id=actor_id,
        action="person.erased",
        subject=("person", person.id),
        after={"activities": activities, "deliveries_stopped": stopped},
    )
    return {"people": 1, "activities": activities, "deliveries_stopped": stopped}


def _forget_answers(session: Session, person_ids: Sequence[int]) -> None:
    """What Klaviyo said when it refused something of theirs may quote it. The calls themselves stay."""
    theirs = among(session, Delivery.person_id, person_ids)
    session.execute(update(Delivery).where(theirs, Delivery.detail.is_not(None)).values(detail=None))
    named = select(AttemptDelivery.attempt_id).where(AttemptDelivery.delivery_id.in_(select(Delivery.id).where(theirs)))
    batches = select(Delivery.batch_id).where(theirs, Delivery.batch_id.is_not(None))
    for mine in (Attempt.id.in_(named), Attempt.batch_id.in_(batches)):
        session.execute(update(Attempt).where(mine, Attempt.error.is_not(None)).values(error=None))


def sweep() -> None:
    """A drain that was at work during an erasure may have noted once more who was in Klaviyo, or what it said of them:
    that goes too.

    Looked at first: an idle system writes nothing.
    """
    wanted = select(Person.id).where(Person.erased_at.is_not(None), Person.erased_at > clock.now() - SWEPT)
    with reading() as session:
        erased = list(session.scalars(wanted))
    if erased:
        run_writing(lambda session: _forget(session, erased))


def _forget(session: Session, person_ids: Sequence[int]) -> None:
    _forget_klaviyo(session, person_ids)
    _forget_answers(session, person_ids)


def _forget_klaviyo(session: Session, person_ids: Sequence[int]) -> None:
    """Who is in which account, and on which lists of it."""
    session.execute(delete(ProfileLink).where(among(session, ProfileLink.person_id, person_ids)))
    session.execute(delete(Signup).where(among(session, Signup.person_id, person_ids)))


def _stop(session: Session, workspace_id: int, person_id: int) -> int:
    waiting = (Delivery.person_id == person_id, Delivery.status == Status.WAITING)
    values = {"status": Status.SKIPPED, "reason": Reason.ERASED, "settled_at": clock.now(), "detail": None}
    # Counted by what it changed: a drain that is writing down what it delivered is waited for, and has counted that.
    stopping = update(Delivery).where(*waiting).values(**values).returning(Delivery.connection_id, Delivery.kind)
    rows = session.execute(stopping.execution_options(synchronize_session=False)).all()
    stopped: Counter[tuple[int, Kind]] = Counter((row.connection_id or 0, row.kind) for row in rows)
    for (connection_id, kind), number in sorted(stopped.items()):
        lanes.count(session, workspace_id, connection_id, kind, lanes.Counts(skipped=number))
    return len(rows)
