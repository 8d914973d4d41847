"""The live connection table: Enable, Add connection, editing in the row, pause, disconnect."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.catalogue.words import SyncBehavior
from webapp.extensions import htmx
from webapp.http.access import workspace_access
from webapp.http.pages import region
from webapp.klaviyo.scopes import MATRIX
from webapp.models import Connection, Role
from webapp.services import connection_table, connections, stores
from webapp.services.connections import Refusal, Stale

BASE = "/w/<workspace>/settings/integrations/klaviyo"
blueprint = Blueprint("connections", __name__, url_prefix=BASE)
EVERYBODY = (Role.OWNER, Role.SUPPORT)


def _table(**more: Any) -> dict[str, Any]:
    return {
        "rows": connection_table.rows(g.workspace.id),
        "behaviors": connection_table.BEHAVIORS,
        "matrix": MATRIX,
        **more,
    }


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """The table; its region for the poller."""
    return region("connections/index.html", "table", **_table(edited=None))


@blueprint.get("/connections/new")
@workspace_access(Role.OWNER)
def new() -> ResponseReturnValue:
    """Choose the store, then Create Connection."""
    return render_template("connections/new.html", stores=stores.of(g.workspace.id))


@blueprint.get("/connections/<int:connection_id>")
@workspace_access(*EVERYBODY)
def show(connection_id: int) -> ResponseReturnValue:
    """One connection in full."""
    row = connection_table.only(g.workspace.id, connection_id)
    if row is None:
        abort(404)
    return render_template("connections/show.html", **_form(row.connection), row=row)


@blueprint.get("/connections/<int:connection_id>/edit")
@workspace_access(Role.OWNER)
def edit(connection_id: int) -> ResponseReturnValue:
    """The row with its controls; without JavaScript the connection's page has them."""
    row = _own_row(connection_id)
    if not htmx:
        return redirect(url_for("connections.show", workspace=g.workspace.slug, connection_id=connection_id), 303)
    return render_template("connections/_row_edit.html", **_form(row.connection), row=row)


@blueprint.get("/connections/<int:connection_id>/row")
@workspace_access(*EVERYBODY)
def row(connection_id: int) -> ResponseReturnValue:
    """The row as it stands, for Cancel."""
    shown = connection_table.only(g.workspace.id, connection_id)
    if shown is None:
        abort(404)
    return render_template("connections/_row.html", row=shown, behaviors=connection_table.BEHAVIORS, focus=True)


def _own_row(connection_id: int) -> connection_table.Row:
    found = connection_table.only(g.workspace.id, connection_id)
    if found is None:
        abort(404)
    return found


def _form(connection: Connection, problem: str | None = None, **typed: Any) -> dict[str, Any]:
    return {
        "connection": connection,
        "stores": stores.of(g.workspace.id),
        "behaviors": connection_table.BEHAVIORS,
        "problem": problem,
        "typed_store": typed.get("store_id", connection.store_id),
        "typed_behavior": typed.get("behavior", connection.sync_behavior),
    }


@blueprint.post("/connections/<int:connection_id>")
@workspace_access(Role.OWNER)
def save(connection_id: int) -> ResponseReturnValue:
    """Save changes: 422 for what cannot be, 409 with both values where somebody else saved first."""
    if connections.get(g.workspace.id, connection_id) is None:
        abort(404)
    typed: dict[str, Any] = {}
    try:
        typed["store_id"] = int(request.form["store"]) if request.form.get("store") else None
        typed["behavior"] = SyncBehavior(request.form.get("sync_behavior", ""))
        version = int(request.form.get("version", ""))
    except ValueError:
        return _again(connection_id, 422, "Choose one of the values offered.", typed)
    try:
        connections.save(g.workspace.id, connection_id, g.user.id, version=version, **typed)
    except Refusal as refusal:
        return _again(connection_id, 422, str(refusal), typed)
    except Stale:
        sentence = "Somebody else saved this row meanwhile. Your choices are below; save again to use them."
        return _again(connection_id, 409, sentence, typed)
    if htmx:
        return render_template(
            "connections/_row.html",
            row=_own_row(connection_id),
            behaviors=connection_table.BEHAVIORS,
            focus=True,
        )
    flash("Saved.")
    return redirect(url_for("connections.index", workspace=g.workspace.slug), 303)


def _again(connection_id: int, status: int, sentence: str, typed: dict[str, Any]) -> ResponseReturnValue:
    shown = _own_row(connection_id)
    page = "connections/_row_edit.html" if htmx else "connections/show.html"
    return render_template(page, **_form(shown.connection, sentence, **typed), row=shown), status


@blueprint.post("/connections/<int:connection_id>/pause")
@workspace_access(*EVERYBODY)
def pause(connection_id: int) -> ResponseReturnValue:
    """Pause, or resume with `on=0`. Nothing is lost meanwhile."""
    on = request.form.get("on", "1") == "1"
    return _act(lambda: connections.pause(g.workspace.id, connection_id, g.user.id, on=on))


@blueprint.get("/connections/<int:connection_id>/disconnect")
@workspace_access(Role.OWNER)
def confirm_disconnect(connection_id: int) -> ResponseReturnValue:
    """Say what disconnecting means before it is done."""
    return render_template("connections/disconnect.html", row=_own_row(connection_id))


@blueprint.post("/connections/<int:connection_id>/disconnect")
@workspace_access(Role.OWNER)
def disconnect(connection_id: int) -> ResponseReturnValue:
    """End the connection."""
    return _act(lambda: connections.disconnect(g.workspace.id, connection_id, g.user.id))


def _act(action: Any) -> ResponseReturnValue:
    try:
        action()
    except LookupError:
        abort(404)
    except Refusal as refusal:
        flash(str(refusal))
    return redirect(url_for("connections.index", workspace=g.workspace.slug), 303)
