"""The first page: the workspaces one may see."""

from __future__ import annotations

from flask import Blueprint, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from webapp.http.access import signed_in
from webapp.services import workspaces

blueprint = Blueprint("home", __name__)


@blueprint.get("/")
@signed_in
def index() -> ResponseReturnValue:
    """One workspace: straight to its connections. Several: a choice."""
    found = workspaces.all_visible(g.user)
    if len(found) == 1 and not g.user.is_support:
        return redirect(url_for("connections.index", workspace=found[0].slug), 303)
    return render_template("home/index.html", workspaces=found)
