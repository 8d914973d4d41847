"""The pages a person sees: consent, the accounts, a refusal. Plain HTML, no script, no cookie."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from aiohttp import web

from sandbox.state.world import World

_HERE = Path(__file__).parent / "pages"
_PAGE = Template((_HERE / "page.html").read_text())
_CONSENT = Template((_HERE / "consent.html").read_text())
_ACCOUNTS = Template((_HERE / "accounts.html").read_text())
_KEPT = (
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
}


def _page(title: str, content: str, status: int = 200) -> web.Response:
    text = _PAGE.substitute(title=escape(title), content=content)
    return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)


def refused(why: str) -> web.Response:
    """A request so wrong that nobody may be sent back with it."""
    return _page(
        "This request cannot be answered",
        f"<h1>This request cannot be answered</h1><p>{escape(why)}</p>",
        400,
    )


def _choice(kind: str, name: str, value: str, label: str, note: str = "", more: str = "") -> str:
    return (
        f'<label class="choice"><input type="{kind}" name="{name}" value="{escape(value)}"{more}>'
        f"<span>{escape(label)}<small>{escape(note)}</small></span></label>"
    )


def shown(world: World, values: Any, scopes: list[str]) -> web.Response:
    """The consent page for a checked request."""
    hidden = "".join(f'<input type="hidden" name="{name}" value="{escape(values.get(name, ""))}">' for name in _KEPT)
    accounts = "".join(
        _choice(
            "radio",
            "account",
            account.id,
            account.record.name,
            account.id,
            "" if place else " checked required",
        )
        for place, account in enumerate(world.accounts.values())
    )
    ticks = "".join(
        _choice("checkbox", "granted", scope, scope, "always" if scope == "accounts:read" else "", " checked")
        for scope in scopes
    )
    app = escape(world.options.app_name)
    content = _CONSENT.substitute(app=app, hidden=hidden, accounts=accounts, scopes=ticks)
    return _page(f"Allow {world.options.app_name}?", content)


def accounts(world: World) -> web.Response:
    """The accounts of this stand-in, each with the way to install the app from here."""
    rows = []
    for account in world.accounts.values():
        installed = bool(world.grants.scopes_of(account.id))
        state = "Installed" if installed else "Not installed"
        rows.append(
            f"<tr><th scope=row>{escape(account.record.name)}<small>{escape(account.id)}</small></th>"
            f"<td>{len(account.profiles):,} profiles</td><td>{state}</td></tr>"
        )
    content = _ACCOUNTS.substitute(
        rows="".join(rows), app=escape(world.options.app_name), install=escape(world.options.install_url)
    )
    return _page("Klaviyo sandbox", content)
