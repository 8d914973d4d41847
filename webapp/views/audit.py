"""The audit log: who did what, with before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, render_template, request
from flask.typing import ResponseReturnValue

from webapp import clock
from webapp.catalogue.actions import ACTIONS
from webapp.forms.delivery_filters import parse
from webapp.http.access import workspace_access
from webapp.models import Role
from webapp.services import audit_log
from webapp.services.deliveries import search as delivery_search
from webapp.views.connections import EVERYBODY
from webapp.views.settings import BASE

blueprint = Blueprint("audit", __name__, url_prefix=BASE)


NAMES = ("action", "person", "connection", "from", "to")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for, the words of it that were understood, and a sentence for each that makes no sense."""

    filters: audit_log.Filters
    query: dict[str, str]
    problems: list[str]


def _asked() -> _Asked:
    """As on the deliveries' page, what is no value of its filter is left out. One of nothing here finds nothing."""
    words = {name: text.strip() for name, text in request.args.items() if name in {*NAMES, "before"} and text.strip()}
    automatic = words.get("person") == "automatic"
    found, problems = parse({name: words[name] for name in words if name != "person" or not automatic})
    filters = audit_log.Filters(
        action=words.get("action"),
        person=audit_log.AUTOMATIC if automatic else found.person_id,
        connection_id=found.connection_id,
        since=found.since,
        until=found.until,
        before=found.before,
    )
    values = (filters.action, filters.person, filters.connection_id, filters.since, filters.until)
    understood = {name for name, value in zip(NAMES, values, strict=True) if value is not None}
    said = [f"{problem} It was left out." for problem in problems] + audit_log.strange(g.workspace.id, filters)
    return _Asked(filters, {name: text for name, text in words.items() if name in understood}, said)


@blueprint.get("/audit")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """The log, newest first, a page at a time; filters stand in the URL."""
    return _page(_asked())


def _page(asked: _Asked, *first: str) -> ResponseReturnValue:
    found = audit_log.page(g.workspace.id, asked.filters, audit_log.PAGE + 1)
    shown = found[: audit_log.PAGE]
    problems = [*first, *asked.problems]
    context: dict[str, Any] = {
        "entries": shown,
        "following": shown[-1].row.id if len(found) > len(shown) else None,
        "actions": ACTIONS,
        "people": audit_log.people(g.workspace.id),
        "filters": asked.filters,
        "problems": problems,
        "accounts": delivery_search.accounts(g.workspace.id),
        "query": asked.query,
    }
    return render_template("settings/audit.html", **context), 422 if problems else 200


@blueprint.get("/audit.csv")
@workspace_access(*EVERYBODY)
def export() -> ResponseReturnValue:
    """The whole log that fits the filters, streamed. With one that makes no sense: the page that says so."""
    asked = _asked()
    if asked.problems:
        return _page(asked, "Nothing was exported.")
    lines = audit_log.csv_lines(g.workspace.id, asked.filters, masked=g.role is not Role.OWNER)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # the app itself outlives the request
    response = Response(_streamed(app, lines), mimetype="text/csv")
    name = f"audit-{g.workspace.slug}-{clock.now():%Y-%m-%d}.csv"
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _streamed(app: Flask, lines: Iterator[str]) -> Iterator[str]:
    """The lines, each made in a context of its own: the request's is over by then."""
    while True:
        with app.app_context():
            line = next(lines, None)
        if line is None:
            return
        yield line
