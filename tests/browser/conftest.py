"""A real Chromium over the whole product. Skipped with a reason where there is none, unless REQUIRE_BROWSER=1."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.shown import allow, sign_in
from tests.browsing import TABLE
from tests.stack import Stack, running

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        sentence = "no Chromium on this machine: install it to run the browser tests"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(sentence)
        pytest.skip(sentence)  # the browser is the machine's, not the project's; where it must be there: above
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One installation for a module's tests."""
    home: Path = tmp_path_factory.mktemp("stack")
    with running(home) as started:
        yield started


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """A fresh window; a page that logs an error fails its test."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    # The browser and htmx report every 4xx as an error of the page; those are answers of ours.
    answers = ("the server responded with a status of 4", "Response Status Error Code 4")
    assert [text for text in problems if not any(words in text for words in answers)] == []


@pytest.fixture
def browser_without_js(browser: Browser, stack: Stack) -> Iterator[Page]:
    """A window with JavaScript off."""
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
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
