"""The life of a connection through real processes: denied, forged, lost, regained, replaced, ended; nothing is lost."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.owners import Owner, event, state_of
from tests.processes import wait_for
from tests.stack import Stack, running

pytestmark = pytest.mark.long

UNKNOWN = "This answer from Klaviyo is unknown, used or too old. Nothing was changed"
MANY = 10_000
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home: Path = tmp_path_factory.mktemp("oauth")
    with running(home, sandbox_options=("--limits", "10")) as started:
        yield started


@pytest.fixture(scope="module")
def somebody(stack: Stack) -> Owner:
    return Owner(stack)


@pytest.fixture
def owner(somebody: Owner) -> Owner:
    """The demo's owner, with nothing connected."""
    somebody.start_over()
    return somebody


def reasons(stack: Stack, number: int) -> dict[str, tuple[str, str]]:
    found = stack.activity(f"life-{number}")["deliveries"]
    return {row["kind"]: (row["status"], row["reason"]) for row in found}


def post(stack: Stack, count: int = 1, store: str = "se") -> list[int]:
    numbers = [next(_numbers) for _ in range(count)]
    assert stack.ingest(*(event(number, store) for number in numbers))["accepted"] == count
    return numbers


def arrived(stack: Stack, numbers: list[int]) -> bool:
    return all(reasons(stack, number)["event"] == ("delivered", "written") for number in numbers)


def test_denied_nothing_is_connected(owner: Owner) -> None:
    page = owner.choose(owner.leave(), "ACCTSE", decision="Deny")
    assert "You did not allow it in Klaviyo" in page.text
    assert owner.connections() == {}
    assert "Acme SE is connected." in owner.enable().text


def test_an_answer_that_is_forged_or_comes_twice_changes_nothing(owner: Owner) -> None:
    forged = owner.get("/integrations/klaviyo/callback?state=forged&code=stolen")
    assert UNKNOWN in forged.text
    assert UNKNOWN in owner.get("/integrations/klaviyo/callback").text
    assert owner.connections() == {}
    back = owner.stop_short(owner.leave(), "ACCTSE")
    assert "Acme SE is connected." in owner.get(back).text
    assert UNKNOWN in owner.get(back).text
    assert list(owner.connections()) == ["ACCTSE"]


def test_an_error_consumes_the_attempt_too(owner: Owner) -> None:
    back = owner.stop_short(owner.leave(), "ACCTSE")
    failed = owner.get(f"/integrations/klaviyo/callback?error=server_error&state={state_of(back)}")
    assert "Klaviyo answered with an error, so nothing was connected" in failed.text
    assert UNKNOWN in owner.get(back).text
    assert owner.connections() == {}


def test_an_answer_after_signing_out_or_in_another_browser_is_of_no_use(stack: Stack, owner: Owner) -> None:
    leaver = Owner(stack)
    back = leaver.stop_short(leaver.leave(), "ACCTSE")
    leaver.sign_out()
    assert "/sign-in" in leaver.get(back).url
    assert UNKNOWN in Owner(stack).get(back).text
    assert UNKNOWN in Owner(stack, "owner@other.test", "other").get(back).text
    assert owner.connections() == {}


def test_two_tabs_at_once_leave_one_connection(owner: Owner) -> None:
    first, second = owner.leave(), owner.leave()
    assert "Acme SE is connected." in owner.choose(first, "ACCTSE").text
    late = owner.choose(second, "ACCTNO")
    assert "Give the first connection its store before you add another" in late.text
    assert list(owner.connections()) == ["ACCTSE"]


def test_the_same_account_twice_is_refused_naming_its_store(stack: Stack, owner: Owner) -> None:
    owner.enable("ACCTSE")
    owner.give_store("ACCTSE")
    page = owner.choose(owner.leave("ACCTNO"), "ACCTSE")
    assert "Acme SE is connected already, for acme.se. Choose another account." in page.text
    assert list(owner.connections()) == ["ACCTSE"]
    # The connection took the new grant: it goes on working.
    numbers = post(stack)
    wait_for(lambda: arrived(stack, numbers), "the event through the new grant", 15)


def test_reconnecting_with_another_account_changes_nothing(stack: Stack, owner: Owner) -> None:
    owner.enable("ACCTSE")
    owner.give_store("ACCTSE")
    owner.enable("ACCTNO")
    stack.sandbox.uninstall("ACCTSE")
    waiting = post(stack, 3)
    owner.says("Reconnect needed")
    page = owner.choose(owner.on("ACCTSE", "Reconnect"), "ACCTNO")
    assert "belongs to Acme SE, and you chose Acme NO. Nothing was changed here. The connection of" in page.text
    assert "Reconnect needed" in owner.table()
    assert all(reasons(stack, number)["event"][0] == "waiting" for number in waiting)
    # The grant went to the connection that has that account.
    there = post(stack, store="no")
    wait_for(lambda: arrived(stack, there), "Acme NO goes on", 15)
    again = owner.choose(owner.on("ACCTSE", "Reconnect"), "ACCTSE")
    assert "Acme SE is connected again. What waited goes out now." in again.text
    wait_for(lambda: arrived(stack, waiting), "what waited", 20)


def test_many_that_wait_keep_waiting_through_the_wrong_account_and_all_arrive(stack: Stack, owner: Owner) -> None:
    owner.enable("ACCTSE")
    owner.give_store("ACCTSE")
    owner.on("ACCTSE", "Pause")
    people = sorted(str(email) for email in stack.sandbox.profiles("ACCTSE") if "@example.com" in str(email))
    for _ in range(MANY // 1000):
        numbers = [next(_numbers) for _ in range(1000)]
        stack.ingest(*(event(number, "se", people[number % len(people)]) for number in numbers))
    waits = f"{2 * MANY:,}"  # of every activity the event, and the person's fields
    before = stack.sandbox.accounts()["ACCTSE"]["events"]
    elsewhere = stack.sandbox.accounts()["ACCTNO"]["events"]
    refused = owner.choose(owner.on("ACCTSE", "Reconnect"), "ACCTNO")
    assert "belongs to Acme SE, and you chose Acme NO. Nothing was changed" in refused.text
    assert f"send a test event {waits}" in owner.table()
    owner.choose(owner.on("ACCTSE", "Reconnect"), "ACCTSE")
    assert f"send a test event {waits}" in owner.table()
    owner.on("ACCTSE", "Resume")
    wait_for(lambda: stack.sandbox.accounts()["ACCTSE"]["events"] == before + MANY, "everything that waited", 120)
    wait_for(lambda: re.search(r"delivered( · [\d,]+ skipped)? 0 ", owner.table()), "an empty row", 60)
    assert stack.sandbox.accounts()["ACCTNO"]["events"] == elsewhere


def test_an_uninstalled_app_is_noticed_and_reconnecting_keeps_everything(stack: Stack, owner: Owner) -> None:
    owner.enable("ACCTSE")
    owner.give_store("ACCTSE")
    lists = owner.open(f"{owner.connections()['ACCTSE']}")
    owner.press(lists, "Refresh")
    wait_for(lambda: "lists in Klaviyo" in owner.open(owner.connections()["ACCTSE"]).text, "the lists", 15)
    chosen = next(iter(stack.sandbox.lists("ACCTSE").values()))
    saved = owner.on("ACCTSE", "Save changes", sync_behavior="create_profile", list=chosen["id"])
    assert "Saved." in saved.text
    stack.sandbox.uninstall("ACCTSE")
    waiting = post(stack, 20)
    owner.says("Reconnect needed")
    assert "Acme SE no longer lets us in." in owner.table()
    page = owner.choose(owner.press(owner.open(""), "Reconnect Acme SE"), "ACCTSE")
    assert "Acme SE is connected again. What waited goes out now." in page.text
    wait_for(lambda: arrived(stack, waiting), "what waited", 20)
    row = owner.table()
    for words in ("acme.se", "Create profile", chosen["name"], "Delivering", "Acme SE works again"):
        assert words in row
    owner.press(owner.open(""), "Dismiss")
    assert "works again" not in owner.table()


def test_fewer_scopes_connect_and_say_what_is_off(stack: Stack, owner: Owner) -> None:
    page = owner.enable("ACCTSE", without=("subscriptions:write",))
    assert "Acme SE is connected." in page.text
    assert "this stays off: newsletter" in page.text
    owner.says("Delivering in part")
    assert "newsletter off: scope missing" in owner.table()
    numbers = post(stack)
    wait_for(lambda: arrived(stack, numbers), "events go on", 15)
    scopes = owner.open("/scopes")
    assert "Missing" in scopes.text
    granted = owner.choose(owner.press(scopes, "Reconnect to grant"), "ACCTSE")
    assert "stays off" not in granted.text
    assert "all features on" in owner.table()
    assert "Missing</span>" not in owner.open("/scopes").text


def test_paused_everything_waits_and_resumed_it_goes(stack: Stack, owner: Owner) -> None:
    owner.enable("ACCTSE")
    owner.give_store("ACCTSE")
    owner.on("ACCTSE", "Pause")
    waiting = post(stack, 5)
    assert "Paused" in owner.table()
    assert all(reasons(stack, number)["event"][0] == "waiting" for number in waiting)
    reconnected = owner.choose(owner.on("ACCTSE", "Reconnect"), "ACCTSE")
    assert "It stays paused until somebody resumes it." in reconnected.text
    owner.on("ACCTSE", "Resume")
    wait_for(lambda: arrived(stack, waiting), "what waited", 20)


def test_a_replaced_account_gets_only_what_comes_after(stack: Stack, owner: Owner) -> None:
    owner.enable("ACCTSE")
    owner.give_store("ACCTSE")
    owner.on("ACCTSE", "Pause")
    waiting = post(stack, 150)
    before = len(stack.sandbox.events("ACCTDE"))
    url = owner.connections()["ACCTSE"]
    confirm = owner.open(f"{url}/replace")
    assert "300 deliveries that wait for Acme SE become skipped" in confirm.text
    page = owner.choose(owner.press(confirm, "Choose the new account"), "ACCTDE")
    assert "Acme DE has taken the place of Acme SE." in page.text
    after = post(stack)
    owner.on("ACCTDE", "Resume")
    wait_for(lambda: arrived(stack, after), "what came after", 20)
    assert {reasons(stack, number)["event"] for number in waiting} == {("skipped", "account_replaced")}
    assert len(stack.sandbox.events("ACCTDE")) == before + 1
    offered = owner.open(url)
    assert "300 deliveries" in offered.text
    assert "reason=account_replaced" in offered.text
    # Nobody else had the old account: the app is gone there.
    wait_for(lambda: not stack.sandbox.accounts()["ACCTSE"]["scopes"], "the old grant to be revoked", 15)


def test_replacing_by_an_account_that_is_here_is_refused(owner: Owner) -> None:
    owner.enable("ACCTSE")
    owner.give_store("ACCTSE")
    owner.enable("ACCTNO")
    url = owner.connections()["ACCTSE"]
    page = owner.choose(owner.press(owner.open(f"{url}/replace"), "Choose the new account"), "ACCTNO")
    assert "Acme NO is connected already, for acme.no. Nothing was replaced." in page.text
    same = owner.choose(owner.press(owner.open(f"{url}/replace"), "Choose the new account"), "ACCTSE")
    assert "You chose Acme SE again, so nothing was replaced." in same.text
    assert set(owner.connections()) == {"ACCTSE", "ACCTNO"}


def test_the_grant_is_revoked_only_where_nobody_else_has_the_account(stack: Stack, owner: Owner) -> None:
    other = Owner(stack, "owner@other.test", "other")
    other.start_over()
    owner.enable("ACCTDK")
    other.enable("ACCTDK")
    owner.disconnect("ACCTDK")
    assert stack.sandbox.accounts()["ACCTDK"]["scopes"]
    assert "Delivering" in other.table()
    other.disconnect("ACCTDK")
    wait_for(lambda: not stack.sandbox.accounts()["ACCTDK"]["scopes"], "the grant to be revoked", 15)


def test_installing_from_klaviyo_signs_in_and_goes_on(stack: Stack, owner: Owner) -> None:
    visitor = Owner(stack)
    visitor.sign_out()
    form = visitor.get("/integrations/klaviyo/install")
    assert "/sign-in" in form.url
    consent = visitor.press(form, "Sign in", email="owner@demo.test", password="demo-password")
    assert consent.url.startswith(stack.sandbox.url)
    assert "Acme SE is connected." in visitor.choose(consent, "ACCTSE").text
    # With an account here already, the store is to be said first.
    visitor.give_store("ACCTSE")
    assert "Choose the store that the Klaviyo account belongs to." in visitor.get("/integrations/klaviyo/install").text
    stack.sandbox.uninstall("ACCTSE")
    post(stack)
    owner.says("Reconnect needed")
    assert "press Reconnect" in visitor.get("/integrations/klaviyo/install").text


def test_a_support_agent_connects_nothing(stack: Stack) -> None:
    agent = Owner(stack, "support@demo.test")
    assert "you own none" in agent.get("/integrations/klaviyo/install").text
    assert "Enable</button>" not in agent.open("").text
