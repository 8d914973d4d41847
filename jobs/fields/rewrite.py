"""Writing people once more whose older writes in Klaviyo are over; `jobs.fields.converge` says who they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson
from sqlalchemy import ColumnExpressionArgument, select, text, update
from sqlalchemy.orm import Session

from jobs.fields import converge, singles
from jobs.fields.plan import Group, Step
from jobs.run import Run
from webapp.database import reading
from webapp.dialects import among, db_now
from webapp.klaviyo.payloads import ProfileWrite
from webapp.models import FieldChoice, Person, ProfileLink
from webapp.services.people import records
from webapp.services.workspaces import snapshot
from webapp.services.workspaces.snapshot import WorkspaceSettings

REWRITES = 8
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
        return False
    groups, marked = [], {}
    for link, person in rows:
        fields = orjson.loads(person.fields)
        shared = records.shared_changes(fields, 0, settings.fields, settings.fields_on)
        remembered = records.version_before(fields, turned_off, person.fields_version)
        if person.email is not None and link.found and link.klaviyo_id and shared:
            write = ProfileWrite(link.klaviyo_id, person.email, shared)
            group = Group(
                person.id, (), None, Step.UPDATE, write=write, version=person.fields_version, remembered=remembered
            )
            groups.append(group)
        else:
            marked[person.id] = remembered
    if marked:
        run.write(lambda session: _leave(session, run, marked))
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
    """Nobody may be written now: whoever is due stays marked until the scope is there again."""
    until = db_now(converge.SCOPE_LOOK.total_seconds())
    session.execute(update(ProfileLink).where(*_due(run)).values(unsettled_until=until))


def _leave(session: Session, run: Run, versions: Mapping[int, int]) -> None:
    """Nothing is to be written of these now. Person id -> the version that counts as written.

    A field that is off may hold an older value in Klaviyo: turned on again, it goes with the next change.
    """
    for version in sorted(set(versions.values())):
        person_ids = [person_id for person_id, written in versions.items() if written == version]
        mine = (ProfileLink.connection_id == run.held.connection_id, ProfileLink.fields_version > version)
        statement = update(ProfileLink).where(*mine, among(session, ProfileLink.person_id, person_ids))
        session.execute(statement.values(fields_version=version))
    _unmark(session, run, versions)


def _unmark(session: Session, run: Run, person_ids: Iterable[int]) -> None:
    """In the commit that opens their batch: from there on a call that was not taken, or perhaps, sets it anew."""
    statement = update(ProfileLink).where(*_due(run), among(session, ProfileLink.person_id, person_ids))
    session.execute(statement.values(rewrite=False, unsettled_until=None))
