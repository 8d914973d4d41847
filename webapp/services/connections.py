"""The life of a connection: the table of legal moves, each with its audit entry and its lanes in one transaction."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import SyncBehavior
from webapp.database import writing
from webapp.extensions import db
from webapp.models import Alert, Connection, ConnectionState, Delivery, Store
from webapp.services import audit, lanes, tasks, workspaces


class Move(StrEnum):
    """What can happen to a connection."""

    RECONNECT = "reconnect"
    LOSE_GRANT = "lose_grant"
    DISCONNECT = "disconnect"


MOVES: dict[tuple[ConnectionState, Move], ConnectionState] = {
    (ConnectionState.ACTIVE, Move.RECONNECT): ConnectionState.ACTIVE,
    (ConnectionState.NEEDS_REAUTHORIZATION, Move.RECONNECT): ConnectionState.ACTIVE,
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
        raise Refusal("This connection has been disconnected. Add a new one.")
    return after


def make_move(
    session: Session, connection: Connection, move: Move, *, actor_id: int | None, cause: str | None = None
) -> None:
    """Take a legal move: state, audit entry, lanes and the workspace's version together."""
    before, after = connection.state, check_move(connection, move)
    connection.state, connection.state_cause = after, cause
    if before is not after:
        connection.state_at = clock.now()
    connection.row_version += 1
    session.flush()
    if after is ConnectionState.ACTIVE:
        _close_alert(session, connection)
        if not connection.is_paused:
            lanes.start(session, connection.id)
    else:
        lanes.stop(session, connection.id)
    workspaces.changed(session, connection.workspace_id)
    audit.record(
        session,
        workspace_id=connection.workspace_id,
        actor_id=actor_id,
        action=f"connection.{move}",
        subject=("connection", connection.id),
        before={"state": before},
        after={"state": after, "cause": cause},
    )


def _close_alert(session: Session, connection: Connection) -> None:
    statement = select(Alert).where(Alert.connection_id == connection.id, Alert.closed_at.is_(None))
    for alert in session.scalars(statement):
        alert.closed_at = clock.now()


def lose_grant(connection_id: int, cause: str) -> None:
    """Klaviyo no longer accepts our access: lanes stop, what waits keeps waiting, the owner is told once."""
    with writing() as session:
        connection = session.get_one(Connection, connection_id)
        if connection.state is not ConnectionState.ACTIVE:
            return
        make_move(session, connection, Move.LOSE_GRANT, actor_id=None, cause=cause)
        session.add(
            Alert(
                workspace_id=connection.workspace_id,
                connection_id=connection.id,
                cause=cause,
                opened_at=clock.now(),
            )
        )


def pause(workspace_id: int, connection_id: int, actor_id: int | None, *, on: bool) -> None:
    """Pause or resume. Raises Refusal for a connection that is not live."""
    with writing() as session:
        connection = _own(session, workspace_id, connection_id)
        if not connection.is_live:
            raise Refusal("This connection has been disconnected. Add a new one.")
        connection.paused_at = clock.now() if on else None
        connection.paused_by = actor_id if on else None
        connection.row_version += 1
        if on:
            lanes.stop(session, connection.id)
        elif connection.state is ConnectionState.ACTIVE:
            lanes.start(session, connection.id)
        audit.record(
            session,
            workspace_id=workspace_id,
            actor_id=actor_id,
            action="connection.paused" if on else "connection.resumed",
            subject=("connection", connection.id),
        )


def _own(session: Session, workspace_id: int, connection_id: int) -> Connection:
    statement = select(Connection).where(Connection.id == connection_id, Connection.workspace_id == workspace_id)
    connection = session.scalar(statement.with_for_update())
    if connection is None:
        raise LookupError("no such connection")
    return connection


def save(
    workspace_id: int,
    connection_id: int,
    actor_id: int,
    *,
    version: int,
    store_id: int | None,
    behavior: SyncBehavior,
) -> Connection:
    """Save what a person edited. Raises Stale, Refusal, LookupError."""
    with writing() as session:
        connection = _own(session, workspace_id, connection_id)
        if connection.row_version != version:
            raise Stale
        if not connection.is_live:
            raise Refusal("This connection has been disconnected. Add a new one.")
        _check_store(session, connection, store_id)
        before = {"store_id": connection.store_id, "sync_behavior": connection.sync_behavior}
        after = {"store_id": store_id, "sync_behavior": behavior}
        connection.store_id, connection.sync_behavior = store_id, behavior
        connection.previous_settings = before
        connection.row_version += 1
        workspaces.changed(session, workspace_id)
        audit.record(
            session,
            workspace_id=workspace_id,
            actor_id=actor_id,
            action="connection.edited",
            subject=("connection", connection.id),
            before=before,
            after=after,
        )
    return connection


def _check_store(session: Session, connection: Connection, store_id: int | None) -> None:
    others = [other for other in live(session, connection.workspace_id) if other.id != connection.id]
    if store_id is None:
        if others or connection.store_id is not None:
            raise Refusal("Choose the store this Klaviyo account belongs to.")
        return
    store = session.get(Store, store_id)
    if store is None or store.workspace_id != connection.workspace_id:
        raise Refusal("Choose one of this workspace's stores.")
    if any(other.store_id == store_id for other in others):
        raise Refusal("This store has another Klaviyo account already. Choose another store.")


def disconnect(workspace_id: int, connection_id: int, actor_id: int) -> None:
    """End a connection: lanes stop at once, tokens are deleted, history stays. What waits is settled by a worker.

    The grant is revoked by that worker too, and only where no other live connection of anybody has the account.
    """
    with writing() as session:
        connection = _own(session, workspace_id, connection_id)
        make_move(session, connection, Move.DISCONNECT, actor_id=actor_id)
        connection.disconnected_at = clock.now()
        settle_rest(session, connection, Reason.DISCONNECTED, actor_id)


def settle_rest(session: Session, connection: Connection, reason: Reason, actor_id: int | None) -> None:
    """Let a worker settle, in bites and with progress, what waits up to now."""
    last = session.scalar(select(func.max(Delivery.id)).where(Delivery.connection_id == connection.id)) or 0
    tasks.ask(
        session,
        connection.workspace_id,
        connection.id,
        "settle_rest",
        arguments={"reason": reason, "up_to": last},
        name="Settling what waited",
        actor_id=actor_id,
    )
