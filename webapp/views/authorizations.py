"""To Klaviyo and back: Enable, Add connection, Reconnect, and the redirect URI."""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from webapp.extensions import db
from webapp.http.access import signed_in, workspace_access
from webapp.models import Purpose, Role, Workspace
from webapp.services import authorizations, connections, workspaces
from webapp.services.connections import Refusal
from webapp.views.connections import BASE

blueprint = Blueprint("authorizations", __name__)


def _table(slug: str) -> ResponseReturnValue:
    return redirect(url_for("connections.index", workspace=slug), 303)


@blueprint.post(f"{BASE}/connections")
@workspace_access(Role.OWNER)
def connect() -> ResponseReturnValue:
    """Enable or Create Connection: on to Klaviyo."""
    store = request.form.get("store", "")
    try:
        if store and not store.isdigit():
            raise Refusal("Choose one of this workspace's stores.")
        url = authorizations.begin(
            g.session_row, g.workspace.id, Purpose.CONNECT, store_id=int(store) if store else None
        )
    except Refusal as refusal:
        flash(str(refusal))
        return _table(g.workspace.slug)
    return redirect(url, 303)


@blueprint.post(f"{BASE}/connections/<int:connection_id>/reconnect")
@workspace_access(Role.OWNER)
def reconnect(connection_id: int) -> ResponseReturnValue:
    """Ask Klaviyo again for a connection that needs it, with the full set of scopes."""
    connection = connections.get(g.workspace.id, connection_id)
    if connection is None:
        abort(404)
    try:
        connections.check_move(connection, connections.Move.RECONNECT)
    except Refusal as refusal:
        flash(str(refusal))
        return _table(g.workspace.slug)
    url = authorizations.begin(g.session_row, g.workspace.id, Purpose.RECONNECT, connection_id=connection_id)
    return redirect(url, 303)


@blueprint.get("/integrations/klaviyo/install")
@signed_in
def install() -> ResponseReturnValue:
    """Arriving from Klaviyo's side: choose the workspace, then Enable."""
    found = workspaces.all_visible(g.user)
    if len(found) == 1:
        flash("Press Enable to connect your Klaviyo account.")
        return _table(found[0].slug)
    return redirect(url_for("home.index"), 303)


@blueprint.get("/integrations/klaviyo/callback")
@signed_in
def callback() -> ResponseReturnValue:
    """Klaviyo's redirect: the attempt is consumed first, whatever came."""
    attempt = authorizations.consume(request.args.get("state", ""), g.session_row)
    if attempt is None:
        flash("This answer from Klaviyo is unknown, used or too old. Nothing was changed; start again from here.")
        return redirect(url_for("home.index"), 303)
    workspace = db.session.get(Workspace, attempt.workspace_id)
    if workspace is None or workspaces.visible(g.user, workspace.slug) is None:
        abort(404)
    if request.args.get("error") == "access_denied":
        flash("You did not allow it in Klaviyo, so nothing was connected. Press the button to try again.")
    elif not request.args.get("code"):
        flash("Klaviyo answered with an error, so nothing was connected. Try again in a minute.")
    else:
        try:
            flash(authorizations.finish(attempt, request.args["code"]).sentence)
        except Refusal as refusal:
            flash(str(refusal))
    return _table(workspace.slug)
