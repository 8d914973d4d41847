"""Syncing existing people to a Klaviyo account: count, start, watch, pause, resume, cancel."""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from webapp.catalogue.causes import CAUSES
from webapp.forms.numbers import row_id
from webapp.http.access import workspace_access
from webapp.http.errors import or_404
from webapp.http.pages import region
from webapp.models import Connection, Role, TaskState
from webapp.services.connections.lifecycle import Refusal
from webapp.services.sharing import backfills, choices
from webapp.views.connections import BASE, EVERYBODY

blueprint = Blueprint("backfills", __name__, url_prefix=f"{BASE}/backfills")
MOVES = {"pause": TaskState.PAUSED, "resume": TaskState.WAITING, "cancel": TaskState.CANCELLED}


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """Every sync there was, newest first, and where to start one."""
    rows = backfills.history(g.workspace.id)
    return region(
        "backfills/index.html", "history", rows=rows, causes=CAUSES, connections=backfills.targets(g.workspace.id)
    )


def _connection(connection_id: int) -> Connection:
    return or_404(backfills.connection_of(g.workspace.id, connection_id))


@blueprint.get("/new/<int:connection_id>")
@workspace_access(Role.OWNER)
def new(connection_id: int) -> ResponseReturnValue:
    """What a sync does, the count, and the form to start it; `?reason=resync` names it so."""
    connection = _connection(connection_id)
    counted = backfills.count_of(connection)
    known, on = choices.fields(g.workspace.id)
    people = sum(counted.result.get(word, 0) for word in ("updated", "created")) if counted else 0
    return region(
        "backfills/new.html",
        "count",
        connection=connection,
        counted=counted,
        people=people,
        seconds=backfills.seconds_needed(connection, (counted.total or 0) if counted else 0),
        shared=[field.property for key, field in known.items() if key in on],
        default_name=backfills.default_name(resync=request.args.get("reason") == "resync"),
    )


@blueprint.post("/counts")
@workspace_access(Role.OWNER)
def count() -> ResponseReturnValue:
    """Let a worker count what a sync would do."""
    connection_id = _number("connection")
    try:
        backfills.ask_count(g.workspace.id, connection_id, g.user.id)
    except LookupError:
        abort(404)
    except Refusal as refusal:
        flash(str(refusal), "problem")
        return redirect(url_for("backfills.index"), 303)
    return redirect(_new_url(connection_id), 303)


def _new_url(connection_id: int) -> str:
    reason = request.form.get("reason") or None
    return url_for("backfills.new", connection_id=connection_id, reason=reason)


def _number(name: str) -> int:
    return row_id(request.form.get(name, "")) or 0


@blueprint.post("")
@workspace_access(Role.OWNER)
def start() -> ResponseReturnValue:
    """Start what was counted."""
    connection_id = _number("connection")
    name = request.form.get("name", "")
    try:
        task = backfills.start(g.workspace.id, connection_id, g.user.id, name=name, count_id=_number("count"))
    except LookupError:
        abort(404)
    except Refusal as refusal:
        flash(str(refusal), "problem")
        return redirect(_new_url(connection_id), 303)
    return redirect(url_for("backfills.show", task_id=task.id), 303)


@blueprint.get("/<int:task_id>")
@workspace_access(*EVERYBODY)
def show(task_id: int) -> ResponseReturnValue:
    """One sync; its region keeps itself current."""
    row = or_404(backfills.get(g.workspace.id, task_id))
    return region("backfills/show.html", "progress", row=row, causes=CAUSES)


def _move(task_id: int, word: str) -> ResponseReturnValue:
    try:
        backfills.move(g.workspace.id, task_id, g.user.id, MOVES[word])
    except LookupError:
        abort(404)
    return redirect(url_for("backfills.show", task_id=task_id), 303)


@blueprint.post("/<int:task_id>/pause")
@workspace_access(*EVERYBODY)
def pause(task_id: int) -> ResponseReturnValue:
    """Nobody new is put in line until it is resumed."""
    return _move(task_id, "pause")


@blueprint.post("/<int:task_id>/resume")
@workspace_access(*EVERYBODY)
def resume(task_id: int) -> ResponseReturnValue:
    """Go on where it stood."""
    return _move(task_id, "resume")


@blueprint.post("/<int:task_id>/cancel")
@workspace_access(Role.OWNER)
def cancel(task_id: int) -> ResponseReturnValue:
    """End it: who is in line is still written, nobody else."""
    return _move(task_id, "cancel")
