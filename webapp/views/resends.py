"""Sending again: the count first, then a name, then progress, with abort and history."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from webapp import clock
from webapp.catalogue.causes import CAUSES
from webapp.catalogue.events import EVENTS
from webapp.forms.delivery_filters import Filters, parse
from webapp.forms.numbers import row_id
from webapp.http.access import workspace_access
from webapp.http.errors import or_404
from webapp.http.pages import region
from webapp.services.deliveries import search as delivery_search
from webapp.services.deliveries.resend_rules import SENTENCES
from webapp.services.resends import runs
from webapp.views.connections import BASE, EVERYBODY

blueprint = Blueprint("resends", __name__, url_prefix=f"{BASE}/deliveries/resends")
CHOOSE = "Choose some deliveries, or filter them first."


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """What was sent again so far, newest first."""
    found = runs.history(g.workspace.id)
    return render_template("resends/index.html", resends=found, people=runs.asked_by(found), filters=Filters())


@blueprint.get("/new")
@workspace_access(*EVERYBODY)
def new() -> ResponseReturnValue:
    """How many it would be, and which are left out and why. Nothing has happened yet."""
    ids, filters, problems = _chosen(request.args)
    if problems:
        return _unclear(problems)
    if _is_everything(ids, filters):
        flash(CHOOSE, "problem")
        return redirect(url_for("deliveries.index"), 303)
    return _confirm(ids, filters, name=f"Resend of {clock.now():%-d %B %H:%M} UTC", token=secrets.token_hex(8))


def _chosen(words: MultiDict[str, str]) -> tuple[list[int], Filters, list[str]]:
    """Ids, filters, and a sentence for each word that is not understood: left out it would mean more deliveries."""
    filters, problems = parse(words)
    texts = filter(None, map(str.strip, words.getlist("id")))
    ids = {text: row_id(text) for text in texts}
    problems += [f"“{text[:40]}” is no number of a delivery." for text, number in ids.items() if number is None]
    return [number for number in ids.values() if number is not None], filters, problems


def _is_everything(ids: list[int], filters: Filters) -> bool:
    """Whether nobody chose anything, so that it would be all there is."""
    return not ids and not filters.query(before=None, follow=False)


def _unclear(problems: list[str]) -> ResponseReturnValue:
    return render_template("resends/unclear.html", problems=problems), 422


def _confirm(
    ids: list[int], filters: Filters, *, name: str, token: str, problem: str | None = None
) -> ResponseReturnValue:
    page = render_template(
        "resends/new.html",
        plan=runs.plan(g.workspace.id, ids, filters),
        ids=ids,
        filters=filters,
        in_words=in_words(filters.query(before=None, follow=False)) if not ids else [],
        accounts=delivery_search.accounts(g.workspace.id),
        sentences=SENTENCES,
        name=name,
        token=token,
        problem=problem,
    )
    return page, 422 if problem else 200


def in_words(query: dict[str, str]) -> list[tuple[str, str]]:
    """A filter for people: (what, its value)."""
    accounts = delivery_search.accounts(g.workspace.id)
    shown: dict[str, Any] = {
        "status": lambda value: value.capitalize(),
        "reason": lambda value: CAUSES[value].title,
        "event": lambda value: EVENTS[value].title,
        "connection": lambda value: accounts.get(int(value), value),
        "person": lambda value: f"number {value}",
    }
    names = {"connection": "Klaviyo account", "request": "Klaviyo request id", "from": "From (UTC)", "to": "To (UTC)"}
    return [
        (names.get(name, name.capitalize()), shown[name](value) if name in shown else value)
        for name, value in query.items()
    ]


@blueprint.post("")
@workspace_access(*EVERYBODY)
def create() -> ResponseReturnValue:
    """Begin. The same form sent twice begins once."""
    ids, filters, problems = _chosen(request.form)
    if problems or _is_everything(ids, filters):
        return _unclear(problems or [CHOOSE])
    name, token = request.form.get("name", "").strip(), request.form.get("token", "")[:32]
    if not name or len(name) > runs.NAME or not token:
        sentence = f"Give it a name of up to {runs.NAME} letters, so that it is found again."
        return _confirm(ids, filters, name=name, token=token or secrets.token_hex(8), problem=sentence)
    found = runs.start(g.workspace.id, g.user.id, name, token, ids, filters)
    if found is None:
        flash("There was nothing left to send again.", "problem")
        return redirect(url_for("deliveries.index"), 303)
    return redirect(url_for("resends.show", task_id=found.id), 303)


def _found(task_id: int) -> runs.Resend:
    return or_404(runs.get(g.workspace.id, task_id))


@blueprint.get("/<int:task_id>")
@workspace_access(*EVERYBODY)
def show(task_id: int) -> ResponseReturnValue:
    """How far one is; it keeps itself current."""
    found = _found(task_id)
    arguments = found.tasks[0].arguments
    return region(
        "resends/show.html",
        "progress",
        resend=found,
        in_words=in_words(arguments["filters"]) if arguments["ids"] is None else [],
        query=arguments["filters"] if arguments["ids"] is None else None,
        accounts=delivery_search.accounts(g.workspace.id),
        sentences=SENTENCES,
        people=runs.asked_by([found]),
    )


@blueprint.post("/<int:task_id>/abort")
@workspace_access(*EVERYBODY)
def stop(task_id: int) -> ResponseReturnValue:
    """Put nothing more in line."""
    runs.abort(g.workspace.id, _found(task_id), g.user.id)
    flash("Aborted. What was put in line already still goes out.")
    return redirect(url_for("resends.show", task_id=task_id), 303)
