"""Troubleshooting in a real browser: following, reading back, a resend's progress, what Klaviyo has now."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.shown import connected
from tests.browsing import TABLE
from tests.stack import Stack

pytestmark = pytest.mark.browser


def joined(name: str, email: str = "ada@example.com") -> dict[str, Any]:
    return {
        "id": name,
        "type": "event",
        "event": "member_joined_program",
        "store": "se",
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": email, "fields": {"points": 5}},
    }


def test_the_list_moves_only_when_followed(page: Page, stack: Stack) -> None:
    connected(page, stack)
    page.goto(f"{stack.url}{TABLE}/deliveries")
    stack.ingest(joined("follow-1"))
    page.wait_for_timeout(1500)
    expect(page.get_by_text("follow-1")).to_have_count(0)
    page.get_by_role("switch", name="Follow").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("switch", name="Follow")).to_have_attribute("aria-checked", "true")
    expect(page.get_by_text("follow-1")).to_have_count(2)
    stack.ingest(joined("follow-2"))
    expect(page.get_by_text("follow-2")).to_have_count(2, timeout=10_000)


def test_chosen_ones_are_sent_again_with_progress(page: Page, stack: Stack) -> None:
    connected(page, stack)
    stack.ingest(joined("again-1", "nobody-at-all@example.com"))
    page.goto(f"{stack.url}{TABLE}/deliveries?follow=1")
    row = page.locator("tr", has=page.get_by_text("again-1")).first
    expect(row).to_contain_text("Not in Klaviyo", timeout=10_000)
    page.get_by_role("switch", name="Follow").click()
    stack.sandbox.put_profiles("ACCTSE", "nobody-at-all@example.com")
    for box in page.locator("tr", has=page.get_by_text("again-1")).get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Resend chosen").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Send 2 deliveries again?")
    page.get_by_label("Name, to find it again").fill("After adding them")
    page.get_by_role("button", name="Send again").click()
    expect(page.locator("#progress")).to_contain_text("2 of 2 put in line again.", timeout=10_000)
    expect(page.locator("#progress")).to_contain_text("Done", timeout=10_000)


def test_a_delivery_is_read_back_while_one_looks(page: Page, stack: Stack) -> None:
    connected(page, stack)
    stack.ingest(joined("proof-1"))
    page.goto(f"{stack.url}{TABLE}/deliveries?follow=1")
    row = page.locator("tr", has=page.get_by_text("proof-1")).filter(has_text="Event")
    expect(row).to_contain_text("Accepted by Klaviyo", timeout=10_000)
    row.get_by_role("link").first.click()
    page.get_by_role("button", name="Read back from Klaviyo").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Confirmed in Klaviyo", timeout=20_000)


def test_a_person_is_traced_and_compared(page: Page, stack: Stack) -> None:
    connected(page, stack)
    stack.ingest(joined("trace-1"))
    page.goto(f"{stack.url}{TABLE}/people")
    page.get_by_label("E-mail address").fill("ada@example.com")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/people/\d+$"))
    expect(page.get_by_text("trace-1")).to_be_visible()
    page.get_by_role("button", name="Look").click()
    expect(page.locator("#now")).to_contain_text("Cevoid: Points", timeout=10_000)


def test_what_one_has_in_hand_is_found_from_the_keyboard(page: Page, stack: Stack) -> None:
    connected(page, stack)
    stack.ingest(joined("found-1"))
    page.goto(f"{stack.url}{TABLE}/deliveries")
    page.get_by_label("An address, an activity's id").fill("found-1")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"activity=\d+$"))
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("An address, an activity's id").fill("nobody-here")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing in")
    expect(page.get_by_label("An address, an activity's id")).to_have_value("nobody-here")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_that_find_out_stand_in_nobodys_way(page: Page, stack: Stack, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    connected(page, stack)
    stack.ingest(joined(f"seen-{scheme}", "nobody-of-these@example.com"))
    page.goto(f"{stack.url}{TABLE}/deliveries?follow=1")
    row = page.locator("tr", has=page.get_by_text(f"seen-{scheme}")).first
    expect(row).to_contain_text("Not in Klaviyo", timeout=10_000)
    one = row.get_by_role("link").first.get_attribute("href")
    person = row.get_by_role("link").nth(1).get_attribute("href")
    paths = ["", "?view=causes", "/resends", "/resends/new?status=skipped"]
    for url in [
        *(f"{TABLE}/deliveries{path}" for path in paths),
        one,
        person,
        f"{TABLE}/people",
        f"{TABLE}/operations",
    ]:
        page.goto(f"{stack.url}{url}")
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
        assert found.violations_count == 0, f"{url}\n{found.generate_report()}"
