"""The owner's rules under any sequence of activities, consents and settings changes, with failing calls and slow jobs.

Read off Klaviyo's side: an account that only updates never grows, nobody is subscribed without an explicit consent or
over a later opt-out, the lists hold only people who signed up or whom we created, whoever withdrew is off them, and
what we call delivered is what stands there in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import func, select, update

from tests.faults.owner import CREATES, OUT_BEFORE, UPDATES, Owner
from tests.faults.storm import STORES, World
from tests.faults.test_consents import read_back_now
from tests.processes import wait_for
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.models import Activity, Delivery, Lane, ProfileLink
from webapp.services.lanes import DELIVERY_LANES

Make = Callable[..., World]
SLOW = 2.0  # seconds that Klaviyo takes over what it accepted, in any order
FAULTS = ("after-commit-reset", "500", "429", "reset")
READINGS = {
    1: ("--repeated-unique-id", "ever"),
    2: ("--unknown-profile-id", "create", "--refresh", "rotates"),
    3: ("--unknown-profile-id", "reject"),
}


def waits(*held: Reason) -> int:
    """How many wait for another reason than these."""
    with reading() as session:
        statement = select(func.count()).select_from(Delivery)
        return session.scalar(statement.where(Delivery.status == Status.WAITING, Delivery.reason.not_in(held))) or 0


def half_an_hour_later() -> None:
    """Pretend that our subscribes are long ago and that every wait is over."""
    past = clock.now().replace(year=clock.now().year - 1)
    with writing() as session:
        links = update(ProfileLink).where(ProfileLink.subscribed_at.is_not(None))
        session.execute(links.values(subscribed_at=past))
        session.execute(update(Delivery).where(Delivery.status == Status.WAITING).values(due_at=past))
        lanes = update(Lane).where(Lane.kind.in_(DELIVERY_LANES))
        session.execute(lanes.values(next_at=past, held_until=None, news=Lane.news + 1))


class Accounts:
    """What stood in the accounts before, and what must hold of them at every rest."""

    def __init__(self, owner: Owner) -> None:
        self.owner, self.world, self.sandbox = owner, owner.world, owner.world.stack.sandbox
        self.subscribed_before = {account: self.subscribed(account) for account in STORES}
        self.listed_before = {account: self.listed(account) for account in STORES}

    def subscribed(self, account: str) -> set[str]:
        rows = self.sandbox.subscriptions(account)
        return {str(email) for email, row in rows.items() if row["state"] == "SUBSCRIBED"}

    def listed(self, account: str) -> set[str]:
        """Who is on any list."""
        return {email for row in self.sandbox.lists(account).values() for email in row["members"]}

    def people(self, account: str) -> set[str | None]:
        return set(self.sandbox.profiles(account))

    def rest(self) -> None:
        """Nothing is under way any more, here or in Klaviyo, but consents of people who are not there."""
        self.owner.let_all_go_on()
        self.sandbox.clear_faults()
        self.sandbox.fault("slow-jobs", seconds=SLOW)
        held = [Reason.NOT_IN_KLAVIYO, Reason.RESUBSCRIBE_PAUSE, Reason.KLAVIYO_PROCESSING]
        wait_for(lambda: waits(*held) == 0, "everything but what is held", 120)
        time.sleep(SLOW + 0.5)
        for _ in range(2):
            half_an_hour_later()
            read_back_now(self.world)
            wait_for(lambda: waits(Reason.NOT_IN_KLAVIYO) == 0, "the withdrawals", 60)
            time.sleep(SLOW + 0.5)
        self.world.make_rewrites_due()
        time.sleep(SLOW + 0.5)

    def check(self) -> None:
        """Everything that holds at every rest."""
        assert self.people("ACCTSE") == self.world.profiles_before["ACCTSE"], "created where nobody may be"
        self.world.check_sums()
        for account in STORES:
            self._check_consents(account)
            self._check_fields(account)
            ids = [event["unique_id"] for event in self.sandbox.events(account) if event["unique_id"]]
            assert len(ids) == len(set(ids)), "doubled"

    def _check_consents(self, account: str) -> None:
        explicit = {email for where, email in self.owner.explicit if where == account}
        subscribed = self.subscribed(account) - self.subscribed_before[account]
        assert subscribed <= explicit, "subscribed without a consent"
        opted_out = {self.world.address(account, number) for number in OUT_BEFORE}
        assert subscribed & opted_out == set(), "subscribed over an opt-out"
        listed = self.listed(account) - self.listed_before[account]
        ours = self.people(account) - self.world.profiles_before[account]
        assert listed <= explicit | ours, "somebody who was there before is on the list"
        gone = {e for (where, e), (_, state) in self.owner.newest.items() if where == account and state != "subscribed"}
        signed_up = listed & explicit & gone
        assert signed_up - ours == set(), "still on the list after a withdrawal"

    def _check_fields(self, account: str) -> None:
        """Where we say that the newest value is delivered, it stands there."""
        profiles = self.sandbox.profiles(account)
        for (where, email), identity in self.owner.written.items():
            if where == account and self._is_delivered(identity):
                held = profiles[email]["properties"].get("Cevoid: Points")
                assert held == self.world.newest_points[where, email], (email, identity)
            elif where == account and email in self.world.profiles_before[account]:
                raise AssertionError(f"{identity} is not delivered")

    def _is_delivered(self, identity: str) -> bool:
        with reading() as session:
            statement = (
                select(Delivery.status, Delivery.reason)
                .join(Activity, Activity.id == Delivery.activity_id)
                .where(Activity.external_id == identity, Delivery.kind == Kind.FIELDS)
            )
            status, reason = session.execute(statement).one()
        return status is Status.DELIVERED or reason is Reason.UNCHANGED


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", list(READINGS))
def test_the_rules_hold_whatever_comes(make_world: Make, seed: int) -> None:
    world = make_world(sandbox_options=("--limits", "off", *READINGS[seed]))
    world.random.seed(seed)
    owner = Owner(world)
    owner.prepare()
    accounts = Accounts(owner)
    world.stack.sandbox.fault("slow-jobs", seconds=SLOW)
    for toggles, behavior in ((True, CREATES), (False, UPDATES), (False, CREATES)):
        owner.behave(behavior)
        before = accounts.people("ACCTNO")
        for kind in FAULTS:
            world.stack.sandbox.fault(kind, probability=0.05, times=10, retry_after=1)
        for _ in range(40):
            owner.step(toggles=toggles)
            time.sleep(0.05)
        accounts.rest()
        accounts.check()
        if behavior is UPDATES:
            assert accounts.people("ACCTNO") == before, "grew while it only updates"
    ours = accounts.people("ACCTNO") - world.profiles_before["ACCTNO"]
    assert ours, "the test has created somebody"
    with reading() as session:
        counted = session.scalar(select(func.count()).where(ProfileLink.created_by_us_at.is_not(None)))
    assert owner.connection("ACCTNO").profiles_created == counted == len(ours), "and counted them"
