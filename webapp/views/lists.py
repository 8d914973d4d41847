"""The list picker's region: asks a worker for the account's lists, then looks at what came until it is there."""

from __future__ import annotations

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.extensions import htmx
from webapp.http.access import workspace_access
from webapp.models import Role
from webapp.services.connections import lists
from webapp.views.connection_form import Form, typed
from webapp.views.connections import BASE, own, table_url

blueprint = Blueprint("lists", __name__, url_prefix=f"{BASE}/connections/<int:connection_id>/lists")


@blueprint.get("")
@workspace_access(Role.OWNER)
def show(connection_id: int) -> ResponseReturnValue:
    """The picker with what is chosen in it; nothing new (204) while a worker is still asking."""
    connection = own(connection_id)
    if not htmx:
        return redirect(url_for("connections.show", connection_id=connection_id), 303)
    form = Form.of(connection, typed(request.args))
    if form.picker.asking and request.args.get("since") == "asking":
        return Response(status=204)
    return render_template("connections/_lists.html", form=form, base=table_url())


@blueprint.post("")
@workspace_access(Role.OWNER)
def ask(connection_id: int) -> ResponseReturnValue:
    """Let a worker fetch the lists now."""
    connection = own(connection_id)
    if connection.is_live and not lists.picker(connection).lacks_scope:
        lists.ask(connection, g.user.id)
    if not htmx:
        return redirect(url_for("connections.show", connection_id=connection_id), 303)
    return render_template("connections/_lists.html", form=Form.of(connection, typed(request.form)), base=table_url())
