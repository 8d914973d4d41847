"""Whether we live and are ready, for machines."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select

from webapp.extensions import db
from webapp.http.access import public
from webapp.models import ConnectionStat, Lane, Workspace
from webapp.services import lanes

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@public
def live() -> ResponseReturnValue:
    """The process answers."""
    return {"status": "live"}


@blueprint.get("/readyz")
@public
def ready() -> ResponseReturnValue:
    """The database answers and has our tables."""
    db.session.execute(select(Workspace.id).limit(1)).all()
    return {"status": "ready"}


@blueprint.get("/metrics")
@public
def metrics() -> ResponseReturnValue:
    """Deliveries by outcome, for Prometheus. No names, no addresses."""
    sums = [func.coalesce(func.sum(column), 0) for column in (Lane.made, Lane.delivered, Lane.skipped, Lane.failed)]
    made, delivered, skipped, failed = tuple(db.session.execute(select(*sums)).one())
    # What no account was there for has no lane, and is skipped at once.
    counted = func.coalesce(func.sum(ConnectionStat.skipped), 0)
    unrouted = db.session.scalar(select(counted).where(ConnectionStat.connection_id == lanes.NO_CONNECTION))
    lines = ["# HELP cevoid_deliveries Deliveries by status.", "# TYPE cevoid_deliveries gauge"]
    waiting = made - delivered - skipped - failed
    for status, count in (
        ("delivered", delivered),
        ("skipped", skipped + (unrouted or 0)),
        ("failed", failed),
        ("waiting", waiting),
    ):
        lines.append(f'cevoid_deliveries{{status="{status}"}} {count}')
    return "\n".join(lines) + "\n", 200, {"Content-Type": "text/plain; version=0.0.4"}
