"""The live table in a browser: picker and price, conflicts, undo, filters, hidden tabs; by keyboard alone too."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_connections import sign_in
from tests.browsing import TABLE
from tests.stack import Stack

pytestmark = pytest.mark.browser
SLOW = 20_000


@pytest.fixture(scope="module", autouse=True)
def two_connected(browser: Browser, stack: Stack) -> None:
    """Acme SE for acme.se, Acme NO for acme.no."""
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, stack)
    page.goto(stack.url + TABLE)
    page.locator("#enable").click()
    allow(page, "Acme SE")
    page.locator("#edit-1").click()
    page.locator("#store-1").select_option(label="acme.se")
    page.locator("#save-1").click()
    expect(page.locator("tr[data-editing]")).to_have_count(0)
    page.locator("#add").click()
    page.get_by_label("Store").select_option(label="acme.no")
    page.get_by_role("button", name="Create Connection").click()
    allow(page, "Acme NO")
    expect(page.locator("tbody tr")).to_have_count(2)
    context.close()


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
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#undo-1")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row.locator("td").nth(4)).to_contain_text("None")
    expect(page.locator("#edit-1")).to_be_focused()


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
    expect(page.locator("#flashes [role=alert]")).to_contain_text("Nothing was changed")
    expect(page.locator("#behavior-1")).to_have_value("create_profile")


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
