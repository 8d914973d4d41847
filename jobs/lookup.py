"""Who exists in Klaviyo: addresses a hundred at a time, the answers remembered in `profile_links`.

A hit is believed for ten minutes by calls that cannot create anybody, a miss for one minute.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.run import Run
from webapp import clock
from webapp.database import reading, upsert
from webapp.klaviyo import parse, payloads
from webapp.klaviyo.parse import FoundProfile
from webapp.models import ProfileLink

HIT = timedelta(minutes=10)
MISS = timedelta(minutes=1)


def links_of(run: Run, people: dict[int, str]) -> dict[int, ProfileLink]:
    """Person id -> link, looked up where it is not remembered. `people`: person id -> address."""
    known = _read(run.held.connection_id, people)
    stale = {person_id: email for person_id, email in people.items() if not _believed(known.get(person_id))}
    if not stale:
        return known
    look_up(run, stale)
    return _read(run.held.connection_id, people)


def _believed(link: ProfileLink | None) -> bool:
    if link is None or link.found is None or link.looked_up_at is None:
        return False
    return clock.now() - link.looked_up_at < (HIT if link.found else MISS)


def _read(connection_id: int, people: Iterable[int]) -> dict[int, ProfileLink]:
    statement = select(ProfileLink).where(
        ProfileLink.connection_id == connection_id, ProfileLink.person_id.in_(list(people))
    )
    with reading() as session:
        return {link.person_id: link for link in session.scalars(statement)}


def look_up(run: Run, people: dict[int, str], *, subscriptions: bool = False) -> dict[int, FoundProfile]:
    """Ask Klaviyo now; the profiles found by person id. Raises Hold."""
    by_email = {email: person_id for person_id, email in people.items()}
    found: dict[int, FoundProfile] = {}
    for group in payloads.lookup_groups(by_email):
        answer = run.call(payloads.lookup(group, subscriptions=subscriptions), size=len(group))
        if not answer.ok:
            raise run.back_off()
        hits = {by_email[p.email]: p for p in parse.profiles(answer.json) if p.email in by_email}
        found.update(hits)
        looked_up = [by_email[email] for email in group]
        run.write(partial(_remember, run=run, looked_up=looked_up, hits=hits))
    return found


def _remember(session: Session, run: Run, looked_up: list[int], hits: dict[int, FoundProfile]) -> None:
    now = clock.now()
    rows = [
        {
            "connection_id": run.held.connection_id,
            "person_id": person_id,
            "found": person_id in hits,
            "klaviyo_id": hits[person_id].id if person_id in hits else None,
            "looked_up_at": now,
        }
        for person_id in sorted(looked_up)
    ]
    changed = ["found", "klaviyo_id", "looked_up_at"]
    statement = upsert(session, ProfileLink.__table__, key=["connection_id", "person_id"], update=changed)
    session.execute(statement, rows)
