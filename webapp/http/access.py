"""Who may. Closed by default: a view without a stated rule needs a signed-in person; another tenant's things are 404.

Every view states its rule with one of the decorators below; a test walks all routes and demands it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, abort, current_app, flash, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from webapp.extensions import htmx, settings
from webapp.models import Role
from webapp.services.workspaces import sessions

READING = {"GET", "HEAD", "OPTIONS"}
SIGNED_OUT = "You are signed out, so nothing was changed."
# What browsers drop from an address, or read as a slash.
_MISREAD = re.compile(r"[\x00-\x20\x7f\\]")
View = TypeVar("View", bound=Callable[..., ResponseReturnValue])


@dataclass(frozen=True, slots=True)
class Rule:
    """`public`: nobody asks; `key`: the view checks an ingest key; `roles`: who may, in the route's workspace."""

    public: bool = False
    key: bool = False
    roles: frozenset[Role] = frozenset()


def public(view: View) -> View:
    """Anybody."""
    return _stated(view, Rule(public=True))


def signed_in(view: View) -> View:
    """Whoever is signed in."""
    return _stated(view, Rule())


def by_ingest_key(view: View) -> View:
    """A program with an ingest key, which the view checks itself."""
    return _stated(view, Rule(public=True, key=True))


def workspace_access(*roles: Role) -> Callable[[View], View]:
    """People with one of `roles` in the workspace the route names (`<workspace>`, its slug)."""

    def decorate(view: View) -> View:
        return _stated(view, Rule(roles=frozenset(roles)))

    return decorate


def _stated(view: View, rule: Rule) -> View:
    @wraps(view)
    def same(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        return view(*args, **kwargs)

    same.access_rule = rule  # type: ignore[attr-defined]  # a mark on the function, read below and by the test
    return same  # type: ignore[return-value]  # the same signature


def rule_of(endpoint: str) -> Rule | None:
    """The rule stated for a route's endpoint; None where none is."""
    view = current_app.view_functions.get(endpoint)
    return getattr(view, "access_rule", None)


def init_app(app: Flask) -> None:
    """Ask before every request."""
    app.before_request(_check)


def _check() -> ResponseReturnValue | None:
    g.user = g.session_row = g.workspace = g.role = None
    if request.endpoint is None or request.endpoint == "static":
        return None
    rule = rule_of(request.endpoint) or Rule()
    if request.method not in READING and not rule.key:
        _same_site_only()
    token = request.cookies.get(sessions.cookie_name(secure=settings().is_https))
    slug = (request.view_args or {}).get("workspace")
    found = sessions.find(token, slug) if token and not rule.key else None
    if found is not None:
        g.session_row, g.user = found.session, found.user
        if not request.args.get("since"):  # a poll is not a person's activity
            sessions.touch(g.session_row)
    if rule.public:
        return None
    if found is None:
        return _to_sign_in()
    if slug is not None:
        _enter_workspace(found, rule)
    return None


def _enter_workspace(visit: sessions.Visit, rule: Rule) -> None:
    if visit.workspace is None:
        abort(404)
    g.workspace, g.role = visit.workspace, visit.role
    (request.view_args or {}).pop("workspace")
    if rule.roles and g.role not in rule.roles:
        abort(403)


def _same_site_only() -> None:
    """Browsers say where a request comes from; a change from elsewhere is refused beside the CSRF token."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None and site not in {"same-origin", "none"}:
        abort(403)
    if site is None and origin is not None and not _is_ours(origin):  # older browsers say this much
        abort(403)


def _is_ours(origin: str) -> bool:
    try:
        return urlsplit(origin).netloc in {request.host, urlsplit(settings().public_url).netloc}
    except ValueError:  # half an IPv6 address
        return False


def _to_sign_in() -> ResponseReturnValue:
    if request.method not in READING:
        return _not_saved()
    # The person comes back to the page as it was asked for, never to a fragment.
    if htmx:
        wanted = _within(htmx.current_url) if htmx.current_url else None
        return Response(status=204, headers={"HX-Redirect": url_for("sign_in.form", next=wanted)})
    return redirect(url_for("sign_in.form", next=_within(request.full_path)), 303)


def _within(address: str) -> str | None:
    try:
        parts = urlsplit(address)
    except ValueError:  # half an IPv6 address
        return None
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _not_saved() -> ResponseReturnValue:
    """Something was sent after the session had ended: nothing of it was done, which has to be said."""
    if htmx:
        sentence = f"{SIGNED_OUT} What you typed is still here: sign in again in another tab, then send it."
        return Response(sentence, 401, content_type="text/plain; charset=utf-8")
    flash(f"{SIGNED_OUT} Sign in, then do it again.", "problem")
    return redirect(url_for("sign_in.form"), 303)


def safe_next(text: str | None) -> str | None:
    """`text` when it is a path of ours, else None."""
    if not text or not text.startswith("/") or text.startswith("//") or _MISREAD.search(text):
        return None
    parts = urlsplit(text)
    return text if not parts.scheme and not parts.netloc else None
