"""The browser's Back, over pages that have changed since: what is ticked, chosen and filtered is what is so."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.shown import connected
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
