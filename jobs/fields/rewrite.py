"""Writing people once more whose older writes in Klaviyo are over; `jobs.fields.converge` says who they are."""

from __future__ import annotations

import orjson
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs.fields import singles
from jobs.fields.plan import Group, Step
from jobs.run import Run
from webapp.database import reading
from webapp.dialects import among, db_now
from webapp.klaviyo.payloads import ProfileWrite
from webapp.models import Person, ProfileLink
from webapp.services.people import records
from webapp.services.workspaces import snapshot

REWRITES = 8


def rewrite_next(run: Run) -> bool:
    """Write some people once more whose older writes are over; whether there were any."""
    statement = (
        select(ProfileLink, Person)
        .join(Person, Person.id == ProfileLink.person_id)
        .where(
            ProfileLink.connection_id == run.held.connection_id,
            ProfileLink.rewrite,
            ProfileLink.unsettled_until <= db_now(),
        )
        .order_by(ProfileLink.unsettled_until)
        .limit(REWRITES)
    )
    with reading() as session:
        rows = session.execute(statement).all()
        settings = snapshot.load(session, run.held.workspace_id)
    if not rows:
        return False
    groups, marked = [], []
    for link, person in rows:
        shared = records.shared_changes(orjson.loads(person.fields), 0, settings.fields, settings.fields_on)
        if person.email is not None and link.found and link.klaviyo_id and shared:
            write = ProfileWrite(link.klaviyo_id, person.email, shared)
            groups.append(Group(person.id, (), None, Step.UPDATE, write=write, version=person.fields_version))
        else:
            marked.append(person.id)
    if "profiles:write" not in run.grant.scopes:
        marked, groups = [link.person_id for link, _ in rows], []
    if marked:
        run.write(lambda session: _unmark(session, run, marked))
    singles.send(run, groups, also=lambda session, sent: _unmark(session, run, [group.person_id for group in sent]))
    return True


def _unmark(session: Session, run: Run, person_ids: list[int]) -> None:
    """In the commit that opens their batch: from there on a call that was not taken, or perhaps, sets it anew."""
    statement = update(ProfileLink).where(
        ProfileLink.connection_id == run.held.connection_id,
        among(session, ProfileLink.person_id, person_ids),
        ProfileLink.unsettled_until <= db_now(),
    )
    session.execute(statement.values(rewrite=False, unsettled_until=None))
