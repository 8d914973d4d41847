"""The life of a connection: the table of legal moves, each with its audit entry and its lanes in one transaction.

It locks the lanes before the connection, as whoever delivers does: the other way round each waited for the other until
the database ended one of them. Where something else did that, it is tried again.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.incidents import Incident
from webapp.catalogue.reasons import Reason
from webapp.database import run_writing
from webapp.extensions import db
from webapp.models import Alert, Batch, Connection, ConnectionState, ScopeProof
from webapp.services import alerts, audit, lanes
from webapp.services.connections import settling
from webapp.services.oauth import grants
from webapp.services.people import elsewhere
from webapp.services.workspaces import tenancy

ACCESS_LOST = Incident.NEEDS_REAUTHORIZATION
ENDED = "This connection has been disconnected. Add a new one."


class Move(StrEnum):
    """What can happen to a connection."""

    RECONNECT = "reconnect"
    REPLACE = "replace"
    LOSE_GRANT = "lose_grant"
    DISCONNECT = "disconnect"


MOVES: dict[tuple[ConnectionState, Move], ConnectionState] = {
    (ConnectionState.ACTIVE, Move.RECONNECT): ConnectionState.ACTIVE,
    (ConnectionState.NEEDS_REAUTHORIZATION, Move.RECONNECT): ConnectionState.ACTIVE,
    (ConnectionState.ACTIVE, Move.REPLACE): ConnectionState.ACTIVE,
    (ConnectionState.NEEDS_REAUTHORIZATION, Move.REPLACE): ConnectionState.ACTIVE,
    (ConnectionState.ACTIVE, Move.LOSE_GRANT): ConnectionState.NEEDS_REAUTHORIZATION,
    (ConnectionState.ACTIVE, Move.DISCONNECT): ConnectionState.DISCONNECTED,
    (ConnectionState.NEEDS_REAUTHORIZATION, Move.DISCONNECT): ConnectionState.DISCONNECTED,
}


class Refusal(Exception):
    """Why something cannot be done: a sentence that says what to do."""


class Stale(Exception):
    """Somebody else saved first."""


def get(workspace_id: int, connection_id: int) -> Connection | None:
    """A connection of this workspace; None for anybody else's."""
    statement = select(Connection).where(Connection.id == connection_id, Connection.workspace_id == workspace_id)
    return db.session.scalar(statement)


def live(session: Session, workspace_id: int) -> list[Connection]:
    """A workspace's live connections, oldest first."""
    statement = select(Connection).where(
        Connection.workspace_id == workspace_id, Connection.state != ConnectionState.DISCONNECTED
    )
    return list(session.scalars(statement.order_by(Connection.id)))


def taken_stores(workspace_id: int) -> set[int | None]:
    """The stores that have a live connection; None among them where one has no store yet."""
    return {connection.store_id for connection in live(db.session(), workspace_id)}


def check_add(session: Session, workspace_id: int, store_id: int | None) -> None:
    """Whether another connection may be made for a store. Raises Refusal."""
    present = live(session, workspace_id)
    if not present:
        return
    if any(connection.store_id is None for connection in present):
        raise Refusal("Give the first connection its store before you add another: press Edit in its row.")
    if store_id is None:
        raise Refusal("Choose the store this Klaviyo account belongs to.")
    if any(connection.store_id == store_id for connection in present):
        raise Refusal("This store has a Klaviyo account already. Disconnect that one first, or choose another store.")


def check_move(connection: Connection, move: Move) -> ConnectionState:
    """The state after `move`. Raises Refusal where it is not a legal one."""
    after = MOVES.get((connection.state, move))
    if after is None:
        raise Refusal(ENDED)
    return after


def make_move(
    session: Session,
    connection: Connection,
    move: Move,
    *,
    actor_id: int | None,
    cause: str | None = None,
    details: tuple[dict[str, str], dict[str, str]] = ({}, {}),
) -> None:
    """Take a legal move: state, audit entry, lanes and the workspace's version together."""
    before, after = connection.state, check_move(connection, move)
    connection.state, connection.state_cause = after, cause
    if before is not after:
        connection.state_at = clock.now()
    session.flush()
    if after is ConnectionState.ACTIVE:
        _close_alert(session, connection)
        go_on(session, connection)
    else:
        lanes.stop(session, connection.id)
    tenancy.changed(session, connection.workspace_id)
    audit.record(
        session,
        workspace_id=connection.workspace_id,
        actor_id=actor_id,
        action=f"connection.{move}",
        subject=("connection", connection.id),
        before={"state": before, **details[0]},
        after={"state": after, **({"cause": cause} if cause else {}), **details[1]},
    )


def go_on(session: Session, connection: Connection) -> None:
    """Start the lanes, where nothing speaks against it: what waited for a replaced account must be settled first.

    Whom the other accounts told of meanwhile is looked for then.
    """
    if connection.state is not ConnectionState.ACTIVE or connection.is_paused:
        return
    if not settling.is_replacing(session, connection.id):
        lanes.start(session, connection.id)
        elsewhere.go_on(session, connection.id)


def _close_alert(session: Session, connection: Connection) -> None:
    alerts.close_alert(session, connection.id, ACCESS_LOST)


def lose_grant(connection_id: int, cause: str, version: int | None = None) -> None:
    """Klaviyo no longer accepts our access: lanes stop, what waits keeps waiting, the owner is told once.

    `version`: the grant that was refused; where there is a newer one by now, somebody has reconnected meanwhile.
    """

    def work(session: Session) -> None:
        lanes.lock(session, connection_id)
        connection = session.get_one(Connection, connection_id, with_for_update=True)
        grant = grants.of(session, connection_id)
        is_newer = version is not None and grant is not None and grant.version != version
        if connection.state is not ConnectionState.ACTIVE or is_newer:
            return
        make_move(session, connection, Move.LOSE_GRANT, actor_id=None, cause=cause)
        alerts.open_alert(session, connection, ACCESS_LOST, cause)

    run_writing(work)


def pause(workspace_id: int, connection_id: int, actor_id: int | None, *, on: bool) -> None:
    """Pause or resume. Raises Refusal for a connection that is not live."""

    def work(session: Session) -> None:
        connection = own(session, workspace_id, connection_id)
        if not connection.is_live:
            raise Refusal(ENDED)
        if connection.is_paused is on:
            return  # somebody else pressed it first: who and why stay as they are
        connection.paused_at = clock.now() if on else None
        connection.paused_by = actor_id if on else None
        connection.paused_cause = None
        if on:
            lanes.stop(session, connection.id)
        else:
            connection.resumed_at = clock.now()
            alerts.close_alert(session, connection.id, Incident.PAUSED_FAILING)
            go_on(session, connection)
        tenancy.changed(session, workspace_id)
        audit.record(
            session,
            workspace_id=workspace_id,
            actor_id=actor_id,
            action="connection.paused" if on else "connection.resumed",
            subject=("connection", connection.id),
        )

    run_writing(work)


def pause_failing(session: Session, connection: Connection) -> None:
    """Pause a connection for which nothing has got through for two days; what waits keeps waiting."""
    if not connection.is_live or connection.is_paused:
        return
    connection.paused_at, connection.paused_by = clock.now(), None
    connection.paused_cause = Incident.PAUSED_FAILING
    lanes.stop(session, connection.id)
    tenancy.changed(session, connection.workspace_id)
    audit.record(
        session,
        workspace_id=connection.workspace_id,
        actor_id=None,
        action="connection.paused",
        subject=("connection", connection.id),
        after={"cause": Incident.PAUSED_FAILING},
    )


def own(session: Session, workspace_id: int, connection_id: int) -> Connection:
    """A connection of this workspace, locked for a change. Raises LookupError for anybody else's."""
    mine = (Connection.id == connection_id, Connection.workspace_id == workspace_id)
    if session.scalar(select(Connection.id).where(*mine)) is None:
        raise LookupError("no such connection")
    lanes.lock(session, connection_id)
    return session.scalars(select(Connection).where(*mine).with_for_update()).one()


def disconnect(workspace_id: int, connection_id: int, actor_id: int) -> None:
    """End a connection: lanes stop at once, tokens are deleted, history stays. What waits is settled by a worker.

    The grant is revoked by that worker too, and only where no other live connection of anybody has the account.
    """

    def work(session: Session) -> None:
        connection = own(session, workspace_id, connection_id)
        make_move(session, connection, Move.DISCONNECT, actor_id=actor_id)
        connection.disconnected_at = clock.now()
        settling.ask(session, connection, Reason.DISCONNECTED, actor_id)

    run_writing(work)


def replace(session: Session, connection: Connection, account_id: str, name: str, actor_id: int) -> None:
    """Another Klaviyo account takes this one's place; its grant is stored by the caller, after this.

    The lanes stop at once. A worker settles what waited up to now, forgets who was in the old account, revokes its
    grant where nobody else has the account, and then starts the lanes for what came after.
    """
    old_account, old_name = connection.klaviyo_account_id, connection.account_name
    grant = grants.of(session, connection.id)
    lanes.stop(session, connection.id)
    arguments = {"account": old_account, "name": old_name, "revoke": grant.refresh_token if grant is not None else None}
    settling.ask(session, connection, Reason.ACCOUNT_REPLACED, actor_id, **arguments)
    connection.klaviyo_account_id, connection.account_name = account_id, name
    connection.list_id = connection.list_name = connection.list_opt_in = connection.list_missing_at = None
    connection.previous_settings = None
    connection.row_version += 1
    connection.profiles_created = 0
    connection.last_delivered_at = None
    connection.resumed_at = clock.now()
    session.execute(delete(ScopeProof).where(ScopeProof.connection_id == connection.id))
    # Import jobs are the old account's: nobody asks the new one how they go.
    jobs = update(Batch).where(Batch.connection_id == connection.id, Batch.job_due_at.is_not(None))
    session.execute(jobs.values(job_due_at=None, members=None, finished_at=clock.now()))
    accounts = ({"account": old_account, "account_name": old_name}, {"account": account_id, "account_name": name})
    make_move(session, connection, Move.REPLACE, actor_id=actor_id, details=accounts)
    # What was wrong with the old account is over, which is no news to whoever just replaced it.
    now = clock.now()
    told = update(Alert).where(Alert.connection_id == connection.id, Alert.dismissed_at.is_(None))
    over = {
        name: func.coalesce(getattr(Alert, name), now) for name in ("closed_at", "open_mailed_at", "close_mailed_at")
    }
    session.execute(told.values(**over, dismissed_at=now))
