"""On PostgreSQL somebody changes a connection while a worker writes what it delivered, and each holds what the other
wants: the database ends one of them. It is tried again, and nobody is told that the database is away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import Update, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.apps import lent_app
from tests.processes import wait_for
from tests.rows import Rows
from tests.webapp.views.connection_shop import Shop, attempt
from tests.webapp.views.test_authorizations import klaviyo_says
from webapp import clock, database
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import ActivityType, Kind, SyncBehavior
from webapp.database import writing
from webapp.extensions import db
from webapp.forms.connections import Edit
from webapp.models import Connection, ConnectionState, Lane, LaneKind, Purpose
from webapp.services import lanes
from webapp.services.activities import ingest
from webapp.services.connections import authorizations, lifecycle, settings
from webapp.services.sharing import choices

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


@pytest.fixture
def app() -> Iterator[Flask]:
    with lent_app("postgresql") as lent:
        yield lent


@pytest.fixture
def shop(app: Flask, rows: Rows) -> Shop:
    return Shop(app, rows)


def while_delivered(shop: Shop, change: Callable[[], object]) -> None:
    """A worker holds the lanes and is about to write when the account was delivered to last."""
    lanes_held = update(Lane).where(Lane.connection_id == shop.first.id).values(failures=0)
    mine = update(Connection).where(Connection.id == shop.first.id)
    while_written(shop, change, lanes_held, mine.values(last_delivered_at=clock.now()))
    assert shop.read(shop.first).last_delivered_at is not None


def while_written(shop: Shop, change: Callable[[], object], first: Update, then: Update) -> None:
    """A worker has written `first`, and writes `then` as soon as somebody waits for it."""
    holds, failed = threading.Event(), []

    def is_waited_for() -> bool:
        with db.engines["read"].connect() as another:  # within a transaction it says the same each time
            return bool(another.scalar(WAITING))

    def write() -> None:
        with shop.app.app_context(), writing() as session:
            session.execute(first)
            holds.set()
            wait_for(is_waited_for, "somebody to wait for what was written", 10)
            session.execute(then)

    def worker() -> None:
        try:
            write()
        except Exception as problem:  # told where the test sees it
            failed.append(problem)

    thread = threading.Thread(target=worker)
    thread.start()
    try:
        assert holds.wait(10)
        change()
    finally:
        thread.join(30)
    assert failed == []


def test_pausing_and_resuming(shop: Shop) -> None:
    for on in (True, False):
        while_delivered(shop, lambda: lifecycle.pause(shop.workspace.id, shop.first.id, None, on=on))  # noqa: B023 - called in this turn
        assert shop.read(shop.first).is_paused is on


def test_disconnecting(shop: Shop) -> None:
    while_delivered(shop, lambda: lifecycle.disconnect(shop.workspace.id, shop.first.id, shop.owner_user.id))
    assert shop.read(shop.first).state is ConnectionState.DISCONNECTED


def test_losing_access(shop: Shop) -> None:
    while_delivered(shop, lambda: lifecycle.lose_grant(shop.first.id, "gone"))
    assert shop.read(shop.first).state is ConnectionState.NEEDS_REAUTHORIZATION


def test_reconnecting(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is spent: whoever were told to try again would have to go to Klaviyo once more."""
    klaviyo_says(monkeypatch, {"code": ("ACCTSE", "Another name")})
    begun = attempt(shop.owner_user.id, shop.workspace.id, purpose=Purpose.RECONNECT, connection_id=shop.first.id)
    while_delivered(shop, lambda: authorizations.finish(begun, "code"))
    assert shop.read(shop.first).account_name == "Another name"


def test_going_to_klaviyo(shop: Shop) -> None:
    """A look-up of the fields lane has found somebody for whom a consent waits, so that its lane is to be woken."""
    fields, consents = (
        update(Lane).where(Lane.connection_id == shop.first.id, Lane.kind == kind).values(failures=0)
        for kind in (LaneKind.FIELDS, LaneKind.CONSENTS)
    )
    asked = {"purpose": Purpose.RECONNECT, "connection_id": shop.first.id}
    while_written(shop, lambda: attempt(shop.owner_user.id, shop.workspace.id, **asked), fields, consents)


def test_saving(shop: Shop) -> None:
    """Whoever is to be created from here on no longer waits to be in Klaviyo."""
    activity = shop.rows.activity(shop.workspace, shop.rows.person(shop.workspace), type=ActivityType.CONSENT)
    later = {"reason": Reason.NOT_IN_KLAVIYO, "due_at": clock.now() + timedelta(hours=1)}
    shop.rows.delivery(activity, shop.first, kind=Kind.CONSENT, **later)
    before = shop.read(shop.first)
    assert before.sync_behavior is SyncBehavior.UPDATE_EXISTING
    edit = Edit(before.row_version, before.store_id, SyncBehavior.CREATE_PROFILE, None, keeps_list=True)
    place = (shop.workspace.id, shop.first.id, shop.owner_user.id)
    while_delivered(shop, lambda: settings.save(*place, edit))
    assert shop.read(shop.first).sync_behavior is SyncBehavior.CREATE_PROFILE


def test_two_calls_that_skip_different_kinds_do_not_wait_for_each_other(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that is off beside a signup, and a mere notice beside an event that is on."""
    choices.choose_events(shop.workspace.id, None, ["post_created"])
    both_counted, real = threading.Barrier(2, timeout=1), lanes.count
    ended: list[DBAPIError] = []

    def is_transient(problem: DBAPIError) -> bool:
        ended.append(problem)
        return False

    def count(session: Session, workspace_id: int, connection_id: int, kind: Kind, counts: lanes.Counts) -> None:
        real(session, workspace_id, connection_id, kind, counts)
        if counts.skipped:
            with suppress(threading.BrokenBarrierError):
                both_counted.wait()

    monkeypatch.setattr(lanes, "count", count)
    monkeypatch.setattr(database, "is_transient", is_transient)
    common = {"store": "se", "occurred_at": "2026-11-23T10:00:00Z"}
    said = {"channel": "email", "state": "subscribed"}

    def accept(name: str, event: str, **more: str) -> None:
        profile = {"email": f"{name}@example.com"}
        event_item = {"id": f"{name}-1", "type": "event", "event": event, "profile": profile, **common}
        consent = {"id": f"{name}-2", "type": "consent", "consent": {**said, **more}, "profile": profile, **common}
        with shop.app.app_context():
            assert ingest.accept(shop.workspace.id, [event_item, consent]).accepted == 2

    calls = (("ada", "tier_earned", {"collected_by": "checkbox"}), ("bob", "post_created", {"collected_by": "notice"}))
    threads = [threading.Thread(target=accept, args=call[:2], kwargs=call[2]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert ended == []
    assert not any(thread.is_alive() for thread in threads)
