"""An account is disconnected, or another takes its place, in the middle of its deliveries."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import select

from tests.faults.storm import World
from tests.processes import wait_for
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.klaviyo.oauth import TokenSet
from webapp.models import Activity, Connection, Delivery, User
from webapp.services.connections import lifecycle
from webapp.services.oauth import grants

pytestmark = pytest.mark.timeout(300)  # a slow machine may be slow
Make = Callable[..., World]
SLOWLY = ("--limits", "off", "--latency", "150")


def owner() -> int:
    with reading() as session:
        return session.scalars(select(User.id).where(User.email == "owner@demo.test")).one()


def said(connection_id: int) -> dict[str, str]:
    """Activity id -> `status: reason` of its event."""
    with reading() as session:
        statement = (
            select(Activity.external_id, Delivery.status, Delivery.reason)
            .join(Activity, Activity.id == Delivery.activity_id)
            .where(Delivery.connection_id == connection_id, Delivery.kind == Kind.EVENT)
        )
        return {row[0]: f"{row[1]}: {row[2]}" for row in session.execute(statement)}


@pytest.mark.long
def test_disconnected_in_the_middle(make_world: Make) -> None:
    world = make_world(sandbox_options=SLOWLY)
    gone = world.connection("ACCTNO")
    for _ in range(4):
        world.post(150)
    lifecycle.disconnect(world.workspace_id, gone.id, owner())
    time.sleep(1)  # what was under way at that instant has arrived by now
    arrived = world.arrived("ACCTNO")
    world.settle(60)
    time.sleep(2)
    assert world.arrived("ACCTNO") == arrived, "sent after it was disconnected"
    told = said(gone.id)
    assert {why for identity, why in told.items() if identity not in arrived} <= {
        f"{Status.SKIPPED}: {Reason.DISCONNECTED}",
        f"{Status.SKIPPED}: {Reason.NOT_CONNECTED}",
    }
    delivered = {identity for identity, why in told.items() if why.startswith("delivered")}
    assert delivered <= arrived, "told to be there, and is not"
    wait_for(lambda: _grant_of(gone.id) is None, "its tokens to be deleted")
    world.check_sums()


def _grant_of(connection_id: int) -> object:
    with reading() as session:
        return grants.of(session, connection_id)


@pytest.mark.long
def test_replaced_in_the_middle(make_world: Make) -> None:
    """Nothing that waited for the old account reaches the new one; what came after does, and nobody is created."""
    world = make_world(sandbox_options=SLOWLY)
    there = set(world.stack.sandbox.profiles("ACCTDE"))
    for _ in range(4):
        world.post(150)
    before = set(world.accepted)
    granted = world.stack.sandbox.grant("ACCTDE")
    tokens = TokenSet(granted["access_token"], granted["refresh_token"], 3600, frozenset(granted["scope"].split()))
    replaced = world.connection("ACCTSE").id
    with writing() as session:
        connection = session.get_one(Connection, replaced, with_for_update=True)
        lifecycle.replace(session, connection, "ACCTDE", "Acme DE", owner())
        grants.store(session, replaced, tokens)
    known = world.address("ACCTSE", 1)
    world.stack.sandbox.put_profiles("ACCTDE", known)
    for _ in range(3):
        world.post(80)
    world.settle(90)
    after = set(world.accepted) - before
    arrived = world.arrived("ACCTDE")
    assert arrived & before == set(), "the old account's"
    assert arrived == {
        identity
        for identity in after
        if world.accepted[identity]["type"] == "event"
        and world.accepted[identity]["store"] == "se"
        and world.accepted[identity]["profile"]["email"] == known
    }
    assert set(world.stack.sandbox.profiles("ACCTDE")) == there | {known}
    world.check_sums()
