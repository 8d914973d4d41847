"""What an owner does in a browser: sign in, Enable, Allow, watch the counters, edit in the row, by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.shown import connected, sign_in
from tests.browsing import TABLE
from tests.stack import Stack

WIDE = """[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
  .map((e) => e.tagName + "." + e.className + "#" + e.id + " " + e.getBoundingClientRect().right)"""

pytestmark = pytest.mark.browser
ANSWERS: dict[str, Callable[[Route], None]] = {
    "Try again in a moment.": lambda route: route.fulfill(status=503, body="Try again in a moment."),
    "We could not be reached.": lambda route: route.abort(),
}


def test_counters_move_by_themselves(page: Page, stack: Stack) -> None:
    connected(page, stack)
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("Acme SE")
    expect(row).to_contain_text("ACCTSE")
    expect(row.locator(".status")).to_contain_text("Delivering")
    before = row.inner_text()
    stack.ingest(
        {
            "id": "seen-1",
            "type": "event",
            "event": "member_joined_program",
            "store": "se",
            "occurred_at": "2026-11-23T10:00:00Z",
            "profile": {"email": "ada@example.com", "fields": {"points": 7}},
        }
    )
    expect(row).to_contain_text("2 delivered", timeout=10_000)
    assert row.inner_text() != before


def test_a_row_is_edited_by_keyboard_alone(page: Page, stack: Stack) -> None:
    connected(page, stack)
    page.locator("[id^=edit-]").focus()
    page.keyboard.press("Enter")
    editing = page.locator("tr[data-editing]")
    expect(editing).to_be_visible()
    page.keyboard.press("Escape")
    expect(editing).to_have_count(0)
    expect(page.locator("[id^=edit-]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(editing).to_be_visible()
    editing.get_by_label("Store").select_option(label="acme.se")
    editing.get_by_role("button", name="Save").focus()
    page.keyboard.press("Enter")
    expect(page.locator("tr[data-editing]")).to_have_count(0)
    expect(page.locator("[id^=edit-]")).to_be_focused()
    expect(page.locator("tbody tr").first).not_to_contain_text("No store yet")


def test_an_edited_row_is_left_alone_while_others_move(page: Page, stack: Stack) -> None:
    connected(page, stack)
    page.locator("[id^=edit-]").click()
    behavior = page.locator("tr[data-editing]").get_by_label("Profile sync behavior")
    behavior.select_option("create_profile")
    stack.ingest(
        {
            "id": "seen-2",
            "type": "event",
            "event": "member_joined_program",
            "store": "se",
            "occurred_at": "2026-11-23T10:00:00Z",
            "profile": {"email": "ada@example.com", "fields": {"points": 8}},
        }
    )
    expect(page.locator("#table .lead")).to_contain_text("4 delivered", timeout=10_000)
    expect(behavior).to_have_value("create_profile")
    page.keyboard.press("Escape")


def test_everything_works_without_javascript(browser_without_js: Page, stack: Stack) -> None:
    page = browser_without_js
    connected(page, stack)
    page.locator("[id^=edit-]").click()
    page.get_by_label("Profile sync behavior").select_option("update_existing")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#flashes")).to_contain_text("Saved")


def test_the_first_tab_offers_to_skip_to_the_content(page: Page, stack: Stack) -> None:
    connected(page, stack)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 700})
        page.goto(f"{stack.url}{TABLE}/scopes")
        expect(page.locator(".top nav [aria-current]")).to_be_in_viewport(ratio=1)  # also where it scrolls sideways
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()


@pytest.mark.parametrize("width", [800, 1024, 1190])
def test_what_one_presses_is_in_sight_on_a_tablet(page: Page, stack: Stack, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    connected(page, stack)
    expect(page.locator("[id^=edit-]")).to_be_in_viewport(ratio=1)
    last, menu = page.locator(".top nav a").last.bounding_box(), page.locator(".menu summary").bounding_box()
    assert last
    assert menu
    assert last["x"] + last["width"] <= menu["x"] or last["y"] >= menu["y"] + menu["height"] - 4
    page.locator("[id^=edit-]").click()
    for name in ("Save", "Cancel"):
        expect(page.locator("tr[data-editing]").get_by_text(name, exact=True)).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_longest_store_name_makes_no_page_wider(page: Page, stack: Stack, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    connected(page, stack)
    page.goto(f"{stack.url}/w/demo/settings")
    name = f"{width}" + "W" * 196
    page.locator("#new-store-external_id").fill(f"wide-{width}")
    page.locator("#new-store-name").fill(name)
    page.get_by_role("button", name="Add store").click()
    expect(page.locator("#flashes")).to_contain_text("is added")
    page.goto(f"{stack.url}{TABLE}/connections/1")
    page.get_by_label("Store").select_option(label=name)
    page.get_by_role("button", name="Save changes").click()
    expect(page.locator("#flashes")).to_contain_text("Saved")
    for path in ("/w/demo/settings", f"{TABLE}/connections/1", f"{TABLE}/connections/new", TABLE):
        page.goto(stack.url + path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, (path, wide, page.evaluate(WIDE))


@pytest.mark.parametrize("width", [390, 1280])
def test_a_long_account_name_on_a_button_makes_no_page_wider(page: Page, stack: Stack, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    connected(page, stack)
    for path, button in (("/backfills", "Sync"), ("/profile-data?turned_on=points", "Resync")):
        page.goto(stack.url + TABLE + path)
        named = page.get_by_role("link", name=f"{button} Acme SE")
        named.evaluate("(link) => link.append(' Gesellschaft mit beschränkter Haftung'.repeat(5))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, page.evaluate(WIDE))


def test_what_could_not_be_saved_is_said_and_can_be_sent_again(browser: Browser, stack: Stack) -> None:
    context = browser.new_context()  # of its own: the browser reports what fails here, and so it should
    page = context.new_page()
    connected(page, stack)
    page.locator("[id^=edit-]").click()
    save = page.locator("tr[data-editing]").get_by_role("button", name="Save")
    for said, answer in ANSWERS.items():
        page.route("**/connections/*", answer)
        save.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text(said)
        expect(save).to_be_enabled()
        expect(save).to_be_focused()
        page.unroute("**/connections/*")
    save.press("Enter")
    expect(page.locator("tr[data-editing]")).to_have_count(0)
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_what_was_done_far_down_a_page_is_said_in_sight(page: Page, stack: Stack, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 400})
    sign_in(page, stack)
    page.goto(f"{stack.url}/w/demo/settings")
    page.get_by_role("link", name="Rename acme.se").click()
    expect(page.get_by_label("Name of acme.se")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#flashes .flash")).to_be_in_viewport(ratio=1)
    row, said = page.locator("tr:target").bounding_box(), page.locator("#flashes").bounding_box()
    assert row
    assert said
    assert row["y"] >= said["y"] + said["height"], "and does not cover what it is about"
