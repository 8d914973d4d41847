"""The browser's Back, over pages that have changed since: what is ticked, chosen and filtered is what is so."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.shown import SLOW, connected
from tests.browsing import TABLE
from tests.stack import Stack

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("path", ["events", "profile-data"])
def test_what_was_turned_off_elsewhere_is_not_turned_on_by_coming_back(page: Page, stack: Stack, path: str) -> None:
    connected(page, stack)
    page.goto(f"{stack.url}{TABLE}/{path}")
    toggle = page.get_by_role("switch").or_(page.get_by_role("checkbox")).first
    expect(toggle).to_be_checked()
    page.get_by_role("link", name="Scopes").click()
    page.wait_for_url("**/scopes")
    with page.context.new_page() as other:
        other.goto(f"{stack.url}{TABLE}/{path}")
        other.get_by_role("switch").or_(other.get_by_role("checkbox")).first.uncheck()
        other.get_by_role("button", name="Save").first.click()
        expect(other.locator("#flashes")).to_contain_text("Turned off")
    page.go_back()
    expect(toggle).not_to_be_checked()


def skipped(page: Page, stack: Stack, name: str) -> None:
    """An event of somebody who is not in Klaviyo, seen in the list by another tab."""
    with page.context.new_page() as other:
        when = {"occurred_at": "2026-11-23T10:00:00Z", "profile": {"email": f"{name}@example.com"}}
        stack.ingest({"id": name, "type": "event", "event": "member_joined_program", "store": "se", **when})
        other.goto(f"{stack.url}{TABLE}/deliveries?status=skipped&follow=1")
        expect(other.get_by_text(name, exact=True).first).to_be_visible(timeout=SLOW)


def test_coming_back_to_a_list_that_has_moved_chooses_nothing_to_be_sent_again(page: Page, stack: Stack) -> None:
    connected(page, stack)
    skipped(page, stack, "moved-1")
    page.goto(f"{stack.url}{TABLE}/deliveries?status=skipped")
    page.locator("tbody").get_by_role("checkbox").first.check()
    page.locator("tbody").get_by_role("link").first.click()
    page.wait_for_url("**/deliveries/*")
    skipped(page, stack, "moved-2")
    page.go_back()
    expect(page.get_by_text("moved-2", exact=True).first).to_be_visible()
    expect(page.locator("tbody input:checked")).to_have_count(0)


@pytest.mark.parametrize("path", [f"{TABLE}/deliveries", f"{TABLE}/deliveries?view=causes", "/w/demo/settings/audit"])
def test_filters_say_what_is_shown_after_back(page: Page, stack: Stack, path: str) -> None:
    connected(page, stack)
    page.goto(stack.url + path)
    page.locator("select[name=connection]").select_option(label="Acme SE")
    page.locator("form.filters").last.get_by_role("button").first.click()
    page.wait_for_url("**connection=1**")
    page.go_back()
    page.wait_for_url(stack.url + path)
    expect(page.locator("select[name=connection]")).to_have_value("")


def test_after_back_no_switch_to_create_profile_stands_without_its_price(page: Page, stack: Stack) -> None:
    connected(page, stack)
    page.goto(f"{stack.url}{TABLE}/connections/1")
    behavior = page.locator("#behavior-1")
    behavior.select_option("create_profile")
    expect(page.locator("#price-1")).to_contain_text("Every person added counts", timeout=SLOW)
    page.get_by_role("link", name="Its deliveries").click()
    page.wait_for_url("**/deliveries?connection=1")
    page.go_back()
    expect(page.locator("#price-1")).to_contain_text("Nobody is added to Klaviyo.")
    expect(behavior).to_have_value("update_existing")
