"""Who exists in Klaviyo: addresses a hundred at a time, up to eight calls at once, remembered in `profile_links`.

A hit is believed for ten minutes by calls that cannot create anybody, a miss for one minute. A call that could create
asks in the same drain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, select, update
from sqlalchemy.orm import Session

from jobs import creations
from jobs.outcomes import Outcome, outcome
from jobs.refused import halves
from jobs.run import AT_ONCE, Run
from webapp import clock
from webapp.catalogue.words import SyncBehavior
from webapp.database import reading
from webapp.dialects import among, one_of
from webapp.klaviyo import endpoints, parse, payloads
from webapp.klaviyo.parse import FoundProfile
from webapp.models import Person, ProfileLink
from webapp.models.tables import PROFILE_LINKS
from webapp.services.people import consent_holds
from webapp.upserts import upsert_resetting

HIT = timedelta(minutes=10)
MISS = timedelta(minutes=1)


class MayNotLook(Exception):
    """Klaviyo refuses look-ups for a missing scope: nobody knows who is there."""


class Link(NamedTuple):
    """What we know of a person in the account; see `ProfileLink`."""

    person_id: int
    klaviyo_id: str | None
    found: bool | None
    looked_up_at: datetime | None
    fields_version: int = 0
    unsettled_until: datetime | None = None
    rewrite: bool = False
    job_batch_id: int | None = None
    creating_since: datetime | None = None
    created_by_us_at: datetime | None = None
    list_due: bool = False
    subscribed_at: datetime | None = None
    subscribed_list_id: str | None = None
    withdrawn_delivery_id: int | None = None
    withdrawal_check_at: datetime | None = None
    withdrawn_list_id: str | None = None


# What is remembered of the profile rather than of the person, as it is of one that we never wrote to. It outlives a
# miss, as the profile's id does: Klaviyo may show them a little late. Another id ends it.
OF_THE_PROFILE: Mapping[str, int | bool | None] = {
    "fields_version": 0,
    "created_by_us_at": None,
    "list_due": False,
    "list_added_at": None,
}
_COLUMNS = tuple(PROFILE_LINKS.c[name] for name in Link._fields)
THERE = _COLUMNS[:4]  # who is there, and no more: events are read by the thousand


def links_of(
    run: Run, people: Mapping[int, str], *, known: dict[int, Link] | None = None, columns: Sequence[Any] = _COLUMNS
) -> dict[int, Link]:
    """Person id -> link, looked up where it is not remembered (`known`: what is, if asked before).

    Raises Hold, MayNotLook.
    """
    known = known_links(run, people, columns) if known is None else known
    now = clock.now()
    stale = {person_id: email for person_id, email in people.items() if not is_believed(known.get(person_id), now)}
    if not stale:
        return known
    look_up(run, stale)
    return known_links(run, people, columns)


def is_believed(link: Link | None, now: datetime) -> bool:
    """Whether what is remembered is young enough for calls that cannot create anybody."""
    if link is None or link.found is None or link.looked_up_at is None:
        return False
    return now - link.looked_up_at < (HIT if link.found else MISS)


def telling(run: Run, known: dict[int, Link]) -> dict[int, Link]:
    """What of this says who is there: where nobody is created any more, a miss from before a creation says nothing."""
    if run.connection.sync_behavior is SyncBehavior.CREATE_PROFILE:
        return known
    return {person_id: link for person_id, link in known.items() if not _is_before_creation(link)}


def _is_before_creation(link: Link) -> bool:
    """Whether somebody was missed before a call of ours that may have created them, and not looked up since."""
    since, at = link.creating_since, link.looked_up_at
    return not link.found and since is not None and (at is None or at <= since)


def was_asked_again(run: Run, link: Link | None, attempts: int) -> bool:
    """Whether an id that Klaviyo says is gone was looked up just now, after an earlier try: asking more is no use."""
    fresh = link is not None and link.looked_up_at is not None and link.looked_up_at >= run.began
    return attempts > 0 and fresh


def known_links(run: Run, people: Iterable[int], columns: Sequence[Any] = _COLUMNS) -> dict[int, Link]:
    """What is remembered; of `columns` the first four at least, the others as if nothing were."""
    where = {"connection": run.held.connection_id, "ids": list(people)}
    with reading() as session:
        return {row[0]: Link(*row) for row in session.connection().execute(_known(tuple(columns)), where).all()}


@cache
def _known(columns: tuple[Any, ...]) -> Select[Any]:
    mine = PROFILE_LINKS.c.connection_id == bindparam("connection")
    return select(*columns).where(mine, one_of(PROFILE_LINKS.c.person_id))


def look_up(run: Run, people: Mapping[int, str], *, subscriptions: bool = False) -> dict[int, FoundProfile]:
    """Ask Klaviyo now; the profiles found by person id. What was learned is kept even where it raises.

    A group that is refused is asked in halves: one address that Klaviyo does not take is nobody it has.
    Raises Hold, MayNotLook.
    """
    by_email = {email: person_id for person_id, email in people.items()}
    groups: list[Sequence[str]] = [*payloads.lookup_groups(by_email)]
    found: dict[int, FoundProfile] = {}
    while groups:
        wanted = min(AT_ONCE, len(groups))
        taken = run.write(partial(run.reserve, endpoint=endpoints.PROFILES, calls=wanted))
        now, groups = groups[:taken], groups[taken:]
        calls = [payloads.lookup(group, subscriptions=subscriptions) for group in now]
        answers = run.send_all(calls, [len(group) for group in now])
        pairs = [(group, answer, outcome(answer)) for group, answer in zip(now, answers, strict=True)]
        good = [(group, answer) for group, answer, came in pairs if came is Outcome.DONE]
        refused = [group for group, _, came in pairs if came in {Outcome.REFUSED, Outcome.TOO_LARGE}]
        hits: dict[int, FoundProfile] = {}
        unsure: list[list[str]] = []
        for group, answer in good:
            profiles = parse.profiles(answer.json)
            theirs, others = matched(group, profiles)
            hits |= {by_email[email]: profile for email, profile in theirs.items()}
            missing = {by_email[email]: email for email in group if email not in theirs}
            unsure.append(others or _of_these(run, missing, profiles))
        found.update(hits)
        later = {email for group in unsure for email in group}
        looked_up = [by_email[email] for group, _ in good for email in group if email not in later]
        looked_up += [by_email[group[0]] for group in refused if len(group) == 1]
        run.write(partial(_remember, run=run, looked_up=looked_up, hits=hits))
        if any(came is Outcome.SCOPE_MISSING for _, _, came in pairs):
            raise MayNotLook
        if len(good) + len(refused) < len(now):
            raise run.hold_after(answers)
        split = [group for group in refused if len(group) > 1] + unsure
        groups = [half for group in split for half in halves(group)] + groups
    return found


def bites(people: Mapping[int, str]) -> Iterator[dict[int, str]]:
    """These people, as many as the calls that are made at once are about: in between somebody may look at the time."""
    ids, size = list(people), AT_ONCE * payloads.LOOKUP_ADDRESSES
    for start in range(0, len(ids), size):
        yield {person_id: people[person_id] for person_id in ids[start : start + size]}


def matched(group: Sequence[str], profiles: Sequence[FoundProfile]) -> tuple[dict[str, FoundProfile], list[str]]:
    """Address -> profile, and the addresses nobody knows of yet.

    A profile may have several, of which it answers with the main one: then whoever was not answered for is asked about
    in halves, and of one asked about alone it is theirs.
    """
    asked = set(group)
    theirs = {profile.email: profile for profile in profiles if profile.email in asked}
    if len(theirs) == len(profiles):
        return theirs, []
    if len(group) == 1:
        return {group[0]: theirs.get(group[0], profiles[0])}, []
    return theirs, [email for email in group if email not in theirs]


def _of_these(run: Run, missing: Mapping[int, str], profiles: Sequence[FoundProfile]) -> list[str]:
    """Addresses not answered for whose profile, when they were asked about alone, was one of these: it may be still.

    Who was missed alone since then is not asked about alone for ever.
    """
    ids = {profile.id for profile in profiles}
    if not ids or not missing:
        return []
    links = known_links(run, missing, THERE)
    may_be = {link.person_id for link in links.values() if link.found is not False and link.klaviyo_id in ids}
    return [email for person_id, email in missing.items() if person_id in may_be]


def _remember(session: Session, run: Run, looked_up: list[int], hits: dict[int, FoundProfile]) -> None:
    now = clock.now()
    # Of whoever was erased while Klaviyo was asked nothing is remembered.
    erased = select(Person.id).where(among(session, Person.id, looked_up), Person.email.is_(None))
    forgotten = set(session.scalars(erased))
    hits = {person_id: profile for person_id, profile in hits.items() if person_id not in forgotten}
    rows = [
        {
            "connection_id": run.held.connection_id,
            "person_id": person_id,
            "found": person_id in hits,
            "klaviyo_id": hits[person_id].id if person_id in hits else None,
            "looked_up_at": now,
        }
        for person_id in sorted(looked_up)
        if person_id not in forgotten
    ]
    if not rows:
        return
    # Another profile than before has nothing of what was written to that one, and it is not the one we created.
    statement = upsert_resetting(
        session,
        ProfileLink.__table__,
        key=["connection_id", "person_id"],
        update=["found", "klaviyo_id", "looked_up_at"],
        reset=OF_THE_PROFILE,
        unless_same="klaviyo_id",
    )
    session.execute(statement, rows)
    if hits:
        creations.claim(session, run, {person_id: profile.created_at for person_id, profile in hits.items()})
        consent_holds.release(session, run.held.connection_id, hits)


def forget(session: Session, run: Run, person_ids: Iterable[int]) -> None:
    """A remembered id is gone: the next look asks again."""
    statement = update(ProfileLink).where(
        ProfileLink.connection_id == run.held.connection_id, among(session, ProfileLink.person_id, person_ids)
    )
    session.execute(statement.values(found=None, looked_up_at=None, fields_version=0))
