"""The owner's rules under any sequence of activities, opt-outs and settings changes, with calls that fail.

Read off Klaviyo's side at the end: an account that only updates never grew, nobody is subscribed without an explicit
consent, nobody who opted out later is, and the list holds only people who signed up or whom we created.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from tests.faults.storm import World
from tests.faults.test_consents import choose_list
from tests.processes import wait_for
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import SyncBehavior
from webapp.database import reading, writing
from webapp.models import Connection, Delivery

Make = Callable[..., World]


class Consents:
    """What was consented, withdrawn and opted out, by address."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.explicit: set[str] = set()
        self.newest: dict[str, tuple[datetime, str]] = {}
        self.opted_out: set[str] = set()
        self._number = 0

    def post(self) -> None:
        """One consent of a random person, explicit or a notice, from the last hour, in any order."""
        random = self.world.random
        email = self.world.address("ACCTSE", random.randrange(20))
        state = random.choice(["subscribed", "subscribed", "unsubscribed"])
        collected_by = random.choice(["checkbox", "newsletter_activity", "notice"])
        at = datetime.now(UTC) - timedelta(seconds=random.randrange(60, 3600))
        self._number += 1
        body: dict[str, Any] = {"channel": "email", "state": state, "source": "test"}
        if state == "subscribed":
            body["collected_by"] = collected_by
        self.world.stack.ingest(
            {
                "id": f"consent-{self._number}",
                "type": "consent",
                "store": "se",
                "occurred_at": at.isoformat(),
                "profile": {"email": email},
                "consent": body,
            }
        )
        if state == "subscribed" and collected_by == "notice":
            return
        if state == "subscribed":
            self.explicit.add(email)
        if email not in self.newest or at > self.newest[email][0]:
            self.newest[email] = (at, state)

    def opt_out(self) -> None:
        """Somebody opts out in Klaviyo, now: later than any consent here."""
        email = self.world.address("ACCTSE", self.world.random.choice([n for n in range(20) if n % 5]))
        self.opted_out.add(email)
        self.world.stack.sandbox.set_subscription("ACCTSE", email, "UNSUBSCRIBED", at=datetime.now(UTC).isoformat())


def toggle(world: World) -> None:
    """The other account's owner changes their mind."""
    with writing() as session:
        found = session.query(Connection).filter_by(klaviyo_account_id="ACCTNO").one()
        creates = found.sync_behavior is SyncBehavior.CREATE_PROFILE
        other = SyncBehavior.UPDATE_EXISTING if creates else SyncBehavior.CREATE_PROFILE
        session.execute(update(Connection).where(Connection.id == found.id).values(sync_behavior=other))


def unheld() -> int:
    """What waits for another reason than that somebody is not in Klaviyo, or signed up a moment ago."""
    held = [Reason.NOT_IN_KLAVIYO, Reason.RESUBSCRIBE_PAUSE, Reason.KLAVIYO_PROCESSING]
    with reading() as session:
        statement = (
            select(func.count())
            .select_from(Delivery)
            .where(Delivery.status == Status.WAITING, Delivery.reason.not_in(held))
        )
        return session.scalar(statement) or 0


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_rules_hold_whatever_comes(make_world: Make, seed: int) -> None:
    world = make_world(sandbox_options=("--limits", "off"))
    world.random.seed(seed)
    sandbox = world.stack.sandbox
    choose_list(world)
    subscribed_before = {e for e, row in sandbox.subscriptions("ACCTSE").items() if row["state"] == "SUBSCRIBED"}
    on_lists_before = {e for row in sandbox.lists("ACCTSE").values() for e in row["members"]}
    for kind in ("after-commit-reset", "500", "429", "reset"):
        sandbox.fault(kind, probability=0.05, times=20, retry_after=1)
    consents = Consents(world)
    for _ in range(50):
        step = world.random.randrange(10)
        if step < 3:
            world.post(world.random.choice([1, 3, 20]))
        elif step < 8:
            consents.post()
        elif step == 8:
            consents.opt_out()
        else:
            toggle(world)
        time.sleep(0.05)
    sandbox.clear_faults()
    wait_for(lambda: unheld() == 0, "everything but what is held", 90)
    time.sleep(2)
    assert set(sandbox.profiles("ACCTSE")) == world.profiles_before["ACCTSE"]
    rows = sandbox.subscriptions("ACCTSE")
    subscribed = {email for email, row in rows.items() if row["state"] == "SUBSCRIBED"} - subscribed_before
    assert subscribed <= consents.explicit
    late = {email for email in subscribed & consents.opted_out if (rows[email]["method"] or "") == "API"}
    over = {email for email in late if email and consents.newest[email][1] == "subscribed"}
    assert over == set(), "subscribed over an opt-out"
    on_lists = {e for row in sandbox.lists("ACCTSE").values() for e in row["members"]} - on_lists_before
    assert on_lists <= consents.explicit
    withdrawn = {email for email, (_, state) in consents.newest.items() if state == "unsubscribed"}
    with reading() as session:
        open_ones = set(session.scalars(select(Delivery.person_id).where(Delivery.status == Status.WAITING)))
    if not open_ones:
        assert on_lists & withdrawn == set()
    world.check_sums()
