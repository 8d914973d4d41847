"""Which lists of the account our signups went to, until their withdrawals are seen there. See `models.Signup`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from jobs.consents.decide import Sent
from jobs.run import Run
from webapp import clock
from webapp.database import reading
from webapp.dialects import among
from webapp.models import Connection, ProfileLink, Signup
from webapp.models.tables import SIGNUPS
from webapp.upserts import upsert

Known = dict[int, dict[str | None, Sent]]
KEY = ("person_id", "klaviyo_account_id", "list_id")
_THIS = (
    SIGNUPS.c.person_id == bindparam("person"),
    SIGNUPS.c.klaviyo_account_id == bindparam("account"),
    SIGNUPS.c.list_id == bindparam("list"),
)
_AS_BEFORE = (
    update(SIGNUPS)
    .where(*_THIS)
    .values(sent_at=bindparam("at"), withdrawn_by=bindparam("by"), withdrawn_at=bindparam("taken_at"))
)


def known(run: Run, person_ids: Iterable[int]) -> Known:
    """Person id -> list (None: without one) -> our last subscribe to it, by whichever connection."""
    found: Known = defaultdict(dict)
    with reading() as session:
        for row in session.scalars(select(Signup).where(_account(run), among(session, Signup.person_id, person_ids))):
            list_id = row.list_id or None
            found[row.person_id][list_id] = Sent(row.sent_at, list_id, row.withdrawn_by, row.withdrawn_at)
    return found


def taken_off(run: Run, person_ids: Iterable[int]) -> dict[int, set[str]]:
    """Person id -> the lists that withdrawals of ours were last sent for, by whichever connection to the account.

    Of an account that was replaced meanwhile nothing is known.
    """
    found: dict[int, set[str]] = defaultdict(set)
    ids = list(person_ids)
    if not ids:
        return found
    statement = (
        select(ProfileLink.person_id, ProfileLink.withdrawn_list_id)
        .join(Connection, Connection.id == ProfileLink.connection_id)
        .where(
            Connection.klaviyo_account_id == run.connection.klaviyo_account_id,
            ProfileLink.withdrawn_delivery_id.is_not(None),
            ProfileLink.withdrawn_list_id.is_not(None),
        )
    )
    with reading() as session:
        for person_id, list_id in session.execute(statement.where(among(session, ProfileLink.person_id, ids))):
            found[person_id].add(str(list_id))
    return found


def note(session: Session, run: Run, person_ids: Iterable[int], list_id: str | None) -> None:
    """Subscribes to this list are about to be sent: whatever was withdrawn from it before counts no longer."""
    now = clock.now()
    rows = [{**_key(run, person_id, list_id), "sent_at": now} for person_id in sorted(person_ids)]
    _write(session, rows, ["sent_at", "withdrawn_by", "withdrawn_at"])


def not_sent(session: Session, run: Run, before: Mapping[int, Sent | None], list_id: str | None) -> None:
    """Klaviyo certainly did not take these subscribes: everything is as before."""
    new = [person_id for person_id, sent in before.items() if sent is None]
    session.execute(delete(Signup).where(_account(run), _of(session, new, list_id)))
    _put_back(session, run, before, list_id)


def note_withdrawn(session: Session, run: Run, sent: Sequence[tuple[int, int, Sent]], list_id: str | None) -> None:
    """Withdrawals from this list are about to be sent: (person id, delivery id, the subscribe they take back)."""
    rows = [
        {**_key(run, person_id, list_id), "sent_at": signup.at, "withdrawn_by": delivery_id}
        for person_id, delivery_id, signup in sorted(sent, key=lambda row: row[0])
    ]
    _write(session, rows, ["withdrawn_by", "withdrawn_at"])


def withdrawn(session: Session, run: Run, delivery_of: Mapping[int, int], list_id: str | None) -> None:
    """Klaviyo took these withdrawals (person id -> delivery id): nobody sends them to this list again."""
    mine = (
        _account(run),
        _of(session, delivery_of, list_id),
        among(session, Signup.withdrawn_by, delivery_of.values()),
    )
    session.execute(update(Signup).where(*mine).values(withdrawn_at=clock.now()))


def not_withdrawn(session: Session, run: Run, before: Mapping[int, Sent | None], list_id: str | None) -> None:
    """Klaviyo certainly did not take these withdrawals."""
    _put_back(session, run, before, list_id)


def under_withdrawal(session: Session, run: Run, delivery_of: Mapping[int, int]) -> list[tuple[int, Sent]]:
    """(person id, subscribe) of those that these withdrawals (person id -> delivery id) were sent for."""
    theirs = (among(session, Signup.person_id, delivery_of), among(session, Signup.withdrawn_by, delivery_of.values()))
    rows = session.scalars(select(Signup).where(_account(run), *theirs)).all()
    return [(row.person_id, Sent(row.sent_at, row.list_id or None, row.withdrawn_by, row.withdrawn_at)) for row in rows]


def any_under_withdrawal(run: Run) -> ColumnElement[str | None]:
    """For a statement about profile links: a list (`""`: none) that the link's withdrawal was sent for, if any."""
    theirs = (Signup.person_id == ProfileLink.person_id, Signup.withdrawn_by == ProfileLink.withdrawn_delivery_id)
    found = select(func.max(Signup.list_id)).where(_account(run), *theirs)
    return found.correlate(ProfileLink).scalar_subquery()


def forget(session: Session, run: Run, left: Iterable[tuple[int, str | None]]) -> None:
    """Klaviyo shows that these people, `(person id, list)`, have left."""
    by_list: dict[str | None, list[int]] = defaultdict(list)
    for person_id, list_id in left:
        by_list[list_id].append(person_id)
    for list_id, person_ids in by_list.items():
        session.execute(delete(Signup).where(_account(run), _of(session, person_ids, list_id)))


def _account(run: Run) -> ColumnElement[bool]:
    return Signup.klaviyo_account_id == run.connection.klaviyo_account_id


def _of(session: Session, person_ids: Iterable[int], list_id: str | None) -> ColumnElement[bool]:
    return among(session, Signup.person_id, person_ids) & (Signup.list_id == (list_id or ""))


def _key(run: Run, person_id: int, list_id: str | None) -> dict[str, object]:
    account_id = run.connection.klaviyo_account_id
    nothing: dict[str, object] = {"withdrawn_by": None, "withdrawn_at": None}
    return {"person_id": person_id, "klaviyo_account_id": account_id, "list_id": list_id or "", **nothing}


def _write(session: Session, rows: Sequence[dict[str, object]], changed: Sequence[str]) -> None:
    if rows:
        session.execute(upsert(session, SIGNUPS, key=KEY, update=changed), rows)


def _put_back(session: Session, run: Run, before: Mapping[int, Sent | None], list_id: str | None) -> None:
    """As an update: of whoever was erased meanwhile nothing is written again."""
    account_id = run.connection.klaviyo_account_id
    rows = [
        {
            "person": person_id,
            "account": account_id,
            "list": list_id or "",
            "at": sent.at,
            "by": sent.withdrawn_by,
            "taken_at": sent.withdrawn_at,
        }
        for person_id, sent in sorted(before.items(), key=lambda row: row[0])
        if sent is not None
    ]
    if rows:
        session.connection().execute(_AS_BEFORE, rows)
