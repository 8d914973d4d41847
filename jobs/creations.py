"""Whom our calls create in Klaviyo: a mark before the call, decided by its answer or by who is born, and when.

Two lanes may be about to create the same person. Then the mark is both's: what Klaviyo refuses to one of them says
nothing of the other, whose answer may never come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from jobs.run import Run
from webapp import clock
from webapp.dialects import among
from webapp.models import Connection, ProfileLink
from webapp.models.tables import PROFILE_LINKS
from webapp.upserts import insert_or_ignore

# A call of unknown end may still create somebody this long after it.
CREATION_SETTLES_IN = timedelta(minutes=15)
# Klaviyo's clock and ours differ by less; a profile born a little before our call that made it is still ours.
CLOCKS = timedelta(seconds=5)
_SHARED = timedelta(microseconds=1)
_MARK = (
    update(PROFILE_LINKS)
    .where(PROFILE_LINKS.c.connection_id == bindparam("connection"), PROFILE_LINKS.c.person_id == bindparam("person"))
    .values(creating_since=bindparam("mark"))
)


def note(session: Session, run: Run, person_ids: Iterable[int], at: datetime | None = None) -> datetime:
    """From here on, or since `at`, a profile of these people that is born is ours, also where the answer never comes.

    The mark is given. One that another call has set is moved by next to nothing: it is neither's alone from then on.
    """
    mark, connection_id, ids = at or clock.now(), run.held.connection_id, sorted(person_ids)
    if not ids:
        return mark
    rows = [{"connection_id": connection_id, "person_id": person_id} for person_id in ids]
    session.execute(insert_or_ignore(session, PROFILE_LINKS), rows)
    # As it stands now, and not as it was read: others mark the same people meanwhile.
    before = (
        select(ProfileLink.person_id, ProfileLink.creating_since)
        .where(ProfileLink.connection_id == connection_id, among(session, ProfileLink.person_id, ids))
        .order_by(ProfileLink.person_id)
        .with_for_update()
    )
    marks = [
        {"connection": connection_id, "person": person_id, "mark": _marked(since, mark)}
        for person_id, since in session.execute(before).all()
    ]
    session.connection().execute(_MARK, marks)
    return mark


def _marked(since: datetime | None, mark: datetime) -> datetime:
    return mark if since is None or mark - since >= CREATION_SETTLES_IN else since + _SHARED


def of_job(created_at: datetime | None, sent_at: datetime) -> datetime:
    """The mark of those whom an import job may create, once it is accepted: born at or after the job is ours.

    By Klaviyo's own clock, nobody's doubt about clocks is needed then; where it does not tell, by ours.
    """
    return sent_at if created_at is None else created_at.replace(microsecond=0) + CLOCKS


def note_refused(session: Session, run: Run, person_ids: Iterable[int], mark: datetime) -> None:
    """Klaviyo certainly created nobody by the call marked so: whoever is born from here on is somebody else's work."""
    mine = (ProfileLink.connection_id == run.held.connection_id, ProfileLink.creating_since == mark)
    statement = update(ProfileLink).where(*mine, among(session, ProfileLink.person_id, person_ids))
    session.execute(statement.values(creating_since=None))


def of_others(session: Session, run: Run, person_ids: Iterable[int], mark: datetime) -> dict[int, datetime]:
    """Since when others of our calls than the one marked so may have created these people as well."""
    statement = select(ProfileLink.person_id, ProfileLink.creating_since).where(
        ProfileLink.connection_id == run.held.connection_id, among(session, ProfileLink.person_id, person_ids)
    )
    found = session.execute(statement).all()
    return {person_id: since for person_id, since in found if since is not None and since != mark}


def by_signup(session: Session, run: Run, since: Mapping[int, datetime]) -> set[int]:
    """Whom of these a signup of ours may have created: one that was sent since the mark."""
    statement = select(ProfileLink.person_id, ProfileLink.subscribed_at).where(
        ProfileLink.connection_id == run.held.connection_id,
        among(session, ProfileLink.person_id, since),
        ProfileLink.subscribed_at.is_not(None),
    )
    return {
        person_id for person_id, at in session.execute(statement).all() if at is not None and at >= since[person_id]
    }


def claim(session: Session, run: Run, born: Mapping[int, datetime | None]) -> None:
    """Person id -> when a profile found just now was born: since a call of ours that may have created it, it is ours.

    Born long after it they came by another door, unless an import job that holds them is still under way.
    """
    statement = select(
        ProfileLink.person_id, ProfileLink.creating_since, ProfileLink.job_batch_id, ProfileLink.subscribed_at
    ).where(
        ProfileLink.connection_id == run.held.connection_id,
        among(session, ProfileLink.person_id, born),
        ProfileLink.creating_since.is_not(None),
    )
    rows = session.execute(statement).all()
    if not rows:
        return
    # All of them at once: of an import job they are thousands, and nobody else writes meanwhile.
    listed: list[int] = []
    signed_up: list[int] = []
    for person_id, since, job_id, subscribed_at in rows:
        if born_by(born[person_id], since, in_job=job_id is not None):
            by_signup = since is not None and subscribed_at is not None and subscribed_at >= since
            (signed_up if by_signup else listed).append(person_id)
    mark_created(session, run, signed_up, resolved=[], to_list=False)
    mark_created(session, run, listed, resolved=[row.person_id for row in rows])


def born_by(born: datetime | None, since: datetime | None, *, in_job: bool = False) -> bool:
    """Whether a profile of this age is the work of a call made at `since`."""
    if born is None or since is None:
        return False
    return born >= since - CLOCKS and (in_job or born <= since + CREATION_SETTLES_IN)


def mark_created(session: Session, run: Run, ours: list[int], *, resolved: list[int], to_list: bool = True) -> None:
    """People whose creation is decided: `ours` are counted, once, and owed to the chosen list unless not `to_list`."""
    mine = ProfileLink.connection_id == run.held.connection_id
    if resolved:
        statement = update(ProfileLink).where(mine, among(session, ProfileLink.person_id, resolved))
        session.execute(statement.values(creating_since=None))
    if not ours:
        return
    new = update(ProfileLink).where(
        mine, among(session, ProfileLink.person_id, ours), ProfileLink.created_by_us_at.is_(None)
    )
    values = {"created_by_us_at": clock.now(), "list_due": to_list and run.connection.list_id is not None}
    counted = len(session.execute(new.values(**values).returning(ProfileLink.person_id)).all())
    if counted:
        statement = update(Connection).where(Connection.id == run.held.connection_id)
        session.execute(statement.values(profiles_created=Connection.profiles_created + counted))
