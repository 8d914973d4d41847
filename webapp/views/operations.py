"""For support: how each connection's lanes, limits and interface stand; the bundle; for agents the queues too."""

from __future__ import annotations

import re

import orjson
from flask import Blueprint, Response, g
from flask.typing import ResponseReturnValue

from webapp.http.access import workspace_access
from webapp.http.errors import or_404
from webapp.http.pages import region
from webapp.models import Role
from webapp.services.operations import queues, support_bundle
from webapp.views.connections import BASE, EVERYBODY

blueprint = Blueprint("operations", __name__, url_prefix=f"{BASE}/operations")


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """Lanes, limits and Klaviyo's clock of each connection; workers and queues, which are all tenants', for agents."""
    is_agent = g.role is Role.SUPPORT
    return region(
        "operations/index.html",
        "machinery",
        connections=queues.connections(g.workspace.id),
        lane_name=queues.lane_name,
        is_agent=is_agent,
        queues=queues.queues() if is_agent else None,
        installation=queues.installation() if is_agent else None,
    )


@blueprint.get("/<int:connection_id>/bundle")
@workspace_access(*EVERYBODY)
def bundle(connection_id: int) -> ResponseReturnValue:
    """The support bundle of a connection, as a file."""
    found = or_404(support_bundle.of(g.workspace.id, connection_id))
    account = re.sub(r"[^A-Za-z0-9_-]", "_", found["connection"]["klaviyo_account_id"])  # it stands in a header
    name = f"klaviyo-{account}-{found['made_at'][:10]}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    body = orjson.dumps(found, option=orjson.OPT_INDENT_2)
    return Response(body, content_type="application/json", headers=headers)
