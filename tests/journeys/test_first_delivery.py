"""What a new owner does, through real processes: sign in, Enable, Allow, and an activity arrives in Klaviyo."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from tests.processes import wait_for
from tests.stack import Stack, running

TABLE = "/w/demo/settings/integrations/klaviyo"


def sign_in(stack: Stack) -> requests.Session:
    """A signed-in browser without JavaScript."""
    browser = requests.Session()
    browser.trust_env = False
    form = browser.get(f"{stack.url}/sign-in", timeout=10).text
    pair = {"email": "owner@demo.test", "password": "demo-password", "csrf_token": token_in(form)}
    answer = browser.post(f"{stack.url}/sign-in", data=pair, timeout=10, allow_redirects=True)
    assert answer.ok
    return browser


def token_in(page: str) -> str:
    """The CSRF token of a page."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, page
    return found.group(1)


def enable(stack: Stack, browser: requests.Session, account: str = "ACCTSE", *, store: str = "") -> str:
    """Press Enable, choose the account, press Allow; the page one lands on."""
    page = browser.get(f"{stack.url}{TABLE}", timeout=10).text
    form = {"csrf_token": token_in(page), "store": store}
    consent = browser.post(f"{stack.url}{TABLE}/connections", data=form, timeout=10)
    assert consent.url.startswith(stack.sandbox.url), consent.text
    action = re.search(r'<form[^>]*action="([^"]*)"', consent.text)
    hidden = [
        (name, html.unescape(value))
        for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', consent.text)
    ]
    granted = re.findall(r'name="granted" value="([^"]+)"', consent.text)
    assert action is not None
    answer = browser.post(
        urljoin(consent.url, action.group(1)),
        data=[*hidden, *(("granted", scope) for scope in granted), ("account", account), ("decision", "allow")],
        timeout=10,
    )
    assert answer.ok, answer.text
    return answer.text


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_an_owner_enables_klaviyo_and_an_activity_arrives(backend: str, tmp_path: Path) -> None:
    with running(tmp_path, backend=backend) as stack:
        browser = sign_in(stack)
        page = enable(stack, browser)
        assert "Acme SE is connected." in page
        assert "Delivering" in page
        before = len(stack.sandbox.events("ACCTSE"))
        answer = stack.ingest(
            {
                "id": "joined-1",
                "type": "event",
                "event": "member_joined_program",
                "store": "se",
                "occurred_at": "2026-11-23T10:00:00Z",
                "profile": {"email": "ada@example.com", "fields": {"points": 120}},
                "properties": {"shortId": "123456"},
            },
            {
                "id": "joined-2",
                "type": "event",
                "event": "member_joined_program",
                "store": "se",
                "occurred_at": "2026-11-23T10:00:00Z",
                "profile": {"email": "nobody-there@example.com"},
            },
        )
        assert answer["accepted"] == 2
        wait_for(lambda: len(stack.sandbox.events("ACCTSE")) > before, "the event in Klaviyo", 15)
        event = stack.sandbox.events("ACCTSE")[-1]
        assert event["email"] == "ada@example.com"
        assert event["metric"] == "Cevoid: Member Joined Program"

        def statuses(activity: str) -> dict[str, tuple[str, str]]:
            found = stack.activity(activity)["deliveries"]
            return {row["kind"]: (row["status"], row["reason"]) for row in found}

        delivered = {"event": ("delivered", "written"), "fields": ("delivered", "written")}
        wait_for(lambda: statuses("joined-1") == delivered, "both deliveries", 15)
        skipped = {"event": ("skipped", "not_in_klaviyo"), "fields": ("skipped", "not_in_klaviyo")}
        wait_for(lambda: statuses("joined-2") == skipped, "nobody is created", 15)
        assert "nobody-there@example.com" not in stack.sandbox.profiles("ACCTSE")
        assert stack.sandbox.profiles("ACCTSE")["ada@example.com"]["properties"]["Cevoid: Points"] == 120
        row = browser.get(f"{stack.url}{TABLE}", timeout=10).text
        assert "2 delivered" in row
