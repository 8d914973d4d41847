"""The live table in a browser: filters, hidden tabs, what changes by itself, without JavaScript."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.shown import SLOW, allow, opened, table
from tests.browsing import TABLE
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("two_connected")]


def test_an_unchanged_table_costs_a_204_and_a_hidden_one_nothing(page: Page, stack: Stack) -> None:
    page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => window.isHidden === true})")
    table(page, stack)
    polls: list[int] = []
    page.on("response", lambda answer: polls.append(answer.status) if "since=" in answer.url else None)
    page.wait_for_timeout(4500)
    # Once a minute it is written anew, whatever changed.
    assert polls.count(204) >= 2
    assert polls.count(200) <= 1
    page.evaluate("window.isHidden = true")
    page.wait_for_timeout(1500)
    polls.clear()
    page.wait_for_timeout(3000)
    assert polls == []
    page.evaluate("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(1000)
    assert polls


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_page_that_is_no_longer_ones_own_does_not_call_itself_current(page: Page, stack: Stack, status: int) -> None:
    """Somebody was taken out of the workspace, or what was looked at is gone: what stands there may be old."""
    table(page, stack)
    stamp = page.locator("#updated")
    expect(stamp).to_contain_text("Updated", timeout=SLOW)
    page.route("**/*since=*", lambda route: route.fulfill(status=status, body="No."))
    expect(stamp).to_contain_text("no longer yours to see, or is gone", timeout=SLOW)
    page.wait_for_timeout(2500)  # and with the next poll no more than with the first
    expect(stamp).to_contain_text("reload it")
    expect(page.locator("tbody tr").first).to_be_visible()
    page.unroute("**/*since=*")
    expect(stamp).to_contain_text("Updated", timeout=SLOW)


def test_filters_narrow_the_table_in_place_and_back_goes_back(page: Page, stack: Stack) -> None:
    table(page, stack, "?search=Acme")
    page.evaluate("window.same = true")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Store or account").fill("acme no")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert "search=acme+no" in page.url
    expect(page.get_by_label("Store or account")).to_be_focused()
    page.get_by_label("Store or account").fill("")
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.get_by_label("Store or account")).to_be_focused()
    page.get_by_label("Store or account").fill("nobody")
    expect(page.locator("#table")).to_contain_text("No connection fits")
    page.get_by_role("link", name="show all live ones").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("link", name="Klaviyo account").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_count(1)
    expect(page.locator("tbody tr").first).to_contain_text("Acme NO")
    page.go_back()
    expect(page.locator("th[aria-sort]")).to_have_count(0)
    assert page.evaluate("window.same") is True


def test_a_removed_app_is_seen_without_a_reload_and_again_when_it_works(page: Page, stack: Stack) -> None:
    table(page, stack)
    page.evaluate("window.same = true")
    stack.sandbox.uninstall("ACCTSE")
    stack.ingest(
        {
            "id": "gone-1",
            "type": "event",
            "event": "member_joined_program",
            "store": "se",
            "occurred_at": "2026-11-23T10:00:00Z",
            "profile": {"email": "ada@example.com"},
        }
    )
    expect(page.locator("#connection-1 .status")).to_have_text("Reconnect needed", timeout=SLOW)
    expect(page.locator("#announcer")).to_contain_text("Reconnect needed")
    expect(page.locator("#table")).to_contain_text("Acme SE no longer lets us in.")
    assert page.evaluate("window.same") is True
    page.get_by_role("button", name="Reconnect Acme SE").click()
    allow(page, "Acme SE")
    expect(page.locator("#table")).to_contain_text("Acme SE works again")
    expect(page.locator("#connection-1 .status")).to_have_text("Delivering", timeout=SLOW)
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator("#table")).not_to_contain_text("works again")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_anybodys_way(page: Page, stack: Stack, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    table(page, stack, "?search=Acme")
    opened(page)
    page.locator("#behavior-1").select_option("create_profile")
    expect(page.locator("#price-1")).to_contain_text("known here", timeout=SLOW)
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
    assert found.violations_count == 0, found.generate_report()
    for path in (
        "/connections/1",
        "/scopes",
        "/connections/1/replace",
        "/connections/1/disconnect",
        "/connections/new",
    ):
        page.goto(stack.url + TABLE + path)
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
        assert found.violations_count == 0, f"{path}\n{found.generate_report()}"


def test_the_same_without_javascript(browser_without_js: Page, stack: Stack) -> None:
    page = browser_without_js
    table(page, stack)
    expect(page.locator("#updated")).to_have_text("As it was when you opened this page")
    page.locator("#edit-1").click()
    page.get_by_role("button", name="Refresh").or_(page.get_by_role("button", name="Try again")).click()
    page.wait_for_timeout(1500)
    page.reload()
    page.get_by_label("Profile sync behavior").select_option("create_profile")
    page.get_by_role("button", name="How many would that be?").click()
    expect(page.get_by_label("Profile sync behavior")).to_have_value("create_profile")
    page.wait_for_timeout(1500)
    again = page.get_by_role("button", name="How many would that be?")
    if again.count():
        again.click()
    page.get_by_label("Add new profiles to list").select_option(index=2)
    page.get_by_role("button", name="Save changes").click()
    expect(page.locator("#flashes")).to_contain_text("Saved")
    expect(page.locator("#connection-1")).to_contain_text("Create profile")
    page.locator("#undo-1").click()
    expect(page.locator("#flashes")).to_contain_text("Undone")
    expect(page.locator("#connection-1")).to_contain_text("Only update existing")
