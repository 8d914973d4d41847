"""Writing people once more whose older writes in Klaviyo are over; `jobs.fields.converge` says who they are.

Whoever is not known to be there at that moment, but was before, is looked up first. Nobody is ever created by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import orjson
from sqlalchemy import ColumnExpressionArgument, select, text, update
from sqlalchemy.orm import Session

from jobs import lookup
from jobs.fields import converge, singles
from jobs.fields.plan import Group, Step
from jobs.lookup import Link
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
# After these whoever was missed is looked up again. Missed after the last of them, they are given up.
LOOKS = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6))
LONGEST = timedelta(hours=7)  # a look-up that is further back is none of these
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
    theirs = {
        person.id: records.shared_changes(orjson.loads(person.fields), 0, settings.fields, settings.fields_on)
        for _, person in rows
    }
    wanted = {p.id: p for link, p in rows if p.email is not None and link.klaviyo_id and theirs[p.id]}
    nothing = [person.id for _, person in rows if person.id not in wanted]
    if nothing:
        run.write(lambda session: _unmark(session, run, nothing))
    links = [_link(link) for link, person in rows if person.id in wanted]
    due = {link.person_id: link.unsettled_until for link, _ in rows if link.unsettled_until is not None}
    groups = [
        Group(
            link.person_id,
            (),
            link,
            Step.UPDATE,
            write=ProfileWrite(link.klaviyo_id, str(wanted[link.person_id].email), theirs[link.person_id]),
            version=wanted[link.person_id].fields_version,
        )
        for link in _found(run, links, wanted, due)
    ]
    singles.send(run, groups, also=lambda session, sent: _unmark(session, run, [group.person_id for group in sent]))
    return True


def _link(link: ProfileLink) -> Link:
    return Link(link.person_id, link.klaviyo_id, link.found, link.looked_up_at, link.fields_version)


def _found(run: Run, links: Iterable[Link], people: Mapping[int, Person], due: Mapping[int, datetime]) -> list[Link]:
    """Links of those who are there. Who is not known to be is looked up now; who is missed then, later once more.

    Raises Hold.
    """
    missed = {link.person_id: link for link in links if not link.found}
    there = [link for link in links if link.found]
    if not missed:
        return there
    may_look = _look_up(run, {person_id: str(people[person_id].email) for person_id in missed})
    for link in lookup.known_links(run, missed).values():
        if link.found:
            there.append(link)
            del missed[link.person_id]
    if missed:
        pauses = {p: _pause(link, due[p]) if may_look else converge.SCOPE_LOOK for p, link in missed.items()}
        run.write(lambda session: _look_later(session, run, pauses))
    return there


def _look_up(run: Run, missed: Mapping[int, str]) -> bool:
    """Ask Klaviyo about these people; whether that is allowed. Raises Hold."""
    if "profiles:read" not in run.grant.scopes:
        return False
    try:
        lookup.look_up(run, missed)
    except lookup.MayNotLook:
        return False
    return True


def _pause(link: Link, due: datetime) -> timedelta | None:
    """Until whoever was missed now is looked up again: the longer, the longer the pause that is over was meant to be.

    By when they were due, not by now: while the account is paused nobody is looked up, and no look is used up.
    """
    meant = timedelta() if link.looked_up_at is None else due - link.looked_up_at
    if meant > LONGEST:
        return LOOKS[0]
    return next((pause for pause in LOOKS if pause > 2 * meant), None)


def _look_later(session: Session, run: Run, pauses: Mapping[int, timedelta | None]) -> None:
    """Klaviyo may show them a little late: they stay marked until then.

    After the last look nothing counts as written: whatever comes of them next goes with all that is shared.
    """
    theirs: dict[timedelta | None, list[int]] = defaultdict(list)
    for person_id, pause in pauses.items():
        theirs[pause].append(person_id)
    for pause, person_ids in theirs.items():
        if pause is None:
            _unmark(session, run, person_ids, fields_version=0)
            continue
        until = db_now(pause.total_seconds())
        mine = among(session, ProfileLink.person_id, person_ids)
        session.execute(update(ProfileLink).where(*_due(run), mine).values(unsettled_until=until))


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


def _unmark(session: Session, run: Run, person_ids: Iterable[int], **values: int) -> None:
    """In the commit that opens their batch: from there on a call that was not taken, or perhaps, sets it anew."""
    statement = update(ProfileLink).where(*_due(run), among(session, ProfileLink.person_id, person_ids))
    session.execute(statement.values(rewrite=False, unsettled_until=None, **values))
