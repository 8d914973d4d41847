"""Consents under faults: whoever withdrew stays unsubscribed, whoever opted out later is never subscribed again."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.faults.storm import World
from tests.processes import wait_for
from webapp.database import writing
from webapp.models import Connection, Delivery, Lane, LaneKind, ProfileLink

Make = Callable[..., World]
SUBSCRIBE = "POST /api/profile-subscription-bulk-create-jobs"


def consent(world: World, email: str, state: str, at: datetime, identity: str) -> None:
    body: dict[str, Any] = {"channel": "email", "state": state, "source": "program_join"}
    if state == "subscribed":
        body["collected_by"] = "checkbox"
    world.stack.ingest(
        {
            "id": identity,
            "type": "consent",
            "store": "se",
            "occurred_at": at.isoformat(),
            "profile": {"email": email},
            "consent": body,
        }
    )


def status(world: World, identity: str) -> tuple[str, str]:
    found = world.stack.activity(identity)["deliveries"][0]
    return found["status"], found["reason"]


def choose_list(world: World, opt_in: str = "single_opt_in") -> None:
    """The connection's list is one of the account with this opt-in process."""
    lists = world.stack.sandbox.lists("ACCTSE").values()
    chosen = next(row for row in lists if row["opt_in_process"] == opt_in)
    with writing() as session:
        session.execute(
            update(Connection)
            .where(Connection.klaviyo_account_id == "ACCTSE")
            .values(list_id=chosen["id"], list_name=chosen["name"])
        )


def read_back_now(world: World) -> None:
    """Pretend that the five minutes until the reading back are over."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    with writing() as session:
        due = update(ProfileLink).where(ProfileLink.withdrawal_check_at.is_not(None))
        session.execute(due.values(withdrawal_check_at=past))
        lanes = update(Lane).where(Lane.kind == LaneKind.CONSENTS)
        session.execute(lanes.values(next_at=past, news=Lane.news + 1))


def the_subscribe_is_long_ago(world: World) -> None:
    """Pretend that a subscribe of unknown end was sent so long ago that it will not take effect any more."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    with writing() as session:
        links = update(ProfileLink).where(ProfileLink.subscribed_at.is_not(None))
        session.execute(links.values(subscribed_at=past - timedelta(minutes=15)))
        waiting = update(Delivery).where(Delivery.status == "waiting")
        session.execute(waiting.values(due_at=past))
        lanes = update(Lane).where(Lane.kind == LaneKind.CONSENTS)
        session.execute(lanes.values(next_at=past, held_until=None, news=Lane.news + 1))


def is_subscribed(world: World, email: str) -> bool:
    row = world.stack.sandbox.subscriptions("ACCTSE").get(email)
    return row is not None and row["state"] == "SUBSCRIBED"


def members(world: World) -> set[str]:
    """Everybody on any list of the account."""
    return {email for row in world.stack.sandbox.lists("ACCTSE").values() for email in row["members"]}


def test_a_consent_arrives_and_a_withdrawal_overtakes(make_world: Make) -> None:
    world = make_world(sandbox_options=("--limits", "off"))
    choose_list(world)
    now = datetime.now(UTC) - timedelta(minutes=10)
    email = world.address("ACCTSE", 1)
    consent(world, email, "subscribed", now, "c-1")
    wait_for(lambda: status(world, "c-1")[0] == "delivered", "the signup")
    wait_for(lambda: is_subscribed(world, email), "the subscription")
    consent(world, email, "unsubscribed", now + timedelta(minutes=1), "c-2")
    wait_for(lambda: status(world, "c-2")[0] == "delivered", "the withdrawal")
    wait_for(lambda: email not in members(world), "off the list")
    consent(world, email, "subscribed", now, "c-3")
    wait_for(lambda: status(world, "c-3") == ("skipped", "superseded"), "the older one")
    stranger = world.address("ACCTSE", 0)
    consent(world, stranger, "subscribed", now, "c-4")
    wait_for(lambda: status(world, "c-4") == ("waiting", "not_in_klaviyo"), "the held one")
    assert stranger not in world.stack.sandbox.profiles("ACCTSE")
    opted_out = world.address("ACCTSE", 2)
    world.stack.sandbox.set_subscription("ACCTSE", opted_out, "UNSUBSCRIBED", at=datetime.now(UTC).isoformat())
    consent(world, opted_out, "subscribed", now, "c-5")
    wait_for(lambda: status(world, "c-5") == ("skipped", "newer_opt_out"), "the newer opt-out")
    read_back_now(world)
    world.check_sums()


@pytest.mark.long
def test_double_opt_in_is_respected(make_world: Make) -> None:
    """Accepted is not subscribed: that is up to the person, who is asked by Klaviyo, and only once."""
    world = make_world(sandbox_options=("--limits", "off"))
    choose_list(world, "double_opt_in")
    now = datetime.now(UTC) - timedelta(minutes=10)
    email = world.address("ACCTSE", 1)
    consent(world, email, "subscribed", now, "d-1")
    wait_for(lambda: status(world, "d-1") == ("delivered", "written"), "the signup")
    consent(world, email, "subscribed", now + timedelta(minutes=1), "d-2")
    wait_for(lambda: status(world, "d-2") == ("waiting", "resubscribe_pause"), "the pause")
    assert world.stack.sandbox.requests(SUBSCRIBE) == 1
    assert not is_subscribed(world, email)
    assert email not in members(world)
    assert world.stack.sandbox.confirm("ACCTSE", email) == [email]
    assert is_subscribed(world, email)
    assert email in members(world)
    the_subscribe_is_long_ago(world)
    wait_for(lambda: status(world, "d-2") == ("delivered", "already_subscribed"), "nothing more to do")
    assert world.stack.sandbox.requests(SUBSCRIBE) == 1
    world.check_sums()


KINDS = [
    "after-commit-reset",
    "reset",
    "500",
    "503",
    "429",
    "401",
    "403",
    "html-403",
    "timeout",
    "slow",
    "hang",
    "slow-jobs",
]
SECONDS = 5  # longer than a quick call may take


def stays_in(world: World, email: str, *, listed: bool) -> bool:
    """Whether the person still gets the newsletter: is on a list, or subscribed at all where there is no list."""
    return email in members(world) if listed else is_subscribed(world, email)


def hold_nothing() -> None:
    """Pretend that the lane never failed before: so many faults in a row would hold it for minutes."""
    with writing() as session:
        lanes = update(Lane).where(Lane.kind == LaneKind.CONSENTS)
        session.execute(lanes.values(held_until=None, failures=0))


def withdraw_under(world: World, kind: str, email: str) -> None:
    """A signup whose call goes wrong in this way, withdrawn while nobody knows whether it arrived."""
    now = datetime.now(UTC) - timedelta(minutes=10)
    before = world.stack.sandbox.requests(SUBSCRIBE)
    world.stack.sandbox.fault(kind, endpoint=SUBSCRIBE, times=1, seconds=SECONDS, retry_after=1)
    consent(world, email, "subscribed", now, f"signup-{kind}")
    wait_for(lambda: world.stack.sandbox.requests(SUBSCRIBE) > before or kind == "hang", f"the call under {kind}", 60)
    consent(world, email, "unsubscribed", now + timedelta(minutes=1), f"withdrawal-{kind}")
    hold_nothing()
    looks = ("waiting", "klaviyo_processing")
    mine = f"withdrawal-{kind}"
    wait_for(lambda: status(world, mine)[0] != "waiting" or status(world, mine) == looks, f"a look under {kind}", 60)
    world.stack.sandbox.clear_faults()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("listed", [True, False])
def test_withdrawn_while_its_subscribe_has_an_unknown_end(make_world: Make, listed: bool) -> None:
    world = make_world(sandbox_options=("--limits", "off"))
    if listed:
        choose_list(world)
    numbers = [number for number in range(1, 40) if number % 5]
    people = {kind: world.address("ACCTSE", number) for kind, number in zip(KINDS, numbers, strict=False)}
    for kind, email in people.items():
        withdraw_under(world, kind, email)
    time.sleep(3 * SECONDS)  # whatever was accepted has taken effect by now, on a slow machine too
    the_subscribe_is_long_ago(world)
    wait_for(lambda: all(status(world, f"withdrawal-{kind}")[0] != "waiting" for kind in KINDS), "their ends", 60)

    def nobody_stays() -> bool:
        read_back_now(world)
        return not any(stays_in(world, email, listed=listed) for email in people.values())

    wait_for(nobody_stays, "everybody off", 60)
    time.sleep(SECONDS)
    assert [kind for kind, email in people.items() if stays_in(world, email, listed=listed)] == []
    said = {kind: status(world, f"signup-{kind}")[1] for kind in KINDS}
    assert set(said.values()) <= {"superseded", "written", "already_subscribed", "scope_missing"}
    assert said["403"] == "scope_missing"
    wait_for(lambda: world.waiting() == 0, "an empty lane", 60)
    world.check_sums()
