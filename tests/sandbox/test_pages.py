"""The stand-in's pages: whatever stands in a name or in an address is text there, never markup."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

from sandbox import consent_page
from sandbox.options import Options
from sandbox.state.world import World
from tests.sandbox.authorizing import App, form_of
from tests.sandbox_process import SandboxProcess

ODD = """<img src=x onerror=alert(1)> "O'Brien" & Söhne $hidden ${app}"""


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


def is_plain(page: str) -> bool:
    """Whether nothing of a name became a tag or a handler."""
    return not any(
        tag in {"img", "script"} or any(name.startswith("on") for name in names) for tag, names in Tags(page).found
    )


def test_account_names_are_text() -> None:
    world = World(Options(app_name=ODD, install_url=f"http://127.0.0.1/?{ODD}"))
    world.add_account("ODD<b>1", ODD, "single_opt_in")
    for page in (consent_page.shown(world, {"state": ODD}, ["lists:read"]), consent_page.accounts(world)):
        assert is_plain(page.text or "")
        assert escape(ODD) in (page.text or "")
        assert "<b>" not in (page.text or "")


def test_what_an_address_brings_is_text(sandbox: SandboxProcess) -> None:
    app = App(sandbox)
    app.state = ODD
    shown = app.visit()
    assert is_plain(shown.text)
    assert dict(form_of(shown.text)[0])["state"] == ODD
    for wrong in ({"redirect_uri": ODD}, {"client_id": ODD}):
        refused = app.visit(**wrong)
        assert refused.status_code == 400
        assert is_plain(refused.text)
