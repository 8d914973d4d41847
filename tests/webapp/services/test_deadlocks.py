"""On PostgreSQL somebody changes a connection while a worker writes what it delivered, and each holds what the other
wants: the database ends one of them. It is tried again, and nobody is told that the database is away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import text, update

from tests.apps import lent_app
from tests.processes import wait_for
from tests.rows import Rows
from tests.webapp.views.connection_shop import Shop, attempt
from tests.webapp.views.test_authorizations import klaviyo_says
from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import ActivityType, Kind, SyncBehavior
from webapp.database import writing
from webapp.extensions import db
from webapp.forms.connections import Edit
from webapp.models import Connection, ConnectionState, Lane, Purpose
from webapp.services.connections import authorizations, lifecycle, settings

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
    holds, failed = threading.Event(), []

    def is_waited_for() -> bool:
        with db.engines["read"].connect() as another:  # within a transaction it says the same each time
            return bool(another.scalar(WAITING))

    def deliver() -> None:
        with shop.app.app_context(), writing() as session:
            session.execute(update(Lane).where(Lane.connection_id == shop.first.id).values(failures=0))
            holds.set()
            wait_for(is_waited_for, "somebody to wait for the lanes", 10)
            mine = update(Connection).where(Connection.id == shop.first.id)
            session.execute(mine.values(last_delivered_at=clock.now()))

    def worker() -> None:
        try:
            deliver()
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
    assert shop.read(shop.first).last_delivered_at is not None


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
