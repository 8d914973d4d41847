"""A withdrawal is read back five minutes after Klaviyo took it, and sent again until Klaviyo shows it.

A subscribe that was still on its way in Klaviyo may take effect after the withdrawal; nobody stays subscribed by that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from jobs import lookup
from jobs.consents import said, signups
from jobs.consents.decide import SUBSCRIBE_SETTLES_IN, Sent, is_by_another_door
from jobs.consents.members import members_of
from jobs.outcomes import REFUSALS, Outcome, outcome
from jobs.refused import told_apart
from jobs.run import Run
from webapp import clock
from webapp.catalogue.reasons import Status
from webapp.database import reading
from webapp.dialects import among, db_now
from webapp.klaviyo import endpoints, payloads
from webapp.klaviyo.parse import FoundProfile
from webapp.klaviyo.payloads import ProfileWrite
from webapp.models import Delivery, Person, ProfileLink
from webapp.services.people import consents
from webapp.services.people.consents import Entry
from webapp.upserts import upsert

AFTER = timedelta(minutes=5)
CHOSEN = 100


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A withdrawal that Klaviyo accepted, from one list; `held` is the person's newest consent of this connection.

    `was_missed`: whether the last look-up, before it is read back now, did not find them. `accepted_at`: when we heard
    of it; None where that is no longer known.
    """

    person_id: int
    email: str
    held: Entry | None
    list_id: str | None
    delivery_id: int
    was_missed: bool
    subscribed_at: datetime | None
    accepted_at: datetime | None

    @property
    def is_settled(self) -> bool:
        """Whether no subscribe of ours can take effect in Klaviyo any more."""
        return self.subscribed_at is None or clock.now() >= self.subscribed_at + SUBSCRIBE_SETTLES_IN

    @property
    def still_meant(self) -> bool:
        """Whether the person is still there, and has not subscribed again since."""
        return bool(self.email) and (self.held is None or self.held["state"] == consents.UNSUBSCRIBED)

    def is_overruled(self, profile: FoundProfile | None, source: str) -> bool:
        """Whether they subscribed by another door after they withdrew here, which ours, `source`, must not undo."""
        if profile is None or self.accepted_at is None:
            return False
        told = (profile.consented_at, profile.is_consent_of(source))
        return is_by_another_door(*told, after=self.accepted_at, sent_at=self.subscribed_at)


def note(session: Session, run: Run, sent: Iterable[tuple[int, int]], list_id: str | None) -> None:
    """Withdrawals are about to be sent, `(person id, delivery id)`: they are read back, also where no answer came."""
    rows = [
        {
            "connection_id": run.held.connection_id,
            "person_id": person_id,
            "withdrawal_check_at": clock.now() + AFTER,
            "withdrawn_list_id": list_id,
            "withdrawn_delivery_id": delivery_id,
        }
        for person_id, delivery_id in sorted(sent)
    ]
    if rows:
        changed = ["withdrawal_check_at", "withdrawn_list_id", "withdrawn_delivery_id"]
        key = ["connection_id", "person_id"]
        session.execute(upsert(session, ProfileLink.__table__, key=key, update=changed), rows)


def forget(session: Session, run: Run, delivery_ids: Iterable[int]) -> None:
    """Klaviyo refused these: there is nothing to read back, but for another list that they were sent for."""
    mine, other = ProfileLink.connection_id == run.held.connection_id, signups.any_under_withdrawal(run)
    refused = update(ProfileLink).where(mine, among(session, ProfileLink.withdrawn_delivery_id, delivery_ids))
    nothing = {"withdrawal_check_at": None, "withdrawn_list_id": None, "withdrawn_delivery_id": None}
    for statement in (
        refused.where(other.is_not(None)).values(withdrawn_list_id=func.nullif(other, "")),
        refused.where(other.is_(None)).values(nothing),
    ):
        session.execute(statement.execution_options(synchronize_session=False))


def check_next(run: Run) -> bool:
    """Read some back that are due; whether there were any."""
    due = _due(run)
    if not due:
        return False
    meant = [row for row in due if row.still_meant]
    try:
        found = lookup.look_up(run, {row.person_id: row.email for row in meant}, subscriptions=True)
        on_lists = _memberships(run, meant)
    except lookup.MayNotLook:  # until somebody reconnects: nothing else of the lane waits for it
        run.write(lambda session: _record(session, run, due, {row.person_id for row in meant}))
        return True
    ours = said.source(run)
    kept = {row.person_id for row in meant if not row.is_overruled(found.get(row.person_id), ours)}
    overruled = {row.person_id for row in meant} - kept
    meant = [row for row in meant if row.person_id in kept]
    open_ones = [row for row in meant if not _is_shown(row, found.get(row.person_id), on_lists)]
    # One that shows is read once more while a signup sent before it may still be on its way.
    open_ids = {row.person_id for row in open_ones} | {row.person_id for row in meant if not row.is_settled}
    # Whoever was missed once is not sent: another door may have subscribed them since, which the next look tells.
    # Noted before it is sent, as `note` is: whatever comes of it, they are read once more, and nothing else waits.
    run.write(lambda session: _record(session, run, due, open_ids, overruled))
    _again(run, [row for row in open_ones if row.person_id in found or row.was_missed])
    run.flush()
    return True


def _due(run: Run) -> list[Withdrawal]:
    statement = (
        select(
            ProfileLink.person_id,
            Person.email,
            Person.consents,
            ProfileLink.withdrawn_list_id,
            ProfileLink.withdrawn_delivery_id,
            ProfileLink.found.is_(False),
            ProfileLink.subscribed_at,
            Delivery.created_at,
        )
        .join(Person, Person.id == ProfileLink.person_id)
        .outerjoin(Delivery, Delivery.id == ProfileLink.withdrawn_delivery_id)
        .where(ProfileLink.connection_id == run.held.connection_id, ProfileLink.withdrawal_check_at <= db_now())
        .order_by(ProfileLink.withdrawal_check_at)
        .limit(CHOSEN)
    )
    with reading() as session:
        rows = session.execute(statement).all()
        theirs = signups.under_withdrawal(session, run, {row[0]: row[4] or 0 for row in rows}) if rows else []
    here = run.connection.id
    found = [
        Withdrawal(row[0], row[1] or "", consents.newest_at(row[2], here), row[3], row[4] or 0, *row[5:])
        for row in rows
    ]
    return _by_list(found, theirs)


def _by_list(found: Sequence[Withdrawal], theirs: Sequence[tuple[int, Sent]]) -> list[Withdrawal]:
    """Once for each list it was sent for: the link tells of the last one alone."""
    last = {row.person_id: row for row in found}
    each = {(row.person_id, row.list_id): row for row in found}
    for person_id, sent in theirs:
        row = last[person_id]
        is_last = sent.list_id == row.list_id
        at = max(sent.at, row.subscribed_at or sent.at) if is_last else sent.at
        each[person_id, sent.list_id] = replace(row, list_id=sent.list_id, subscribed_at=at)
    return list(each.values())


def _memberships(run: Run, rows: Sequence[Withdrawal]) -> set[tuple[int, str | None]]:
    by_list: dict[str, dict[int, str]] = defaultdict(dict)
    for row in rows:
        if row.list_id is not None:
            by_list[row.list_id][row.person_id] = row.email
    return {*members_of(run, by_list)}


def _is_shown(row: Withdrawal, profile: FoundProfile | None, on_lists: set[tuple[int, str | None]]) -> bool:
    """The list alone tells of a list; without one a look-up that misses is believed the second time in a row."""
    if row.list_id is not None:
        return (row.person_id, row.list_id) not in on_lists
    return row.was_missed if profile is None else not profile.is_subscribed


def _again(run: Run, rows: Sequence[Withdrawal]) -> None:
    by_list: dict[str | None, list[Withdrawal]] = defaultdict(list)
    for row in rows:
        by_list[row.list_id].append(row)
    for list_id, group in by_list.items():
        _some_again(run, list_id, group)


def _some_again(run: Run, list_id: str | None, wanted: Sequence[Withdrawal]) -> None:
    """One call; where it is refused, the others without whoever it is refused for, who is tried again next time."""
    rows = run.write(lambda session: _reserve(session, run, wanted))
    if not rows:
        return
    profiles = [ProfileWrite(None, row.email) for row in rows]
    answer = run.send(payloads.unsubscribe(profiles, list_id), size=len(rows))
    if outcome(answer) in {Outcome.AGAIN, Outcome.UNKNOWN}:
        raise run.hold_after([answer])
    if outcome(answer) in REFUSALS and len(rows) > 1:
        for part in told_apart(answer, rows)[1]:
            _some_again(run, list_id, part)


def _reserve(session: Session, run: Run, wanted: Sequence[Withdrawal]) -> list[Withdrawal]:
    """The budget of one call, for those who have not been erased nor said anything newer since they were read."""
    ids = [row.person_id for row in wanted]
    statement = select(Person.id, Person.consents).where(among(session, Person.id, ids), Person.email.is_not(None))
    held = {row.id: consents.newest_at(row.consents, run.connection.id) for row in session.execute(statement)}
    rows = [row for row in wanted if row.person_id in held and held[row.person_id] == row.held]
    if rows:
        run.reserve(session, endpoints.UNSUBSCRIBE)
    return rows


def _record(
    session: Session, run: Run, due: Sequence[Withdrawal], open_ids: set[int], overruled: Container[int] = ()
) -> None:
    """Shown ones are confirmed, and the open ones read again; whoever overruled theirs by another door is let be."""
    mine = ProfileLink.connection_id == run.held.connection_id
    shown = [row for row in due if row.person_id not in open_ids]
    closed = update(ProfileLink).where(mine, among(session, ProfileLink.person_id, [row.person_id for row in shown]))
    session.execute(closed.values(withdrawal_check_at=None))
    again = update(ProfileLink).where(mine, among(session, ProfileLink.person_id, open_ids))
    session.execute(again.values(withdrawal_check_at=clock.now() + AFTER))
    left = [row for row in shown if row.still_meant and row.person_id not in overruled]
    signups.forget(session, run, [(row.person_id, row.list_id) for row in left])
    # One that waits to be sent for another list is not seen in Klaviyo yet, nor is one that was refused for it.
    delivered = (among(session, Delivery.id, {row.delivery_id for row in left}), Delivery.status == Status.DELIVERED)
    session.execute(update(Delivery).where(*delivered).values(confirmed_at=clock.now()))


def next_check_at(run: Run) -> datetime | None:
    """When the next one is due."""
    statement = select(func.min(ProfileLink.withdrawal_check_at)).where(
        ProfileLink.connection_id == run.held.connection_id, ProfileLink.withdrawal_check_at.is_not(None)
    )
    with reading() as session:
        return session.scalar(statement)
