"""What the tasks lane does: what waited in a disconnected connection is settled in bites, then its grant is revoked."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from jobs import settle
from jobs.claim import Claim, connection_of, guard
from webapp.catalogue.reasons import Reason, Status
from webapp.database import reading, run_writing
from webapp.models import Connection, ConnectionState, Delivery, Grant
from webapp.services import grants

BITE = 1000


def settle_disconnected(held: Claim) -> bool:
    """One bite of a disconnected connection; whether more is to do."""
    with reading() as session:
        connection = connection_of(session, held)
    if connection.is_live:
        return False
    if run_writing(lambda session: _bite(session, held, connection)):
        return True
    _revoke(connection)
    return False


def _bite(session: Session, held: Claim, connection: Connection) -> int:
    guard(session, held)
    statement = (
        select(Delivery.id, Delivery.kind)
        .where(Delivery.connection_id == connection.id, Delivery.status == Status.WAITING)
        .limit(BITE)
    )
    rows = session.execute(statement).all()
    for kind in sorted({row.kind for row in rows}):
        results = {row.id: settle.skipped(Reason.DISCONNECTED) for row in rows if row.kind == kind}
        settle.settle(session, connection, kind, results)
    return len(rows)


def _revoke(connection: Connection) -> None:
    """Revoking one grant probably uninstalls the app for the whole account: only where nobody else has it live."""
    with reading() as session:
        others = session.scalar(
            select(Connection.id).where(
                Connection.klaviyo_account_id == connection.klaviyo_account_id,
                Connection.state != ConnectionState.DISCONNECTED,
            )
        )
        grant = session.scalar(select(Grant).where(Grant.connection_id == connection.id))
    if grant is None:
        return
    if others is None:
        grants.app().revoke(grants.refresh_token(grant))  # best effort: the tokens are deleted whatever it says
    run_writing(lambda session: session.execute(delete(Grant).where(Grant.id == grant.id)))
