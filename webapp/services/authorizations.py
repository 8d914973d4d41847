"""OAuth attempts: begun by a person for a purpose, consumed once, ending in a connection or in a plain sentence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import requests
from sqlalchemy import delete
from sqlalchemy.orm import Session as DatabaseSession

from webapp import clock
from webapp.crypto import digest, new_secret
from webapp.database import writing
from webapp.extensions import key_ring, settings
from webapp.klaviyo import parse, payloads
from webapp.klaviyo.client import KlaviyoClient, new_session
from webapp.klaviyo.oauth import OAuthProblem, TokenSet, new_verifier
from webapp.klaviyo.scopes import ASKED
from webapp.models import Authorization, Connection, ConnectionState, Purpose, Session, Store
from webapp.services import audit, connections, grants, lanes, workspaces
from webapp.services.connections import Move, Refusal

LIFE = timedelta(minutes=10)
ACCOUNT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the person goes on and what they are told."""

    workspace_id: int
    sentence: str
    connected: bool


def begin(
    session_row: Session,
    workspace_id: int,
    purpose: Purpose,
    *,
    store_id: int | None = None,
    connection_id: int | None = None,
) -> str:
    """A new attempt; the address at Klaviyo to send the person to. Raises Refusal."""
    state, verifier, now = new_secret(), new_verifier(), clock.now()
    with writing() as session:
        if purpose is Purpose.CONNECT:
            connections.check_add(session, workspace_id, store_id)
            _check_store(session, workspace_id, store_id)
        session.execute(delete(Authorization).where(Authorization.expires_at < now))
        hashed = digest(state)
        session.add(
            Authorization(
                state_hash=hashed,
                session_id=session_row.id,
                user_id=session_row.user_id,
                workspace_id=workspace_id,
                purpose=purpose,
                store_id=store_id,
                connection_id=connection_id,
                verifier=key_ring().encrypt(verifier, row=f"authorization:{hashed}", field="verifier"),
                created_at=now,
                expires_at=now + LIFE,
            )
        )
    return grants.app().authorize(state, verifier, ASKED)


def _check_store(session: DatabaseSession, workspace_id: int, store_id: int | None) -> None:
    store = session.get(Store, store_id) if store_id is not None else None
    if store_id is not None and (store is None or store.workspace_id != workspace_id):
        raise Refusal("Choose one of this workspace's stores.")


def consume(state: str, session_row: Session) -> Authorization | None:
    """The attempt of a state, removed before anything of it is looked at; None unless it is this browser's."""
    with writing() as session:
        statement = delete(Authorization).where(Authorization.state_hash == digest(state)).returning(Authorization)
        found = session.scalar(statement)
    if found is None or found.expires_at < clock.now() or found.session_id != session_row.id:
        return None
    return found


def finish(attempt: Authorization, code: str) -> Outcome:
    """Exchange the code, see whose account it is, and connect. Raises Refusal with what to do."""
    sealed = attempt.verifier
    verifier = key_ring().decrypt(sealed, row=f"authorization:{attempt.state_hash}", field="verifier")
    try:
        tokens = grants.app().exchange(code, verifier)
    except OAuthProblem as problem:
        if problem.ended:
            raise Refusal("Klaviyo no longer accepts this permission. Press Enable and allow it again.") from None
        raise Refusal("Klaviyo did not answer as it should. Nothing was changed; try again in a minute.") from None
    account_id, name = _account(tokens)
    with writing() as session:
        return _connect(session, attempt, tokens, account_id, name)


def _account(tokens: TokenSet) -> tuple[str, str]:
    http: requests.Session = new_session(1)
    try:
        client = KlaviyoClient(http, settings().klaviyo_api_url)
        answer = client.call(payloads.accounts(), tokens.access_token, seconds=ACCOUNT_SECONDS)
    finally:
        http.close()
    if answer.status == 403 and answer.is_json:
        raise Refusal("Klaviyo does not let us see which account this is. Try again and allow everything asked.")
    if not answer.ok:
        raise Refusal("Klaviyo did not say which account this is. Nothing was changed; try again in a minute.")
    try:
        return parse.account(answer.json)
    except parse.UnexpectedAnswer:
        raise Refusal("Klaviyo did not say which account this is. Nothing was changed; try again.") from None


def _connect(session: DatabaseSession, attempt: Authorization, tokens: TokenSet, account_id: str, name: str) -> Outcome:
    present = connections.live(session, attempt.workspace_id)
    same = next((row for row in present if row.klaviyo_account_id == account_id), None)
    if attempt.purpose is Purpose.RECONNECT:
        return _reconnect(session, attempt, tokens, same, name)
    if same is not None:
        grants.store(session, same.id, tokens)
        connections.make_move(session, same, Move.RECONNECT, actor_id=attempt.user_id)
        where = _store_name(session, same.store_id)
        return Outcome(
            attempt.workspace_id, f"{name} is connected already, for {where}. Choose another account.", False
        )
    connections.check_add(session, attempt.workspace_id, attempt.store_id)
    now = clock.now()
    made = Connection(
        workspace_id=attempt.workspace_id,
        store_id=attempt.store_id,
        klaviyo_account_id=account_id,
        account_name=name,
        state=ConnectionState.ACTIVE,
        state_at=now,
        created_by=attempt.user_id,
        created_at=now,
    )
    session.add(made)
    session.flush()
    lanes.create_for(session, attempt.workspace_id, made.id)
    grants.store(session, made.id, tokens)
    workspaces.changed(session, attempt.workspace_id)
    audit.record(
        session,
        workspace_id=attempt.workspace_id,
        actor_id=attempt.user_id,
        action="connection.connected",
        subject=("connection", made.id),
        after={"account": account_id, "scopes": sorted(tokens.scopes)},
    )
    return Outcome(attempt.workspace_id, f"{name} is connected.", True)


def _reconnect(
    session: DatabaseSession, attempt: Authorization, tokens: TokenSet, same: Connection | None, name: str
) -> Outcome:
    wanted = session.get(Connection, attempt.connection_id)
    if wanted is None or not wanted.is_live:
        raise Refusal("That connection has been disconnected meanwhile. Add a new one.")
    if same is None or same.id != wanted.id:
        if same is not None:
            grants.store(session, same.id, tokens)
            connections.make_move(session, same, Move.RECONNECT, actor_id=attempt.user_id)
        sentence = (
            f"This connection belongs to {wanted.account_name}, and you chose {name}. Nothing was changed; "
            f"reconnect and choose {wanted.account_name}."
        )
        return Outcome(attempt.workspace_id, sentence, False)
    grants.store(session, wanted.id, tokens)
    connections.make_move(session, wanted, Move.RECONNECT, actor_id=attempt.user_id)
    return Outcome(attempt.workspace_id, f"{name} is connected again. What waited goes out now.", True)


def _store_name(session: DatabaseSession, store_id: int | None) -> str:
    store = session.get(Store, store_id) if store_id is not None else None
    return store.name if store else "no store yet"
