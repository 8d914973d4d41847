"""The pages of what is shared in a real browser: live without reload, nothing typed is lost, accessible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.shown import connected, sign_in
from tests.browsing import TABLE
from tests.stack import Stack

pytestmark = pytest.mark.browser


def profile(number: int) -> dict[str, Any]:
    return {
        "id": f"shared-{number}",
        "type": "profile",
        "store": "se",
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": f"shared-{number}@example.com", "fields": {"points": number}},
    }


def test_a_test_event_is_followed_without_a_reload(page: Page, stack: Stack) -> None:
    connected(page, stack)
    page.goto(f"{stack.url}{TABLE}/events")
    page.get_by_text("What Klaviyo receives").first.click()
    page.get_by_role("link", name="Send this one as a test").first.click()
    page.get_by_label("Person").fill("ada@example.com")
    page.get_by_role("button", name="Send test event").click()
    expect(page.locator("#outcome .status")).to_have_text("Delivered", timeout=10_000)


def test_people_are_counted_and_synced_before_ones_eyes(page: Page, stack: Stack) -> None:
    connected(page, stack)
    stack.sandbox.put_profiles("ACCTSE", *(f"shared-{number}@example.com" for number in range(150)))
    stack.ingest(*(profile(number) for number in range(200)))
    page.goto(f"{stack.url}{TABLE}/backfills")
    page.get_by_role("link", name="Sync Acme SE").click()
    stack.sandbox.fault("slow", account="ACCTSE", endpoint="GET /api/profiles", times=1, seconds=2)
    page.get_by_role("button", name="Count people").click()
    name = page.get_by_label("Name")
    expect(name).to_be_visible(timeout=20_000)
    counted = "Counted: 150 would be updated, 0 created, 50 skipped"
    expect(page.locator("#announcer")).to_have_text(counted)
    name.fill("Before the campaign")
    page.get_by_role("heading").first.click()  # the focus goes elsewhere, and polls come
    page.wait_for_timeout(2_500)
    expect(name).to_have_value("Before the campaign")
    page.locator("#start").click()
    expect(page.get_by_role("heading", name="Before the campaign")).to_be_visible()
    expect(page.locator("#progress .status")).to_have_text("Done", timeout=30_000)
    expect(page.locator("#progress")).to_contain_text("Not in Klaviyo: 50.")


def test_a_toggle_is_worked_by_keyboard(page: Page, stack: Stack) -> None:
    connected(page, stack)
    page.goto(f"{stack.url}{TABLE}/profile-data")
    switch = page.get_by_role("switch", name="Birthdate")
    expect(switch).to_be_checked()
    switch.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.locator("#flashes")).to_contain_text("Turned off: Birthdate.")
    expect(page.get_by_role("switch", name="Birthdate")).not_to_be_checked()


@pytest.fixture(params=["light", "dark"])
def coloured(request: pytest.FixtureRequest, browser: Browser, stack: Stack) -> Iterator[Page]:
    context = browser.new_context(color_scheme=request.param)
    page = context.new_page()
    sign_in(page, stack)
    yield page
    context.close()


def test_the_pages_are_accessible(page: Page, stack: Stack, coloured: Page) -> None:
    connected(page, stack)
    page.goto(f"{stack.url}{TABLE}/backfills")
    page.get_by_role("link", name="Sync Acme SE").click()
    form = page.url
    pages = ["/events", "/events/test", "/profile-data?turned_on=points", "/profile-data/properties/new", "/backfills"]
    for url in [*(f"{stack.url}{TABLE}{path}" for path in pages), form]:
        coloured.goto(url)
        for details in coloured.locator("main details").all():
            details.evaluate("element => { element.open = true }")
        found = Axe().run(coloured)
        assert found.violations_count == 0, f"{url}\n{found.generate_report()}"
