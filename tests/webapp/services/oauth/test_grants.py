"""Tokens against the sandbox, in every reading of refreshing and of allowing again that it can play."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import delete, select, update

from tests.apps import lent_app
from tests.rows import Rows
from tests.sandbox_process import SandboxProcess
from webapp import clock
from webapp.database import reading, run_writing, writing
from webapp.klaviyo.oauth import TokenSet
from webapp.models import Connection, ConnectionState, Grant
from webapp.services.connections import lifecycle
from webapp.services.oauth import grants

TOKENS = "POST /oauth/token"


@pytest.fixture(scope="module", params=["keeps", "rotates"])
def refreshing(request: pytest.FixtureRequest) -> Iterator[SandboxProcess]:
    """A sandbox that keeps refresh tokens, and one that rotates them and detects reuse."""
    with SandboxProcess("--memory", "--limits", "off", "--refresh", request.param) as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def any_app(request: pytest.FixtureRequest, refreshing: SandboxProcess) -> Iterator[Flask]:
    """An app on either database, speaking to that sandbox."""
    refreshing.reset()
    with lent_app(request.param, SANDBOX_PORT=str(refreshing.port)) as lent:
        yield lent


@pytest.fixture
def rows(any_app: Flask) -> Rows:
    return Rows()


def connected(rows: Rows, sandbox: SandboxProcess, account: str = "ACCTSE") -> Connection:
    """A connection with a living grant of the account."""
    made = rows.connection(rows.workspace(), klaviyo_account_id=account)
    granted = sandbox.grant(account)
    with writing() as session:
        session.execute(delete(Grant).where(Grant.connection_id == made.id))
    rows.grant(
        made,
        access_token=granted["access_token"],
        refresh_token=granted["refresh_token"],
        scopes=granted["scope"],
    )
    return made


def change(connection: Connection, **values: object) -> None:
    with writing() as session:
        session.execute(update(Grant).where(Grant.connection_id == connection.id).values(**values))


def read(connection: Connection) -> Grant:
    with reading() as session:
        return session.scalars(select(Grant).where(Grant.connection_id == connection.id)).one()


def lives(sandbox: SandboxProcess, token: str) -> bool:
    """Whether Klaviyo takes an access token."""
    headers = {"Authorization": f"Bearer {token}", "revision": "2026-07-15"}
    return sandbox.session.get(f"{sandbox.url}/api/accounts", headers=headers, timeout=10).status_code == 200


def test_a_token_that_runs_out_is_refreshed_and_one_that_does_not_is_not(
    rows: Rows, refreshing: SandboxProcess
) -> None:
    made = connected(rows, refreshing)
    first = grants.usable(made.id)
    assert refreshing.requests(TOKENS) == 0
    change(made, expires_at=clock.now() + timedelta(seconds=60))
    second = grants.usable(made.id)
    assert second.access_token != first.access_token
    assert (second.version, second.scopes) == (first.version + 1, first.scopes)
    assert lives(refreshing, second.access_token)
    assert grants.usable(made.id) == second
    assert refreshing.requests(TOKENS) == 1


def test_many_who_need_it_at_the_same_instant_make_one_request(
    any_app: Flask, rows: Rows, refreshing: SandboxProcess
) -> None:
    made = connected(rows, refreshing)
    change(made, expires_at=clock.now())
    barrier = threading.Barrier(8)
    found: list[grants.UsableGrant] = []

    def ask() -> None:
        with any_app.app_context():
            barrier.wait()
            found.append(grants.usable(made.id))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert len({each.access_token for each in found}) == 1
    assert refreshing.requests(TOKENS) == 1
    assert read(made).version == found[0].version


def test_it_refreshes_over_and_over(rows: Rows, refreshing: SandboxProcess) -> None:
    made = connected(rows, refreshing)
    for _ in range(4):
        change(made, expires_at=clock.now())
        assert lives(refreshing, grants.usable(made.id).access_token)
    grant = read(made)
    assert (grant.version, grant.refresh_failures, grant.refresh_owner) == (5, 0, None)


def test_a_token_refused_before_its_time_is_refreshed_once(rows: Rows, refreshing: SandboxProcess) -> None:
    made = connected(rows, refreshing)
    before = grants.usable(made.id)
    refreshing.expire("ACCTSE")
    after = grants.usable(made.id, newer_than=before.version)
    assert lives(refreshing, after.access_token)
    # Somebody else was refused the same old one: the newer is there already.
    assert grants.usable(made.id, newer_than=before.version) == after
    assert refreshing.requests(TOKENS) == 1


def test_an_uninstall_is_noticed_within_a_day_though_the_token_is_good(rows: Rows, refreshing: SandboxProcess) -> None:
    made = connected(rows, refreshing)
    refreshing.uninstall("ACCTSE")
    change(made, expires_at=clock.now() + timedelta(hours=9), refreshed_at=clock.now() - timedelta(hours=19))
    assert grants.usable(made.id)
    change(made, refreshed_at=clock.now() - grants.DAILY)
    with pytest.raises(grants.GrantEnded):
        grants.usable(made.id)


@pytest.mark.parametrize(("kind", "more"), [("429", {"retry_after": 3}), ("503", {}), ("html-403", {}), ("reset", {})])
def test_what_may_pass_ends_no_grant(rows: Rows, refreshing: SandboxProcess, kind: str, more: dict[str, int]) -> None:
    made = connected(rows, refreshing)
    change(made, expires_at=clock.now())
    refreshing.fault(kind, endpoint=TOKENS, times=1, **more)
    with pytest.raises(grants.GrantUnavailable) as unavailable:
        grants.usable(made.id)
    assert unavailable.value.retry_seconds > 0
    assert read(made).refresh_failures == 1
    assert lives(refreshing, grants.usable(made.id).access_token)
    assert read(made).refresh_failures == 0


def test_a_refresh_killed_before_it_was_stored_is_tried_again(rows: Rows, refreshing: SandboxProcess) -> None:
    """Where tokens rotate the old one is spent by then: that ends the grant and nothing else; a person reconnects."""
    made = connected(rows, refreshing)
    old = grants.refresh_token(read(made))
    grants.app().refresh(old)  # the answer comes, and the process dies before storing it
    change(made, expires_at=clock.now(), refresh_owner="a dead process", refresh_until=clock.now())
    if "rotates" in refreshing.options:
        with pytest.raises(grants.GrantEnded) as ended:
            grants.usable(made.id)
        assert ended.value.cause == grants.INTERRUPTED
    else:
        assert lives(refreshing, grants.usable(made.id).access_token)


@pytest.mark.parametrize(("days", "cause"), [(1, grants.REMOVED), (100, grants.EXPIRED)])
def test_why_a_grant_ended_is_told_by_when_it_was_last_good(
    rows: Rows, refreshing: SandboxProcess, days: int, cause: str
) -> None:
    made = connected(rows, refreshing)
    change(made, expires_at=clock.now(), refreshed_at=clock.now() - timedelta(days=days))
    refreshing.uninstall("ACCTSE")
    with pytest.raises(grants.GrantEnded) as ended:
        grants.usable(made.id)
    assert ended.value.cause == cause


def test_a_lease_of_a_dead_process_is_waited_out(rows: Rows, refreshing: SandboxProcess) -> None:
    made = connected(rows, refreshing)
    soon = clock.now() + timedelta(seconds=1)
    change(made, expires_at=clock.now(), refresh_owner="a dead process", refresh_until=soon)
    assert lives(refreshing, grants.usable(made.id).access_token)
    assert clock.now() > soon


def test_an_old_refresh_that_ends_does_not_end_the_grant_that_came_meanwhile(
    rows: Rows, refreshing: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = connected(rows, refreshing)
    change(made, expires_at=clock.now())
    refreshing.uninstall("ACCTSE")
    app = grants.app()

    def refresh_while_somebody_reconnects(_app: object, token: str, _deadline: float) -> TokenSet:
        granted = refreshing.grant("ACCTSE")
        tokens = TokenSet(granted["access_token"], granted["refresh_token"], 3600, frozenset(granted["scope"].split()))
        run_writing(lambda session: grants.store(session, made.id, tokens))
        return original(app, token)

    original = type(app).refresh
    monkeypatch.setattr(type(app), "refresh", refresh_while_somebody_reconnects)
    with pytest.raises(grants.GrantUnavailable):
        grants.usable(made.id)
    monkeypatch.undo()
    assert lives(refreshing, grants.usable(made.id).access_token)


def test_a_refusal_that_is_told_late_does_not_end_what_was_connected_anew(
    rows: Rows, refreshing: SandboxProcess
) -> None:
    made = connected(rows, refreshing)
    change(made, expires_at=clock.now())
    refreshing.uninstall("ACCTSE")
    with pytest.raises(grants.GrantEnded) as ended:
        grants.usable(made.id)
    granted = refreshing.grant("ACCTSE")
    tokens = TokenSet(granted["access_token"], granted["refresh_token"], 3600, frozenset(granted["scope"].split()))
    run_writing(lambda session: grants.store(session, made.id, tokens))
    lifecycle.lose_grant(made.id, grants.REMOVED, ended.value.version)
    with reading() as session:
        assert session.get_one(Connection, made.id).state is ConnectionState.ACTIVE
    lifecycle.lose_grant(made.id, grants.REMOVED, read(made).version)
    with reading() as session:
        assert session.get_one(Connection, made.id).state is ConnectionState.NEEDS_REAUTHORIZATION


@pytest.mark.parametrize("reading_of", ["keeps", "replaces"])
def test_allowing_an_account_again_elsewhere(reading_of: str) -> None:
    """Where a new grant replaces the earlier one of an account, whoever had that one is asked again; else both live."""
    sandbox_options = ("--memory", "--limits", "off", "--reauthorize", reading_of)
    with SandboxProcess(*sandbox_options) as sandbox, lent_app("sqlite", SANDBOX_PORT=str(sandbox.port)):
        rows = Rows()
        first = connected(rows, sandbox)
        second = connected(rows, sandbox)
        for each in (first, second):
            change(each, expires_at=clock.now())
        if reading_of == "replaces":
            with pytest.raises(grants.GrantEnded):
                grants.usable(first.id)
        else:
            assert lives(sandbox, grants.usable(first.id).access_token)
        assert lives(sandbox, grants.usable(second.id).access_token)
