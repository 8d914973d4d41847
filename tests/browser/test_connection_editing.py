"""Editing a row in a browser: picker and price, conflicts, undo, being signed out; by keyboard alone too."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.shown import SLOW, opened, sign_in, table
from tests.browsing import TABLE
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("two_connected")]


def test_a_list_is_found_chosen_saved_and_undone_by_keyboard_alone(page: Page, stack: Stack) -> None:
    table(page, stack)
    opened(page)
    for _ in range(2):
        page.keyboard.press("Tab")
    box, found = page.locator("#list-1-filter"), page.locator("#list-1-options [role=option]")
    expect(box).to_be_focused()
    expect(box).to_have_value("None")
    page.keyboard.press("ArrowDown")
    expect(found).to_have_count(27)  # every list of the account, and None
    page.keyboard.type("newsletter")
    expect(found).to_have_count(2)
    expect(page.locator("#announcer")).to_have_text("2 lists fit")
    page.keyboard.press("Escape")  # closes what was open, nothing else
    expect(box).to_have_value("None")
    expect(box).to_have_attribute("aria-expanded", "false")
    page.keyboard.type("newsletter")
    page.keyboard.press("ArrowDown")
    active = box.get_attribute("aria-activedescendant")
    expect(page.locator(f"#{active}")).to_contain_text("Newsletter (confirmed)")
    page.keyboard.press("Enter")
    expect(box).to_have_value("Newsletter (confirmed)")
    chosen = page.locator("#list-1 option:checked").text_content() or ""
    assert "double opt-in" in chosen
    page.keyboard.press("Tab")
    expect(page.locator("#refresh-1")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#save-1")).to_be_focused()
    page.keyboard.press("Enter")
    row = page.locator("#connection-1")
    expect(row).not_to_have_attribute("data-editing", "")
    expect(row).to_contain_text(chosen.split(" · ")[0])
    expect(row).to_contain_text(chosen.split(" · ")[1])
    expect(page.locator("#edit-1")).to_be_focused()
    expect(page.locator("#announcer")).to_have_text("Saved.")
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#undo-1")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row.locator("td").nth(4)).to_contain_text("None")
    expect(page.locator("#edit-1")).to_be_focused()
    expect(page.locator("#announcer")).to_have_text("Undone.")


def test_lists_that_come_in_leave_who_is_choosing_where_they_are(page: Page, stack: Stack) -> None:
    table(page, stack)
    opened(page)
    stack.sandbox.fault("slow", account="ACCTSE", endpoint="GET /api/lists", times=1, seconds=1.5)
    page.locator("#refresh-1").click()
    expect(page.locator("#lists-1")).to_contain_text("Looking for newer lists")
    box = page.locator("#list-1-filter")
    box.click()
    page.keyboard.type("loyalty")
    expect(page.locator("#lists-1")).to_contain_text("lists in Klaviyo", timeout=SLOW)
    expect(box).to_be_focused()
    expect(box).to_have_value("loyalty")
    expect(page.locator("#list-1-options [role=option]")).to_have_count(3)
    page.get_by_role("option", name="Loyalty gold").click()
    expect(page.locator("#list-1 option:checked")).to_have_text("Loyalty gold · single opt-in")
    page.keyboard.press("Escape")
    expect(page.locator("#edit-1")).to_be_focused()


def test_the_price_is_said_before_saving(page: Page, stack: Stack) -> None:
    stack.ingest(
        *(
            {
                "id": f"price-{number}",
                "type": "profile",
                "store": "se",
                "occurred_at": "2026-11-23T10:00:00Z",
                "profile": {"email": email, "fields": {"points": 1}},
            }
            for number, email in enumerate(["ada@example.com", "unknown-1@example.com", "unknown-2@example.com"])
        )
    )
    table(page, stack)
    opened(page)
    page.keyboard.press("Tab")
    expect(page.locator("#behavior-1")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#behavior-1")).to_have_value("create_profile")
    expect(page.locator("#price-1")).to_contain_text("Would add 2 of the 3 people known here.", timeout=SLOW)
    assert "unknown-1@example.com" not in stack.sandbox.profiles("ACCTSE")
    page.keyboard.press("Escape")
    expect(page.locator("#connection-1")).to_contain_text("Only update existing")
    expect(page.locator("#edit-1")).to_be_focused()


def test_who_saves_second_sees_both_values_and_loses_nothing(page: Page, stack: Stack, browser: Browser) -> None:
    table(page, stack)
    opened(page, 2)
    page.locator("#store-2").select_option(label="acme.de")
    page.locator("#list-2-filter").fill("newsletter")
    page.locator("#list-2-filter").press("Enter")
    store, mine = page.locator("#store-2").input_value(), page.locator("#list-2").input_value()
    other = browser.new_context().new_page()
    table(other, stack)
    opened(other, 2)
    other.locator("#behavior-2").select_option("create_profile")
    other.locator("#save-2").click()
    expect(other.locator("#connection-2")).to_contain_text("Create profile")
    other.context.close()
    page.locator("#save-2").click()
    row = page.locator("#connection-2")
    expect(row).to_contain_text("Somebody else saved this connection meanwhile")
    expect(row).to_contain_text("They chose: Create profile")
    expect(row).to_contain_text("They chose: acme.no")
    expect(row.locator("[role=alert]")).to_be_focused()
    expect(page.locator("#store-2")).to_have_value(store)
    expect(page.locator("#list-2")).to_have_value(mine)
    page.locator("#save-2").click()
    expect(row).to_contain_text("acme.de")
    expect(row).to_contain_text("Only update existing")


def test_being_signed_out_meanwhile_loses_nothing_typed(page: Page, stack: Stack) -> None:
    """In another tab, or because the session ended: the poller does not lead away from what is being typed."""
    opened(table(page, stack))
    page.locator("#behavior-1").select_option("create_profile")
    page.context.clear_cookies()
    expect(page.locator("#updated")).to_contain_text("You are signed out", timeout=SLOW)
    page.locator("#save-1").click()
    expect(page.locator("#flashes [role=alert]")).to_contain_text("What you typed is still here")
    expect(page.locator("#behavior-1")).to_have_value("create_profile")


def test_who_signed_in_again_in_another_tab_saves_what_was_typed(page: Page, stack: Stack, browser: Browser) -> None:
    opened(table(page, stack))
    page.locator("#behavior-1").select_option("create_profile")
    sign_out_of_all_others(browser, stack)
    page.locator("#save-1").click()
    expect(page.locator("#flashes [role=alert]")).to_contain_text("sign in again in another tab")
    tab = page.context.new_page()
    sign_in(tab, stack)
    page.locator("#save-1").click()
    expect(page.locator("#connection-1")).not_to_have_attribute("data-editing", "")
    expect(page.locator("#connection-1")).to_contain_text("Create profile")
    page.locator("#undo-1").click()
    expect(page.locator("#announcer")).to_have_text("Undone.")


def sign_out_of_all_others(browser: Browser, stack: Stack) -> None:
    """As somebody does who left a browser open elsewhere."""
    context = browser.new_context()
    other = context.new_page()
    sign_in(other, stack)
    other.goto(f"{stack.url}/account")
    ends = other.locator("form[action*='/account/sessions/'] button")
    while ends.count():
        ends.first.click()
        other.wait_for_load_state()
    context.close()


def test_what_went_wrong_is_not_said_any_more_once_it_works(browser: Browser, stack: Stack) -> None:
    context = browser.new_context()  # of its own: that nobody is reached is an error of `page`
    page = table(context.new_page(), stack)
    opened(page)
    context.set_offline(True)
    page.locator("#save-1").click()
    expect(page.locator("#flashes [role=alert]")).to_contain_text("We could not be reached")
    context.set_offline(False)
    page.locator("#save-1").click()
    expect(page.locator("#connection-1")).not_to_have_attribute("data-editing", "")
    expect(page.locator("#flashes [role=alert]")).to_have_count(0)
    context.close()


def test_an_unreachable_klaviyo_is_said_in_place_and_the_choice_stays(page: Page, stack: Stack) -> None:
    table(page, stack)
    opened(page, 2)
    before = page.locator("#list-2").input_value()
    assert before
    stack.sandbox.fault("503", account="ACCTNO", endpoint="GET /api/lists", times=50)
    page.locator("#refresh-2").click()
    region = page.locator("#lists-2")
    expect(region).to_contain_text("Klaviyo did not answer as it should.", timeout=40_000)
    expect(region).to_contain_text("Your present choice stays.")
    expect(page.locator("#list-2")).to_have_value(before)
    stack.sandbox.clear_faults()
    page.get_by_role("button", name="Try again").click()
    expect(region).to_contain_text("lists in Klaviyo", timeout=SLOW)
    page.keyboard.press("Escape")


def test_what_was_disconnected_while_it_was_edited_does_not_just_vanish(page: Page, stack: Stack) -> None:
    """The last one here: it takes the second connection away."""
    table(page, stack)
    opened(page, 2)
    with page.context.new_page() as other:
        other.goto(f"{stack.url}{TABLE}/connections/2/disconnect")
        other.get_by_role("button", name="Disconnect").click()
        expect(other.locator("#flashes")).to_contain_text("is disconnected")
    page.locator("#save-2").click()
    said = page.locator("#connection-2 [role=alert]")
    expect(said).to_have_text("Nothing was saved. This connection has been disconnected. Add a new one.")
    expect(said).to_be_focused()
    page.wait_for_timeout(3000)  # a few polls of a table that does not hold it any more
    expect(said).to_be_visible()
