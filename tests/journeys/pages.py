"""A person with a browser without JavaScript: opens pages, follows links by their id, fills in and sends forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import requests

from tests.stack import Stack


@dataclass
class Form:
    """One form: `fields` as a browser would send them untouched; `buttons`: their attributes by what they say."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: dict[str, dict[str, str]] = field(default_factory=dict)


class _Reader(HTMLParser):
    """Collects forms with their fields (also those tied by `form=`), links and button texts."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, Form] = {}
        self.links: dict[str, str] = {}
        self.titles: list[str] = []
        self._form: str | None = None
        self._select: tuple[str, str] | None = None
        self._first: str | None = None
        self._chosen: str | None = None
        self._button: tuple[str, dict[str, str]] | None = None
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        owner = values.get("form") or self._form or ""
        match tag:
            case "form":
                self._form = values.get("id") or f"form {len(self.forms)}"
                self.forms.setdefault(self._form, Form("")).action = values.get("action", "")
            case "input" if values.get("type") != "checkbox" or "checked" in values:
                self._add(owner, values)
            case "select":
                self._select, self._first, self._chosen = (owner, values.get("name", "")), None, None
            case "option":
                self._first = values.get("value", "") if self._first is None else self._first
                self._chosen = values.get("value", "") if "selected" in values else self._chosen
            case "button":
                self._button = owner, values
            case "a" if "id" in values:
                self.links[values["id"]] = values.get("href", "")
            case "h1":
                self._in_title = True

    def _add(self, owner: str, values: dict[str, str]) -> None:
        if values.get("name") and "disabled" not in values:
            default = "on" if values.get("type") == "checkbox" else ""
            self.forms.setdefault(owner, Form("")).fields.append((values["name"], values.get("value", default)))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select" and self._select is not None:
            owner, name = self._select
            value = self._chosen if self._chosen is not None else self._first or ""
            self.forms.setdefault(owner, Form("")).fields.append((name, value))
            self._select = None
        elif tag == "button":
            self._button = None
        elif tag == "h1":
            self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._button is not None and data.strip():
            owner, values = self._button
            self.forms.setdefault(owner, Form("")).buttons[data.strip()] = values
        if self._in_title:
            self.titles.append(data)


class Page:
    """What one sees: the address, the text, forms and links."""

    def __init__(self, answer: requests.Response) -> None:
        assert answer.status_code < 400 or answer.status_code == 422, f"{answer.status_code} {answer.url}"
        self.url = answer.url
        self.text = answer.text
        self._reader = _Reader()
        self._reader.feed(answer.text)

    @property
    def title(self) -> str:
        """The first heading."""
        return " ".join("".join(self._reader.titles).split())

    def link(self, id_: str) -> str:
        """Where the link with this id leads."""
        assert id_ in self._reader.links, f"no link {id_} on {self.url}: {sorted(self._reader.links)}"
        return urljoin(self.url, self._reader.links[id_])

    def links(self, prefix: str) -> list[str]:
        """Where the links lead whose id begins so, in their order."""
        return [urljoin(self.url, href) for id_, href in self._reader.links.items() if id_.startswith(prefix)]

    def form(self, button: str) -> Form:
        """The form with this button."""
        for form in self._reader.forms.values():
            if button in form.buttons:
                pressed = form.buttons[button]
                named = [(pressed["name"], pressed.get("value", ""))] if pressed.get("name") else []
                action = pressed.get("formaction") or form.action
                return Form(urljoin(self.url, action), [*form.fields, *named], form.buttons)
        raise AssertionError(f"no button {button} on {self.url}")


class Person:
    """Somebody signed in."""

    def __init__(self, stack: Stack, email: str = "owner@demo.test", workspace: str = "demo") -> None:
        self._stack = stack
        self.base = f"{stack.url}/w/{workspace}/settings/integrations/klaviyo"
        self._session = requests.Session()
        self._session.trust_env = False
        page = self.open(f"{stack.url}/sign-in")
        self.press(page, "Sign in", email=email, password="demo-password")

    def open(self, path: str) -> Page:
        """Open a page: an address, or a path below Klaviyo's settings."""
        url = path if path.startswith("http") else self.base + path
        return Page(self._session.get(url, timeout=20))

    def press(self, page: Page, button: str, without: tuple[tuple[str, str], ...] = (), **changes: str) -> Page:
        """Press a button with some fields filled in, and some boxes (`without`) unchecked; the page one lands on."""
        form = page.form(button)
        kept = [(name, value) for name, value in form.fields if name not in changes and (name, value) not in without]
        data = [*kept, *changes.items()]
        answer = self._session.post(form.action, data=data, timeout=20)
        return Page(answer)

    def allow(self, page: Page, account: str) -> Page:
        """At Klaviyo's consent page: choose the account, press Allow."""
        assert urlsplit(page.url).netloc == urlsplit(self._stack.sandbox.url).netloc, page.text
        form = page.form("Allow")
        kept = [(name, value) for name, value in form.fields if name not in {"account", "decision"}]
        data = [*kept, ("account", account), ("decision", "allow")]
        return Page(self._session.post(form.action, data=data, timeout=20))
