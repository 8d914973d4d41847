"""OAuth attempts: begun by a person for a purpose, consumed once, ending in a connection or in a plain sentence."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DatabaseSession

from webapp import clock
from webapp.crypto import digest, new_secret
from webapp.database import run_writing, writing
from webapp.extensions import key_ring, settings
from webapp.klaviyo import endpoints, parse, payloads, scopes
from webapp.klaviyo.answers import Answer, Reached
from webapp.klaviyo.client import KlaviyoClient, new_session
from webapp.klaviyo.oauth import OAuthProblem, TokenSet, new_verifier
from webapp.klaviyo.scopes import ASKED
from webapp.models import Authorization, Connection, ConnectionState, Purpose, Session, Store
from webapp.services import audit, lanes
from webapp.services.connections import lifecycle, stopped
from webapp.services.connections.lifecycle import Move, Refusal
from webapp.services.oauth import grants, scope_matrix
from webapp.services.workspaces import tenancy

LIFE = timedelta(minutes=10)
ACCOUNT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the person is told, whether something was connected, and whether only part of it works."""

    sentence: str
    connected: bool
    is_partly: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """The Klaviyo account that somebody chose, and what it granted."""

    account_id: str
    name: str
    tokens: TokenSet


def begin(
    session_row: Session,
    workspace_id: int,
    purpose: Purpose,
    *,
    store_id: int | None = None,
    connection_id: int | None = None,
) -> str:
    """A new attempt; the address at Klaviyo to send the person to. Raises Refusal, LookupError."""
    state, verifier, now = new_secret(), new_verifier(), clock.now()

    def work(session: DatabaseSession) -> None:
        if connection_id is None:
            lifecycle.check_add(session, workspace_id, store_id)
            _check_store(session, workspace_id, store_id)
        else:
            wanted = lifecycle.own(session, workspace_id, connection_id)
            lifecycle.check_move(wanted, Move.REPLACE if purpose is Purpose.REPLACE else Move.RECONNECT)
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

    run_writing(work)
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
    chosen = Chosen(account_id, name, tokens)
    try:
        return _settled(attempt, chosen)
    except IntegrityError:
        # Two answers of Klaviyo at the same instant: the other one is there now, and is seen this time.
        return _settled(attempt, chosen)


def _settled(attempt: Authorization, chosen: Chosen) -> Outcome:
    """The code is spent by now, so a deadlock with those who deliver is no reason to send anybody back to Klaviyo."""
    purposes = {Purpose.CONNECT: _connect, Purpose.RECONNECT: _reconnect, Purpose.REPLACE: _replace}
    return run_writing(lambda session: purposes[attempt.purpose](session, attempt, chosen))


def _ask_account(client: KlaviyoClient, token: str) -> Answer:
    """Klaviyo allows one such call a second: a person who comes back twice in a second is not turned away for that."""
    end = time.monotonic() + ACCOUNT_SECONDS
    while True:
        answer = client.call(payloads.accounts(), token, seconds=end - time.monotonic())
        wait = float(answer.retry_after or 1) + random.random()  # noqa: S311 - jitter
        passes = answer.status == 429 or answer.reached is Reached.NOT_SENT or (answer.status or 0) >= 500
        if not passes or time.monotonic() + wait + 1 > end:
            return answer
        time.sleep(wait)


def _account(tokens: TokenSet) -> tuple[str, str]:
    with new_session(1) as http:
        answer = _ask_account(KlaviyoClient(http, settings().klaviyo_api_url), tokens.access_token)
    if answer.status == 403 and answer.is_json:
        raise Refusal("Klaviyo does not let us see which account this is. Try again and allow everything asked.")
    if not answer.ok:
        raise Refusal("Klaviyo did not say which account this is. Nothing was changed; try again in a minute.")
    try:
        return parse.account(answer.json)
    except parse.UnexpectedAnswer:
        raise Refusal("Klaviyo did not say which account this is. Nothing was changed; try again.") from None


def _same(session: DatabaseSession, attempt: Authorization, chosen: Chosen) -> Connection | None:
    """The workspace's live connection with the chosen account."""
    present = lifecycle.live(session, attempt.workspace_id)
    return next((row for row in present if row.klaviyo_account_id == chosen.account_id), None)


def _same_or_room(session: DatabaseSession, attempt: Authorization, chosen: Chosen) -> Connection | None:
    """The live connection with the chosen account; where there is none, one more may be added. Raises Refusal.

    Another answer of Klaviyo's may have come between the two questions: its connection is no reason to refuse this one.
    """
    same = _same(session, attempt, chosen)
    if same is None:
        try:
            lifecycle.check_add(session, attempt.workspace_id, attempt.store_id)
        except Refusal:
            same = _same(session, attempt, chosen)
            if same is None:
                raise
    return same


def _connect(session: DatabaseSession, attempt: Authorization, chosen: Chosen) -> Outcome:
    same = _same_or_room(session, attempt, chosen)
    if same is not None:
        needed = same.state is ConnectionState.NEEDS_REAUTHORIZATION
        _take_grant(session, attempt, same, chosen)
        if needed:
            return _connected_again(session, same, chosen)
        came = f"{chosen.name} is connected already, for {_store_name(session, same.store_id)}."
        return Outcome(f"{came} Choose another account.{_what_is_off(chosen)}", False)
    now = clock.now()
    made = Connection(
        workspace_id=attempt.workspace_id,
        store_id=attempt.store_id,
        klaviyo_account_id=chosen.account_id,
        account_name=chosen.name,
        state=ConnectionState.ACTIVE,
        state_at=now,
        created_by=attempt.user_id,
        created_at=now,
    )
    session.add(made)
    session.flush()
    lanes.create_for(session, attempt.workspace_id, made.id)
    _store_grant(session, made, chosen)
    tenancy.changed(session, attempt.workspace_id)
    audit.record(
        session,
        workspace_id=attempt.workspace_id,
        actor_id=attempt.user_id,
        action="connection.connected",
        subject=("connection", made.id),
        after={"account": chosen.account_id, "scopes": sorted(chosen.tokens.scopes)},
    )
    off = _what_is_off(chosen)
    return Outcome(f"{chosen.name} is connected.{off}", True, bool(off))


def _reconnect(session: DatabaseSession, attempt: Authorization, chosen: Chosen) -> Outcome:
    wanted, same = _wanted(session, attempt), _same(session, attempt, chosen)
    if same is None or same.id != wanted.id:
        came = "Nothing was changed."
        if same is not None:
            _take_grant(session, attempt, same, chosen)
            where = _store_name(session, same.store_id)
            came = f"Nothing was changed here. The connection of {where} has the new access.{_what_is_off(chosen)}"
        sentence = f"This connection belongs to {wanted.account_name}, and you chose {chosen.name}. {came}"
        return Outcome(f"{sentence} Reconnect and choose {wanted.account_name}.", False)
    _take_grant(session, attempt, wanted, chosen)
    return _connected_again(session, wanted, chosen)


def _replace(session: DatabaseSession, attempt: Authorization, chosen: Chosen) -> Outcome:
    wanted, same = _wanted(session, attempt), _same(session, attempt, chosen)
    if same is not None:
        needed = same.state is ConnectionState.NEEDS_REAUTHORIZATION
        _take_grant(session, attempt, same, chosen)
        came = f"You chose {chosen.name} again, so nothing was replaced."
        if same.id != wanted.id:
            where = _store_name(session, same.store_id)
            came = f"{chosen.name} is connected already, for {where}. Nothing was replaced."
        more = f" {_connected_again(session, same, chosen).sentence}" if needed else _what_is_off(chosen)
        return Outcome(came + more, False)
    before = wanted.account_name
    lifecycle.replace(session, wanted, chosen.account_id, chosen.name, attempt.user_id)
    _store_grant(session, wanted, chosen)
    sentence = (
        f"{chosen.name} has taken the place of {before}. What waited for {before} is skipped now; "
        "whatever comes from here on goes to the new account."
    )
    paused = f" {stopped.STAYS_PAUSED}" if wanted.is_paused else ""
    off = _what_is_off(chosen)
    return Outcome(sentence + paused + off, True, bool(off))


def _connected_again(session: DatabaseSession, connection: Connection, chosen: Chosen) -> Outcome:
    """What is said of a connection that has its access back, whichever way it came."""
    goes_on = stopped.goes_on(connection, stopped.waiting(session, connection, chosen.tokens.scopes))
    off = _what_is_off(chosen)
    return Outcome(f"{chosen.name} is connected again. {goes_on}{off}", True, bool(off))


def _wanted(session: DatabaseSession, attempt: Authorization) -> Connection:
    wanted = session.get(Connection, attempt.connection_id)
    if wanted is None or not wanted.is_live:
        raise Refusal("That connection has been disconnected meanwhile. Add a new one.")
    return wanted


def _take_grant(session: DatabaseSession, attempt: Authorization, connection: Connection, chosen: Chosen) -> None:
    """A connection goes on with the fresh grant of its account."""
    _store_grant(session, connection, chosen)
    connection.account_name = chosen.name
    lifecycle.make_move(session, connection, Move.RECONNECT, actor_id=attempt.user_id)


def _store_grant(session: DatabaseSession, connection: Connection, chosen: Chosen) -> None:
    grants.store(session, connection.id, chosen.tokens)
    call = endpoints.ACCOUNTS
    account = connection.klaviyo_account_id
    scope_matrix.note(session, connection.id, call.scopes, call.name, proven=True, account=account)


def _what_is_off(chosen: Chosen) -> str:
    """What does not work with the scopes that were granted; nothing where all does."""
    titles = scopes.titles(scopes.missing(chosen.tokens.scopes))
    if not titles:
        return ""
    return f" Klaviyo granted less than we asked for, so this stays off: {titles}. Scopes says why."


def _store_name(session: DatabaseSession, store_id: int | None) -> str:
    store = session.get(Store, store_id) if store_id is not None else None
    return store.name if store else "no store yet"
