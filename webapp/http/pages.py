"""One view, one context, two renderings: a region for htmx where it asked for that region, else the whole page."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

from flask import Flask, Response, current_app, g, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup

from webapp import clock
from webapp.extensions import htmx
from webapp.http import browser
from webapp.models import Role, User
from webapp.services.people import addresses


def init_app(app: Flask) -> None:
    """Filters and what every template knows."""
    app.jinja_env.filters["ago"] = ago
    app.jinja_env.filters["moment"] = moment
    app.jinja_env.filters["dated"] = dated
    app.jinja_env.filters["masked"] = masked
    app.jinja_env.filters["number"] = lambda value: f"{value:,}"
    app.jinja_env.filters["initials"] = initials
    app.jinja_env.filters["browser"] = browser.named
    app.jinja_env.globals["csrf"] = _csrf_field
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.context_processor(_context)
    app.url_defaults(_same_workspace)


def _context() -> dict[str, object]:
    return {
        "user": getattr(g, "user", None),
        "workspace": getattr(g, "workspace", None),
        "is_owner": getattr(g, "role", None) is Role.OWNER,
    }


def _same_workspace(endpoint: str, values: dict[str, Any]) -> None:
    """A link leads to the workspace one is in, unless it names another."""
    workspace = getattr(g, "workspace", None)
    if workspace is not None and current_app.url_map.is_endpoint_expecting(endpoint, "workspace"):
        values.setdefault("workspace", workspace.slug)


def initials(person: User) -> str:
    """Two letters for somebody: of the name's first and last word, else of the address."""
    words = person.name.split()
    letters = words[0][0] + words[-1][0] if len(words) > 1 else (person.name or person.email)[:2]
    return letters.upper()


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """`4 s ago`, `3 min ago`, `2 h ago`, `5 d ago`; `never` for None."""
    if moment is None:
        return "never"
    seconds = max(0, int(((now or clock.now()) - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def moment(at: datetime | None) -> str | Markup:
    """`ago` in a `<time>` that the page keeps current by itself."""
    if at is None:
        return "never"
    # Neither text can hold anything that needs escaping; Markup's own format() takes ten times as long.
    return Markup(f'<time datetime="{at.isoformat(timespec="seconds")}" data-ago>{ago(at)}</time>')  # noqa: S704 - see above


def dated(at: datetime) -> str:
    """`2 Jan 15:04:05`, in UTC; of another year than the present one `2 Jan 2000 15:04:05`."""
    return at.strftime("%-d %b %H:%M:%S" if at.year == clock.now().year else "%-d %b %Y %H:%M:%S")


def masked(value: object) -> object:
    """What people typed or Klaviyo said, with addresses in full only for owners."""
    return value if getattr(g, "role", None) is Role.OWNER else addresses.mask_all(value)


def is_shown(version: str) -> bool:
    """Whether this is a poll (`?since=`) of somebody who sees just this version: then nothing needs rendering."""
    return bool(htmx) and request.args.get("since") == version


def region(
    page: str, name: str, status: int = 200, *, version: str | None = None, **context: object
) -> ResponseReturnValue:
    """`templates/<page's folder>/_<name>.html` for an htmx request (its root's id is `name`), else the whole page.

    A poll (`?since=`) of an unchanged region is a 204, which htmx leaves alone. `version`: of the data, where the view
    knows it; else that of the HTML.
    """
    folder = page.rsplit("/", 1)[0]
    if not htmx:
        return render_template(page, version=version, **context), status
    html = render_template(f"{folder}/_{name}.html", version=version, **context)
    version = version or sha256(html.encode()).hexdigest()[:16]
    if is_shown(version):
        return Response(status=204)
    response = make_response(html, status)
    response.headers["X-Version"] = version
    return response


def _csrf_field() -> Markup:
    """The hidden field every form that changes something begins with."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(generate_csrf())
