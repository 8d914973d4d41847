"""Each connection's column of the scope matrix: granted, missing, proven by a call or refused by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from flask import current_app
from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.extensions import db
from webapp.models import Connection, ConnectionState, Grant, ScopeProof
from webapp.upserts import upsert

NOTE_EVERY = timedelta(minutes=1)
Noted = dict[tuple[int, str | None, str], tuple[bool, datetime]]


class Evidence(StrEnum):
    """What we know of a scope of a connection. `proven`, `refused`: by a call that needs it, the later of the two."""

    MISSING = "missing"
    REFUSED = "refused"
    PROVEN = "proven"
    GRANTED = "granted"


@dataclass(frozen=True, slots=True)
class Known:
    """A scope, and the time and name of the call that proved or was refused it."""

    scope: str
    at: datetime | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A connection, its granted scopes and the proofs by scope."""

    connection: Connection
    granted: frozenset[str]
    proofs: dict[str, ScopeProof]

    def cell(self, row: Iterable[str]) -> dict[Evidence, list[Known]]:
        """The scopes of a row by what is known of them, the worst first."""
        found: dict[Evidence, list[Known]] = {evidence: [] for evidence in Evidence}
        for scope in row:
            evidence, known = self._known(scope)
            found[evidence].append(known)
        return {evidence: scopes for evidence, scopes in found.items() if scopes}

    def _known(self, scope: str) -> tuple[Evidence, Known]:
        proof = self.proofs.get(scope)
        if scope not in self.granted:
            return Evidence.MISSING, Known(scope)
        if proof is None:
            return Evidence.GRANTED, Known(scope)
        if proof.refused_at and (proof.proven_at is None or proof.refused_at > proof.proven_at):
            return Evidence.REFUSED, Known(scope, proof.refused_at, proof.refused_by)
        return Evidence.PROVEN, Known(scope, proof.proven_at, proof.proven_by)


def columns(workspace_id: int) -> list[Column]:
    """One for each live connection, oldest first."""
    statement = (
        select(Connection, Grant)
        .outerjoin(Grant, Grant.connection_id == Connection.id)
        .where(Connection.workspace_id == workspace_id, Connection.state != ConnectionState.DISCONNECTED)
        .order_by(Connection.id)
        .limit(50)
    )
    found = db.session.execute(statement).all()
    ids = [connection.id for connection, _ in found]
    proofs: dict[int, dict[str, ScopeProof]] = {}
    for proof in db.session.scalars(select(ScopeProof).where(ScopeProof.connection_id.in_(ids))):
        proofs.setdefault(proof.connection_id, {})[proof.scope] = proof
    return [
        Column(connection, grant.scope_set if grant else frozenset(), proofs.get(connection.id, {}))
        for connection, grant in found
    ]


def note(
    session: Session, connection_id: int, scopes: Iterable[str], call: str, *, proven: bool, account: str | None = None
) -> None:
    """Remember that a call was taken, or refused with a 403, for every scope it needs.

    At most once a minute each, unless it is news to this process; what another one noted meanwhile stands as long.
    `account`: the one that was called; of one that is no longer the connection's nothing is noted.
    """
    now, noted = clock.now(), _noted()
    keys = {scope: (connection_id, account, scope) for scope in sorted(scopes)}
    due = [scope for scope, key in keys.items() if _is_due(noted.get(key), now, proven=proven)]
    if not due or account not in {None, _account(session, connection_id)}:
        return
    name = "proven" if proven else "refused"
    columns_written = [f"{name}_at", f"{name}_by"]
    statement = upsert(session, ScopeProof.__table__, key=["connection_id", "scope"], update=columns_written)
    rows = [{"connection_id": connection_id, "scope": scope, f"{name}_at": now, f"{name}_by": call} for scope in due]
    session.connection().execute(statement, rows)
    noted |= {keys[scope]: (proven, now) for scope in due}


def _is_due(last: tuple[bool, datetime] | None, now: datetime, *, proven: bool) -> bool:
    return last is None or last[0] is not proven or now - last[1] >= NOTE_EVERY


def _account(session: Session, connection_id: int) -> str | None:
    return session.scalar(select(Connection.klaviyo_account_id).where(Connection.id == connection_id))


def _noted() -> Noted:
    """What this process noted last of a scope, and when. One an app, as a database is one an app."""
    found: Noted = current_app.extensions.setdefault("cevoid.scopes_noted", {})
    return found
