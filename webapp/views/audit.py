"""The audit log: who did what, with before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, render_template, request
from flask.typing import ResponseReturnValue

from webapp import clock
from webapp.catalogue.actions import ACTIONS
from webapp.forms.delivery_filters import parse
from webapp.forms.numbers import row_id
from webapp.http.access import workspace_access
from webapp.models import Role
from webapp.services import audit_log
from webapp.services.deliveries import search as delivery_search
from webapp.views.connections import EVERYBODY
from webapp.views.settings import BASE

blueprint = Blueprint("audit", __name__, url_prefix=BASE)


NAMES = ("action", "person", "connection", "from", "to")


def _filters() -> tuple[audit_log.Filters, list[str]]:
    """As on the deliveries' page: what is asked for, and a sentence for each word that is not understood."""
    words = request.args
    person = words.get("person", "")
    asked, problems = parse({name: words[name] for name in ("connection", "from", "to") if name in words})
    filters = audit_log.Filters(
        action=words.get("action") or None,
        person=audit_log.AUTOMATIC if person == "automatic" else row_id(person),
        connection_id=asked.connection_id,
        since=asked.since,
        until=asked.until,
        before=row_id(words.get("before", "")),
    )
    return filters, problems


@blueprint.get("/audit")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """The log, newest first, a page at a time; filters stand in the URL."""
    filters, problems = _filters()
    found = audit_log.page(g.workspace.id, filters, audit_log.PAGE + 1)
    shown = found[: audit_log.PAGE]
    context: dict[str, Any] = {
        "entries": shown,
        "following": shown[-1].row.id if len(found) > len(shown) else None,
        "actions": ACTIONS,
        "people": audit_log.people(g.workspace.id),
        "filters": filters,
        "problems": problems,
        "accounts": delivery_search.accounts(g.workspace.id),
        "query": {name: text for name, text in request.args.items() if name in NAMES and text},
    }
    return render_template("settings/audit.html", **context), 422 if problems else 200


@blueprint.get("/audit.csv")
@workspace_access(*EVERYBODY)
def export() -> ResponseReturnValue:
    """The whole log that fits the filters, streamed."""
    lines = audit_log.csv_lines(g.workspace.id, _filters()[0], masked=g.role is not Role.OWNER)
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
