"""Giving deliveries their status, with the counters of the same transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Update, bindparam, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.dialects import one_of
from webapp.models import Connection
from webapp.models.tables import CONNECTIONS, DELIVERIES
from webapp.services import lanes


@dataclass(frozen=True, slots=True)
class Result:
    """What a delivery becomes. For a waiting one `due_at` is the next look; `detail` is masked already."""

    status: Status
    reason: Reason
    due_at: datetime | None = None
    detail: str | None = None


_THIS = CONNECTIONS.c.id == bindparam("this")
_LAST_DELIVERED = update(CONNECTIONS).where(_THIS).values(last_delivered_at=bindparam("now"))
DELIVERED = Result(Status.DELIVERED, Reason.WRITTEN)


def skipped(reason: Reason) -> Result:
    """Not to be sent, and why."""
    return Result(Status.SKIPPED, reason)


def failed(reason: Reason, detail: str | None = None) -> Result:
    """Refused for good, and why."""
    return Result(Status.FAILED, reason, detail=detail)


def waiting(reason: Reason, due_at: datetime, detail: str | None = None) -> Result:
    """To be looked at again."""
    return Result(Status.WAITING, reason, due_at=due_at, detail=detail)


def settle(
    session: Session,
    connection: Connection,
    kind: Kind,
    results: Mapping[int, Result],
    *,
    attempts: int = 0,
    batch_id: int | None = None,
) -> None:
    """Write results by delivery id; only what still waits changes. The lane's fence is held by the caller."""
    groups: dict[Result, list[int]] = defaultdict(list)
    for delivery_id, result in results.items():
        groups[result].append(delivery_id)
    counts = lanes.Counts()
    for result, ids in groups.items():
        changed = _write(session, result, sorted(ids), attempts, batch_id)
        if result.status is Status.DELIVERED:
            counts.delivered += changed
        elif result.status is Status.SKIPPED:
            counts.skipped += changed
        elif result.status is Status.FAILED:
            counts.failed += changed
    lanes.count(session, connection.workspace_id, connection.id, kind, counts)
    if counts.delivered:
        session.connection().execute(_LAST_DELIVERED, {"this": connection.id, "now": clock.now()})


def _write(session: Session, result: Result, ids: Sequence[int], attempts: int, batch_id: int | None) -> int:
    values: dict[str, Any] = {"status": result.status, "reason": result.reason}
    # Untouched where there is nothing to say: rows are written thousands at a time.
    if result.detail is not None or result.status is not Status.DELIVERED:
        values["detail"] = result.detail
    if attempts:
        values["attempts"] = attempts
    if batch_id is not None:
        values["batch_id"] = batch_id
    if result.status is Status.WAITING:
        values["due_at"] = result.due_at
    else:
        values["settled_at"] = clock.now()
    where = {"ids": ids, **{f"to_{name}": value for name, value in values.items()}}
    return session.connection().execute(_settling(tuple(values)), where).rowcount


@cache
def _settling(names: tuple[str, ...]) -> Update:
    """Sets these columns of what still waits; `attempts` are added."""
    values: dict[str, Any] = {name: bindparam(f"to_{name}", type_=DELIVERIES.c[name].type) for name in names}
    if "attempts" in values:
        values["attempts"] = DELIVERIES.c.attempts + values["attempts"]
    return update(DELIVERIES).where(one_of(DELIVERIES.c.id), DELIVERIES.c.status == Status.WAITING).values(**values)
