"""What a person does in a browser without JavaScript: sign in, press Enable, allow at Klaviyo."""

from __future__ import annotations

import html
import re
from urllib.parse import urljoin

import requests

from tests.stack import Stack

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
        data=[
            *hidden,
            *(("granted", scope) for scope in granted),
            ("account", account),
            ("decision", "allow"),
        ],
        timeout=10,
    )
    assert answer.ok, answer.text
    return answer.text
