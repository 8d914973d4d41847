"""The audit log: who did what, with before and after."""

from __future__ import annotations

from collections.abc import Iterator
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


def _filters() -> audit_log.Filters:
    """Times and the connection are read as on the deliveries' page; what is not understood is left out."""
    words = request.args
    person = words.get("person", "")
    asked, _ = parse({name: words[name] for name in ("connection", "from", "to") if name in words})
    return audit_log.Filters(
        action=words.get("action") or None,
        person=audit_log.AUTOMATIC if person == "automatic" else _number(person),
        connection_id=asked.connection_id,
        since=asked.since,
        until=asked.until,
        before=_number(words.get("before", "")),
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 16 else None


@blueprint.get("/audit")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """The log, newest first, a page at a time; filters stand in the URL."""
    filters = _filters()
    found = audit_log.page(g.workspace.id, filters, audit_log.PAGE + 1)
    shown = found[: audit_log.PAGE]
    context: dict[str, Any] = {
        "entries": shown,
        "following": shown[-1].row.id if len(found) > len(shown) else None,
        "actions": ACTIONS,
        "people": audit_log.people(g.workspace.id),
        "filters": filters,
        "accounts": delivery_search.accounts(g.workspace.id),
        "query": {name: text for name, text in request.args.items() if name in NAMES and text},
    }
    return render_template("settings/audit.html", **context)


@blueprint.get("/audit.csv")
@workspace_access(*EVERYBODY)
def export() -> ResponseReturnValue:
    """The whole log that fits the filters, streamed."""
    lines = audit_log.csv_lines(g.workspace.id, _filters(), masked=g.role is not Role.OWNER)
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
