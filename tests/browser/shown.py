"""What tests of the connection table in a browser begin with."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browsing import TABLE
from tests.stack import Stack

SLOW = 20_000


def sign_in(page: Page, stack: Stack, email: str = "owner@demo.test") -> None:
    page.goto(f"{stack.url}/sign-in")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill("demo-password")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/w/|/$"))


def connected(page: Page, stack: Stack) -> None:
    """Signed in, on the table, with Acme SE connected."""
    sign_in(page, stack)
    page.goto(stack.url + TABLE)
    if page.locator("#enable").count():
        page.locator("#enable").click()
        page.get_by_label("Acme SE").check()
        page.get_by_role("button", name="Allow").click()
    # All of it: a link that is pressed before the scripts are there is a plain one, and leads to a page of its own.
    page.wait_for_url(f"**{TABLE}**")
    expect(page.locator("tbody tr")).to_have_count(1)


def allow(page: Page, account: str) -> None:
    page.get_by_label(account).check()
    page.get_by_role("button", name="Allow").click()


def table(page: Page, stack: Stack, query: str = "") -> Page:
    """Signed in, on the table."""
    sign_in(page, stack)
    page.goto(stack.url + TABLE + query)
    expect(page.locator("tbody tr").first).to_be_visible()
    return page


def opened(page: Page, number: int = 1) -> None:
    """Open a row with Enter and wait for its lists."""
    page.locator(f"#edit-{number}").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"#store-{number}")).to_be_focused()
    expect(page.locator(f"#lists-{number}")).to_contain_text("lists in Klaviyo", timeout=SLOW)
