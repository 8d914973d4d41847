"""Writing people once more whose older writes in Klaviyo are over; `jobs.fields.converge` says who they are."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from sqlalchemy import ColumnExpressionArgument, select, text, update
from sqlalchemy.orm import Session

from jobs.fields import converge, singles
from jobs.fields.plan import Group, Step
from jobs.run import Run
from webapp.database import reading, run_writing
from webapp.dialects import among, db_now
from webapp.klaviyo.payloads import ProfileWrite
from webapp.models import FieldChoice, Person, ProfileLink
from webapp.services.people import records
from webapp.services.workspaces import snapshot
from webapp.services.workspaces.snapshot import WorkspaceSettings

REWRITES = 8
PUT_OFF = 5_000
# Word for word as in its index: by `rewrite = 1` SQLite would read every link of the account.
MARKED = text("profile_links.rewrite")


def rewrite_next(run: Run) -> bool:
    """Write some people once more whose older writes are over; whether there were any."""
    statement = (
        select(ProfileLink, Person)
        .join(Person, Person.id == ProfileLink.person_id)
        .where(*_due(run))
        .order_by(ProfileLink.unsettled_until)
        .limit(REWRITES)
    )
    with reading() as session:
        rows = session.execute(statement).all()
        settings = snapshot.load(session, run.held.workspace_id)
        turned_off = _turned_off(session, settings) if rows else frozenset()
    if not rows:
        return False
    if "profiles:write" not in run.grant.scopes:
        run.write(lambda session: _put_off(session, run))
        return True
    _leave_behind(run, [person for _, person in rows], turned_off)
    groups, nothing = [], []
    for link, person in rows:
        fields = orjson.loads(person.fields)
        shared = records.shared_changes(fields, 0, settings.fields, settings.fields_on)
        if person.email is not None and link.found and link.klaviyo_id and shared:
            write = ProfileWrite(link.klaviyo_id, person.email, shared)
            groups.append(Group(person.id, (), None, Step.UPDATE, write=write, version=person.fields_version))
        else:
            nothing.append(person.id)
    if nothing:
        run.write(lambda session: _unmark(session, run, nothing))
    singles.send(run, groups, also=lambda session, sent: _unmark(session, run, [group.person_id for group in sent]))
    return True


def _due(run: Run) -> tuple[ColumnExpressionArgument[bool], ...]:
    return (
        ProfileLink.connection_id == run.held.connection_id,
        MARKED,
        ProfileLink.unsettled_until <= db_now(),
    )


def _turned_off(session: Session, settings: WorkspaceSettings) -> frozenset[str]:
    """The fields that were shared once and are not now: of these an older value may be what Klaviyo has."""
    statement = select(FieldChoice.field).where(
        FieldChoice.workspace_id == settings.workspace_id, FieldChoice.is_on.is_(False)
    )
    return frozenset(session.scalars(statement)) - settings.fields_on


def _put_off(session: Session, run: Run) -> None:
    """Nobody may be written now: whoever is due stays marked until the scope is there again. A bite of them at once."""
    until = db_now(converge.SCOPE_LOOK.total_seconds())
    some = session.scalars(select(ProfileLink.person_id).where(*_due(run)).limit(PUT_OFF)).all()
    theirs = among(session, ProfileLink.person_id, some)
    session.execute(update(ProfileLink).where(*_due(run), theirs).values(unsettled_until=until))


def _leave_behind(run: Run, people: Iterable[Person], turned_off: frozenset[str]) -> None:
    """Klaviyo may keep older values of what is off now: turned on again, it goes with the next news of the person.

    In a commit of its own, before they are written: acceptance locks people first, and the lanes after them.
    """
    emails = [
        person.email
        for person in people
        if person.email is not None and records.left_behind(person.fields, turned_off) != person.fields
    ]
    if not emails:
        return

    def work(session: Session) -> None:
        found = records.locked(session, run.held.workspace_id, emails).values()
        for person in found:
            person.fields = records.left_behind(person.fields, turned_off)
        records.save(session, found)

    run_writing(work)


def _unmark(session: Session, run: Run, person_ids: Iterable[int]) -> None:
    """In the commit that opens their batch: from there on a call that was not taken, or perhaps, sets it anew."""
    statement = update(ProfileLink).where(*_due(run), among(session, ProfileLink.person_id, person_ids))
    session.execute(statement.values(rewrite=False, unsettled_until=None))
