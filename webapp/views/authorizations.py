"""To Klaviyo and back: Enable, Add connection, Reconnect, Replace account, installing from there, the redirect URI."""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.extensions import db
from webapp.forms.connections import NUMBER
from webapp.http.access import signed_in, workspace_access
from webapp.http.errors import or_404
from webapp.models import ConnectionState, Purpose, Role, Workspace
from webapp.services.connections import authorizations, lifecycle
from webapp.services.connections.lifecycle import Refusal
from webapp.services.workspaces import tenancy
from webapp.views.connections import BASE, confirmation

blueprint = Blueprint("authorizations", __name__)


def _refuse(sentence: str) -> None:
    flash(sentence, "problem")


def _table(slug: str) -> ResponseReturnValue:
    return redirect(url_for("connections.index", workspace=slug), 303)


@blueprint.post(f"{BASE}/connections")
@workspace_access(Role.OWNER)
def connect() -> ResponseReturnValue:
    """Enable or Create Connection: on to Klaviyo."""
    store = request.form.get("store", "")
    if store and not NUMBER.match(store):
        _refuse("Choose one of this workspace's stores.")
        return _table(g.workspace.slug)
    return _to_klaviyo(g.workspace, Purpose.CONNECT, store_id=int(store) if store else None)


@blueprint.post(f"{BASE}/connections/<int:connection_id>/reconnect")
@workspace_access(Role.OWNER)
def reconnect(connection_id: int) -> ResponseReturnValue:
    """Ask Klaviyo again for a connection that needs it, with the full set of scopes."""
    return _to_klaviyo(g.workspace, Purpose.RECONNECT, connection_id=connection_id)


@blueprint.get(f"{BASE}/connections/<int:connection_id>/replace")
@workspace_access(Role.OWNER)
def confirm_replace(connection_id: int) -> ResponseReturnValue:
    """Say what replacing the account means before it is done."""
    return confirmation("connections/replace.html", connection_id)


@blueprint.post(f"{BASE}/connections/<int:connection_id>/replace")
@workspace_access(Role.OWNER)
def replace(connection_id: int) -> ResponseReturnValue:
    """On to Klaviyo, to choose the account that takes this one's place."""
    return _to_klaviyo(g.workspace, Purpose.REPLACE, connection_id=connection_id)


def _to_klaviyo(
    workspace: Workspace, purpose: Purpose, *, store_id: int | None = None, connection_id: int | None = None
) -> ResponseReturnValue:
    try:
        url = authorizations.begin(g.session_row, workspace.id, purpose, store_id=store_id, connection_id=connection_id)
    except LookupError:
        abort(404)
    except Refusal as refusal:
        _refuse(str(refusal))
        return _table(workspace.slug)
    return redirect(url, 303)


@blueprint.get("/integrations/klaviyo/install")
@signed_in
def install() -> ResponseReturnValue:
    """Arriving from Klaviyo's side: at once on into OAuth, or first the choice of the workspace."""
    owned = tenancy.owned(g.user)
    if len(owned) == 1:
        return _install(owned[0])
    if not owned:
        _refuse("Klaviyo is connected by the owner of a workspace, and you own none. Ask its owner to press Install.")
        return redirect(url_for("home.index"), 303)
    return render_template("connections/install.html", workspaces=owned)


@blueprint.post(f"{BASE}/install")
@workspace_access(Role.OWNER)
def install_into() -> ResponseReturnValue:
    """The workspace was chosen."""
    return _install(g.workspace)


def _install(workspace: Workspace) -> ResponseReturnValue:
    """On to Klaviyo where nothing is to be decided before; else to the page where it is."""
    present = lifecycle.live(db.session(), workspace.id)
    if not present:
        return _to_klaviyo(workspace, Purpose.CONNECT)
    if any(connection.state is ConnectionState.NEEDS_REAUTHORIZATION for connection in present):
        _refuse("If this is about an account that is here already, press Reconnect. For another one: Add connection.")
        return _table(workspace.slug)
    flash("Choose the store that the Klaviyo account belongs to.")
    return redirect(url_for("connections.new", workspace=workspace.slug), 303)


@blueprint.get("/integrations/klaviyo/callback")
@signed_in
def callback() -> ResponseReturnValue:
    """Klaviyo's redirect: the attempt is consumed first, whatever came."""
    attempt = authorizations.consume(request.args.get("state", ""), g.session_row)
    if attempt is None:
        _refuse("This answer from Klaviyo is unknown, used or too old. Nothing was changed; start again from here.")
        return redirect(url_for("home.index"), 303)
    workspace = or_404(db.session.get(Workspace, attempt.workspace_id))
    found = tenancy.visible(g.user, workspace.slug)
    if found is None or found[1] is not Role.OWNER:
        # No longer theirs: what they may do counts when the answer comes, not when they left.
        abort(404)
    # An answer that says it is an error is one, whatever code stands beside it.
    if request.args.get("error") == "access_denied":
        _refuse("You did not allow it in Klaviyo, so nothing was connected. Press the button to try again.")
    elif "error" in request.args or not request.args.get("code"):
        _refuse("Klaviyo answered with an error, so nothing was connected. Try again in a minute.")
    else:
        try:
            outcome = authorizations.finish(attempt, request.args["code"])
            flash(outcome.sentence, "message" if outcome.connected and not outcome.is_partly else "problem")
        except Refusal as refusal:
            _refuse(str(refusal))
    return _table(workspace.slug)
