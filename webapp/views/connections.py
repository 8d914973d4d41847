"""The live connection table: Enable, Add connection, editing in the row, pause, disconnect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, flash, g, redirect, render_template, request, url_for
from flask.sansio.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue

from webapp import clock
from webapp.catalogue.causes import CAUSES
from webapp.extensions import db, htmx
from webapp.forms import connection_filters
from webapp.forms import connections as forms
from webapp.forms.invalid import Invalid
from webapp.http.access import workspace_access
from webapp.http.errors import or_404
from webapp.http.pages import is_shown, region
from webapp.klaviyo.scopes import FEATURES, MATRIX
from webapp.models import Connection, Role
from webapp.services.connections import banners, lifecycle, lists, settling, table_version
from webapp.services.connections import settings as connection_settings
from webapp.services.connections import table as connection_table
from webapp.services.connections.lifecycle import Refusal, Stale
from webapp.services.deliveries import waiting_reasons
from webapp.services.deliveries.detail import FEATURE_OF
from webapp.services.workspaces import stores
from webapp.views import connection_rows
from webapp.views.connection_form import Form, Typed, typed
from webapp.views.shapes import SHAPES

BASE = "/w/<workspace>/settings/integrations/klaviyo"
blueprint = Blueprint("connections", __name__, url_prefix=BASE)
EVERYBODY = (Role.OWNER, Role.SUPPORT)


@blueprint.record_once
def _words(state: BlueprintSetupState) -> None:
    """What rows are written with, in every template."""
    state.app.jinja_env.globals.update(behaviors=connection_table.BEHAVIORS, shapes=SHAPES)
    state.app.jinja_env.filters["opt_in"] = lists.opt_in


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """The table; its region for the poller, or nothing where the poller shows it already."""
    filters = connection_filters.filters(request.args)
    look = table_version.look(g.workspace, filters, g.role)
    if is_shown(look.version):
        return Response(status=204)
    table = connection_table.table(g.workspace.id, filters, look)
    if not table.rows and filters.page > 1:
        return redirect(table_url() + filters.query(), 303)
    return region(
        "connections/index.html",
        "table",
        version=look.version,
        table=table,
        filters=filters,
        statuses=connection_filters.STATUSES,
        banners=banners.of(g.workspace.id, table.counts),
        matrix=MATRIX,
        rows_html=connection_rows.html(table.rows, table_url(), is_owner=g.role is Role.OWNER),
        now_ms=int(clock.now().timestamp() * 1000),
        base=table_url(),
    )


def table_url() -> str:
    """The table's address; every address of a connection begins with it."""
    return url_for("connections.index")


@blueprint.get("/connections/new")
@workspace_access(Role.OWNER)
def new() -> ResponseReturnValue:
    """Choose the store, then Create Connection."""
    taken = lifecycle.taken_stores(g.workspace.id)
    return render_template("connections/new.html", stores=stores.choices(g.workspace.id), taken=taken)


@blueprint.get("/connections/<int:connection_id>")
@workspace_access(*EVERYBODY)
def show(connection_id: int) -> ResponseReturnValue:
    """One connection in full."""
    return page(own_row(connection_id))


@blueprint.get("/connections/<int:connection_id>/edit")
@workspace_access(Role.OWNER)
def edit(connection_id: int) -> ResponseReturnValue:
    """The row with its controls; without JavaScript the connection's page has them."""
    connection, row = own(connection_id), own_row(connection_id)
    if not htmx:
        return redirect(url_for("connections.show", connection_id=connection_id), 303)
    if not connection.is_live:
        abort(404)
    return render_template("connections/_row_edit.html", form=Form.of(connection), row=row, base=table_url())


@blueprint.get("/connections/<int:connection_id>/row")
@workspace_access(*EVERYBODY)
def row(connection_id: int) -> ResponseReturnValue:
    """The row as it stands, for Cancel."""
    return _row(connection_id)


def _row(connection_id: int, problem: str | None = None, status: int = 200, said: str = "") -> ResponseReturnValue:
    """The row with what went wrong in it, or with what is `said` of it to those who do not see it change."""
    told = {"focus": True, "problem": problem, "said": said}
    return render_template("connections/_row.html", row=own_row(connection_id), base=table_url(), **told), status


def own(connection_id: int) -> Connection:
    """A connection of this workspace; 404 for anybody else's."""
    return or_404(lifecycle.get(g.workspace.id, connection_id))


def own_row(connection_id: int) -> connection_table.Row:
    """A row of this workspace; 404 for anybody else's."""
    return or_404(connection_table.only(g.workspace.id, connection_id))


def page(row: connection_table.Row, form: Form | None = None, status: int = 200) -> ResponseReturnValue:
    """The connection's page, with what was typed where something was."""
    if form is None and not htmx and row.connection.is_live and g.role is Role.OWNER:
        form = Form.of(own(row.connection.id))
    return region(
        "connections/show.html",
        "notices",
        status,
        row=row,
        form=form,
        features=FEATURES,
        held=_held(row.connection.id) if not htmx else {},
        causes=CAUSES,
        replaced=settling.replaced(row.connection.id),
        resendable_since=(clock.now() - settling.RESEND_OFFERED).strftime("%Y-%m-%dT%H:%M"),
        settling=settling.unsettled(row.connection.id),
        base=table_url(),
    )


def _held(connection_id: int) -> dict[str, waiting_reasons.Held]:
    """Feature key -> why what is written for it waits at this moment: that it is granted does not get it through."""
    holds = waiting_reasons.of_workspace(db.session(), g.workspace.id, [connection_id])
    return {FEATURE_OF[kind]: held for (_, kind), held in holds.items()}


@blueprint.post("/connections/<int:connection_id>")
@workspace_access(Role.OWNER)
def save(connection_id: int) -> ResponseReturnValue:
    """Save changes: 422 for what cannot be, 409 with both values where somebody else saved first."""
    chosen = typed(request.form)
    own(connection_id)
    try:
        connection_settings.save(g.workspace.id, connection_id, g.user.id, forms.edit(request.form))
    except Invalid as invalid:
        return _again(connection_id, 422, chosen, problems=invalid.problems)
    except Refusal as refusal:
        return _again(connection_id, 422, chosen, problems={"version": str(refusal)})
    except Stale:
        return _again(connection_id, 409, chosen, is_stale=True)
    if htmx:
        return _row(connection_id, said="Saved.")
    flash("Saved.")
    return redirect(table_url(), 303)


def _again(connection_id: int, status: int, chosen: Typed, **more: Any) -> ResponseReturnValue:
    shown = own_row(connection_id)
    if not shown.connection.is_live:
        # There is no form any more to show what was typed in; the row says what happened, and stays to say it.
        sentence = f"Nothing was saved. {lifecycle.ENDED}"
        if htmx:
            return _row(connection_id, sentence, status)
        flash(sentence, "problem")
        return page(shown, status=status)
    form = Form.of(own(connection_id), chosen, **more)
    if htmx:
        return render_template("connections/_row_edit.html", form=form, row=shown, base=table_url()), status
    return page(shown, form, status)


@blueprint.post("/connections/<int:connection_id>/undo")
@workspace_access(Role.OWNER)
def undo(connection_id: int) -> ResponseReturnValue:
    """Undo the last save; itself a save."""
    version = request.form.get("version", "")
    problem, status = None, 200
    own(connection_id)
    try:
        connection_settings.undo(
            g.workspace.id, connection_id, g.user.id, int(version) if forms.NUMBER.match(version) else 0
        )
    except Refusal as refusal:
        problem, status = str(refusal), 422
    except Stale:
        problem, status = "This row has changed meanwhile, so nothing was undone. Look at it first.", 409
    if htmx:
        return _row(connection_id, problem, status, said="" if problem else "Undone.")
    flash(problem or "Undone.", "problem" if problem else "message")
    return redirect(table_url(), 303)


@blueprint.post("/connections/<int:connection_id>/pause")
@workspace_access(*EVERYBODY)
def pause(connection_id: int) -> ResponseReturnValue:
    """Pause, or resume with `on=0`. Nothing is lost meanwhile."""
    on = request.form.get("on", "1") == "1"
    name = own(connection_id).account_name
    said = f"{name} is paused. What comes waits here, up to 7 days." if on else f"{name} is resumed."
    here = url_for("connections.show", connection_id=connection_id)
    return _act(lambda: lifecycle.pause(g.workspace.id, connection_id, g.user.id, on=on), said, back=here)


@blueprint.get("/connections/<int:connection_id>/disconnect")
@workspace_access(Role.OWNER)
def confirm_disconnect(connection_id: int) -> ResponseReturnValue:
    """Say what disconnecting means before it is done."""
    return confirmation("connections/disconnect.html", connection_id)


def confirmation(template: str, connection_id: int) -> ResponseReturnValue:
    """A page that asks before something is done; where the connection has ended, its own page, which says so."""
    row = own_row(connection_id)
    if not row.connection.is_live:
        flash(lifecycle.ENDED, "problem")
        return redirect(url_for("connections.show", connection_id=connection_id), 303)
    return render_template(template, row=row, base=table_url())


@blueprint.post("/connections/<int:connection_id>/disconnect")
@workspace_access(Role.OWNER)
def disconnect(connection_id: int) -> ResponseReturnValue:
    """End the connection."""
    said = f"{own(connection_id).account_name} is disconnected. Its history stays."
    return _act(lambda: lifecycle.disconnect(g.workspace.id, connection_id, g.user.id), said)


@blueprint.post("/connections/<int:connection_id>/settle")
@workspace_access(*EVERYBODY)
def settle(connection_id: int) -> ResponseReturnValue:
    """Go on settling what waited, where that has stopped."""
    return _act(lambda: settling.go_on(g.workspace.id, connection_id))


@blueprint.post("/banners/<int:alert_id>/dismiss")
@workspace_access(Role.OWNER)
def dismiss(alert_id: int) -> ResponseReturnValue:
    """The good news has been read."""
    return _act(lambda: banners.dismiss(g.workspace.id, alert_id))


def _act(action: Callable[[], None], said: str | None = None, back: str | None = None) -> ResponseReturnValue:
    """Do it, and say what was done; then the page `back`, or the table."""
    try:
        action()
    except LookupError:
        abort(404)
    except Refusal as refusal:
        flash(str(refusal), "problem")
    else:
        if said:
            flash(said)
    return redirect(back or table_url(), 303)
