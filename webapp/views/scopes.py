"""What we ask Klaviyo for and why; inside a workspace with what each connection has granted."""

from __future__ import annotations

from flask import Blueprint, g, render_template
from flask.typing import ResponseReturnValue

from webapp import clock
from webapp.http.access import public, workspace_access
from webapp.klaviyo import scopes
from webapp.services.oauth import scope_matrix
from webapp.views.connections import BASE, EVERYBODY

_NEEDS = {"calls_needing": scopes.calls_needing, "features_needing": scopes.features_needing}
blueprint = Blueprint("scopes", __name__)


@blueprint.get("/integrations/klaviyo/scopes")
@public
def explained() -> ResponseReturnValue:
    """The explanation alone, for anybody."""
    return render_template("scopes/index.html", matrix=scopes.MATRIX, columns=[], **_NEEDS)


@blueprint.get(f"{BASE}/scopes")
@workspace_access(*EVERYBODY)
def matrix() -> ResponseReturnValue:
    """With a column for each live connection."""
    columns = scope_matrix.columns(g.workspace.id)
    return render_template(
        "scopes/index.html",
        matrix=scopes.MATRIX,
        columns=columns,
        **_NEEDS,
        now=clock.now(),
    )
