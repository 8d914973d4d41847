"""A workspace's owner going through OAuth and back, as a browser without JavaScript does it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from tests.journeys.pages import Page, Person
from tests.processes import wait_for
from tests.stack import Stack
from tests.webapp.views.pages import text_of

STORES = {"ACCTSE": "acme.se", "ACCTNO": "acme.no", "ACCTDE": "acme.de"}


class Owner(Person):
    """Somebody signed in who connects accounts. `went`: the addresses of the last redirects."""

    def __init__(self, stack: Stack, email: str = "owner@demo.test", workspace: str = "demo") -> None:
        super().__init__(stack, email, workspace)
        self.stack = stack
        self.went: list[str] = []

    # going there and back

    def enable(self, account: str = "ACCTSE", *, without: tuple[str, ...] = ()) -> Page:
        """Enable, or Create Connection for the account's store; the page one lands on."""
        return self.choose(self.leave(account), account, without=without)

    def leave(self, account: str = "ACCTSE") -> Page:
        """As far as Klaviyo's consent page."""
        table = self.open("")
        if 'id="enable"' in table.text:
            return self.press(table, "Enable")
        return self.press(self.open("/connections/new"), "Create Connection", store=self.store_id(account))

    def choose(self, consent: Page, account: str, *, without: tuple[str, ...] = (), decision: str = "Allow") -> Page:
        """At the consent page: an account, some scopes unticked, Allow or Deny."""
        left_out = tuple(("granted", scope) for scope in without)
        form = consent.form(decision)
        kept = [pair for pair in form.fields if pair[0] != "account" and pair not in left_out]
        return self._follow(self._session.post(form.action, data=[*kept, ("account", account)], timeout=20))

    def stop_short(self, consent: Page, account: str) -> str:
        """Allow, but do not follow Klaviyo's redirect; its address."""
        form = consent.form("Allow")
        kept = [pair for pair in form.fields if pair[0] != "account"]
        data = [*kept, ("account", account)]
        answer = self._session.post(form.action, data=data, timeout=20, allow_redirects=False)
        return str(answer.headers["Location"])

    def _follow(self, answer: requests.Response) -> Page:
        self.went = [step.headers.get("Location", "") for step in answer.history]
        return Page(answer)

    def get(self, url: str) -> Page:
        """Open any address of ours, noting where it led."""
        return self._follow(self._session.get(url if url.startswith("http") else self.stack.url + url, timeout=20))

    def sign_out(self) -> None:
        """End this browser's session."""
        self.press(self.open(""), "Sign out")

    # what one sees

    def store_id(self, account: str) -> str:
        """The id of the store that belongs to an account here."""
        page = self.open("/connections/new").text
        found = re.search(rf'<option value="(\d+)"[^>]*>\s*{re.escape(STORES[account])}', page)
        assert found, page
        return found.group(1)

    def table(self) -> str:
        """What the table says."""
        return text_of(self.open(""))

    def connections(self) -> dict[str, str]:
        """The address of every live connection's page by its account's id."""
        row = r'id="open-\d+"\s+href="([^"]+)"[^>]*>[^<]*</a>\s*<span class="second">(\w+)'
        rows = re.findall(row, self.open("").text)
        return {account: f"{self.stack.url}{url}" for url, account in rows}

    def says(self, words: str, seconds: float = 15) -> None:
        """Wait until the table says something."""
        wait_for(lambda: words in self.table(), f"{words!r} in: {self.table()}", seconds)

    # the rest of a connection's life

    def give_store(self, account: str) -> None:
        """Give a connection its store."""
        page = self.open(self.connections()[account])
        self.press(page, "Save changes", store=self.store_in(page, account))

    def store_in(self, page: Page, account: str) -> str:
        """A store's id as offered on a connection's page."""
        found = re.search(rf'<option value="(\d+)"[^>]*>\s*{re.escape(STORES[account])}\s*<', page.text)
        assert found, page.text
        return found.group(1)

    def on(self, account: str, button: str, **fields: str) -> Page:
        """Press a button of a connection's page."""
        return self.press(self.open(self.connections()[account]), button, (), **fields)

    def disconnect(self, account: str) -> None:
        """End a connection and wait until its rest is settled."""
        url = self.connections()[account]
        self.press(self.open(f"{url}/disconnect"), "Disconnect")
        wait_for(lambda: "Settling what waited" not in self.open(url).text, "the rest to be settled", 15)

    def start_over(self) -> None:
        """End whatever is connected."""
        for account in self.connections():
            self.disconnect(account)


def state_of(url: str) -> str:
    """The `state` of an address of Klaviyo's or of ours."""
    return parse_qs(urlsplit(url).query)["state"][0]


def event(number: int, store: str = "se", email: str = "ada@example.com") -> dict[str, Any]:
    """An event to ingest."""
    return {
        "id": f"life-{number}",
        "type": "event",
        "event": "member_joined_program",
        "store": store,
        "occurred_at": "2026-11-23T10:00:00Z",
        "profile": {"email": email},
        "properties": {"shortId": str(number)},
    }
