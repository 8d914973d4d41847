"""Incidents of a connection: opened once, closed with its recovery, told on the page and by mail.

One open alert per connection and cause, by a unique index: whoever opens it second changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.incidents import INCIDENTS, Incident
from webapp.database import affected, reading, writing
from webapp.dialects import db_now
from webapp.models import Alert, Connection, Membership, Role, User, Workspace
from webapp.upserts import insert_or_ignore

# A mail that could not be sent is tried again for so long.
MAIL_WITHIN = timedelta(days=7)
# Longer than sending one can take; so long, too, one that is refused rests.
CLAIMED_SECONDS = 300


def open_alert(session: Session, connection: Connection, cause: Incident, detail: str = "") -> bool:
    """Open an incident; whether it is new."""
    values = {
        "workspace_id": connection.workspace_id,
        "connection_id": connection.id,
        "cause": cause,
        "detail": detail,
        "opened_at": clock.now(),
    }
    present = select(Alert.id).where(
        Alert.connection_id == connection.id, Alert.cause == cause, Alert.closed_at.is_(None)
    )
    if session.scalar(present) is not None:
        return False
    return affected(session, insert_or_ignore(session, Alert.__table__).values(**values)) == 1


def close_alert(session: Session, connection_id: int, cause: Incident, *, tell: bool = True) -> bool:
    """It is over, which is told unless another incident takes its place; whether there was one."""
    statement = update(Alert).where(
        Alert.connection_id == connection_id, Alert.cause == cause, Alert.closed_at.is_(None)
    )
    now = clock.now()
    values = {"closed_at": now} if tell else {"closed_at": now, "close_mailed_at": now}
    return affected(session, statement.values(**values)) > 0


def open_causes(session: Session) -> dict[int, dict[str, Alert]]:
    """Connection id -> cause -> open alert."""
    found: dict[int, dict[str, Alert]] = {}
    for alert in session.scalars(select(Alert).where(Alert.closed_at.is_(None))):
        found.setdefault(alert.connection_id, {})[alert.cause] = alert
    return found


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail to be sent: to whom, and what it says. `opens`, `closes`: which of the two it tells; it may be both."""

    alert_id: int
    opens: bool
    closes: bool
    to: tuple[str, ...]
    subject: str
    text: str


def letters(public_url: str, now: datetime) -> list[Letter]:
    """Every mail that is due: of incidents that began or ended lately, and were not told by mail yet."""
    since = now - MAIL_WITHIN
    began = Alert.open_mailed_at.is_(None) & Alert.closed_at.is_(None) & (Alert.opened_at > since)
    ended = Alert.close_mailed_at.is_(None) & (Alert.closed_at > since)
    statement = (
        select(Alert, Connection, Workspace)
        .join(Connection, Connection.id == Alert.connection_id)
        .join(Workspace, Workspace.id == Alert.workspace_id)
        .where(began | ended, _unclaimed())
        .order_by(Alert.id)
        .limit(100)
    )
    with reading() as session:
        rows = session.execute(statement).all()
        owners = _owners(session, {workspace.id for _, _, workspace in rows})
    return [
        _letter(alert, connection, workspace, tuple(owners.get(workspace.id, ())), public_url)
        for alert, connection, workspace in rows
    ]


def _unclaimed() -> ColumnElement[bool]:
    return or_(Alert.mail_claimed_until.is_(None), Alert.mail_claimed_until <= db_now())


def claim(letter: Letter) -> bool:
    """Whether this process is to send it: of any number that found it due, one."""
    statement = update(Alert).where(Alert.id == letter.alert_id, *_untold(letter), _unclaimed())
    with writing() as session:
        return affected(session, statement.values(mail_claimed_until=db_now(CLAIMED_SECONDS))) == 1


def _untold(letter: Letter) -> list[ColumnElement[bool]]:
    columns = {Alert.open_mailed_at: letter.opens, Alert.close_mailed_at: letter.closes}
    return [column.is_(None) for column, is_told in columns.items() if is_told]


def unclaim(letter: Letter) -> None:
    """It could not be sent, and not because of what it is: whoever comes next may try."""
    with writing() as session:
        session.execute(update(Alert).where(Alert.id == letter.alert_id).values(mail_claimed_until=None))


def _owners(session: Session, workspace_ids: set[int]) -> dict[int, list[str]]:
    statement = (
        select(Membership.workspace_id, User.email)
        .join(User, User.id == Membership.user_id)
        .where(Membership.workspace_id.in_(workspace_ids), Membership.role == Role.OWNER, User.disabled_at.is_(None))
        .order_by(User.email)
    )
    found: dict[int, list[str]] = {}
    for workspace_id, email in session.execute(statement):
        found.setdefault(workspace_id, []).append(email)
    return found


def _letter(alert: Alert, connection: Connection, workspace: Workspace, to: tuple[str, ...], public_url: str) -> Letter:
    opens, closes = alert.open_mailed_at is None, alert.closed_at is not None
    page = f"{public_url}/w/{workspace.slug}/settings/integrations/klaviyo"
    parts = [is_closing for is_closing, is_told in ((False, opens), (True, closes)) if is_told]
    told = [sentence(alert, connection, is_closing=is_closing) for is_closing in parts]
    title = INCIDENTS[Incident(alert.cause)].title
    # An account's name is Klaviyo's word: a header has one line.
    subject = " ".join(f"{connection.account_name}: {title}{' is over' if closes else ''}".split())
    return Letter(alert.id, opens, closes, to, subject, "\n\n".join([*told, page]) + "\n")


def sentence(alert: Alert, connection: Connection, *, is_closing: bool) -> str:
    """What is told of an alert."""
    words = INCIDENTS[Incident(alert.cause)]
    text = words.closed if is_closing else words.opened
    return text.format(account=connection.account_name, detail=alert.detail)


def mailed(letter: Letter) -> None:
    """A letter was sent (or had nobody to go to): not again."""
    columns = {"open_mailed_at": letter.opens, "close_mailed_at": letter.closes}
    now = clock.now()
    values = {name: now for name, is_told in columns.items() if is_told}
    with writing() as session:
        session.execute(update(Alert).where(Alert.id == letter.alert_id).values(**values, mail_claimed_until=None))
