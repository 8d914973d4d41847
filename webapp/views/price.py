"""The price of Create profile, said in the form before it is saved: asked for here, counted by a worker."""

from __future__ import annotations

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.extensions import htmx
from webapp.http.access import workspace_access
from webapp.models import Connection, Role
from webapp.services.connections import price
from webapp.services.workspaces import stores
from webapp.views.connection_form import Form, Typed, typed
from webapp.views.connections import BASE, own, own_row, page, table_url

blueprint = Blueprint("price", __name__, url_prefix=f"{BASE}/connections/<int:connection_id>/price")


@blueprint.get("")
@workspace_access(Role.OWNER)
def show(connection_id: int) -> ResponseReturnValue:
    """How far the count is."""
    connection = own(connection_id)
    if not htmx:
        return redirect(url_for("connections.show", connection_id=connection_id), 303)
    form = Form.of(connection, typed(request.args))
    return render_template("connections/_price.html", form=form, base=table_url())


@blueprint.post("")
@workspace_access(Role.OWNER)
def ask(connection_id: int) -> ResponseReturnValue:
    """Let a worker count for what is chosen now; without JavaScript the page comes back as it was filled in."""
    connection, chosen = own(connection_id), typed(request.form)
    form = Form.of(connection, chosen)
    if form.adds_people and form.price is None and _may_count(connection, chosen):
        price.ask(connection, chosen.store_id, g.user.id)
        form = Form.of(connection, chosen)
    if not htmx:
        return page(own_row(connection_id), form)
    return render_template("connections/_price.html", form=form, base=table_url())


def _may_count(connection: Connection, chosen: Typed) -> bool:
    if not connection.is_live:
        return False
    return chosen.store_id is None or chosen.store_id in {store.id for store in stores.of(connection.workspace_id)}
