"""What the table shows of a connection, as plain values: read fifty at a time, compared and remembered as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import Text, cast, func, select

from webapp.catalogue.words import SyncBehavior
from webapp.database import plain
from webapp.dialects import one_of
from webapp.klaviyo import scopes
from webapp.models import Alert, Connection, ConnectionState, Grant, Lane, LaneKind, Store, Task, User
from webapp.services import tasks
from webapp.services.connections import settling

UNDO_OFFERED = timedelta(minutes=10)


class Facts(NamedTuple):
    """A connection's row with its store's name, its grant's scopes and who paused it; see `Connection`.

    `saved`: the previous settings as stored.
    """

    id: int
    workspace_id: int
    klaviyo_account_id: str
    account_name: str
    state: ConnectionState
    state_cause: str | None
    state_at: datetime
    paused_at: datetime | None
    paused_by: int | None
    paused_cause: str | None
    sync_behavior: SyncBehavior
    list_name: str | None
    list_opt_in: str | None
    list_missing_at: datetime | None
    row_version: int
    saved: str | None
    created_at: datetime
    last_delivered_at: datetime | None
    profiles_created: int
    store: str | None
    scopes: str | None
    paused_name: str | None

    @property
    def is_live(self) -> bool:
        """Live: not disconnected."""
        return self.state is not ConnectionState.DISCONNECTED

    @property
    def is_paused(self) -> bool:
        """Whether somebody, or we, paused it."""
        return self.paused_at is not None

    @property
    def undo_until(self) -> datetime | None:
        """Until when the row offers to undo the last save; None where there is nothing to undo."""
        stored = json.loads(self.saved) if self.saved and self.is_live else None
        return datetime.fromisoformat(stored["at"]) + UNDO_OFFERED if stored else None

    @property
    def lacking(self) -> dict[str, tuple[str, ...]]:
        """Feature key -> the scopes it lacks; nothing where the grant has ended."""
        return missing(self.scopes) if self.scopes is not None else {}


class LaneFacts(NamedTuple):
    """What the table needs to know of a lane."""

    kind: LaneKind
    waiting: int
    held_until: datetime | None
    held_reason: str | None
    failures: int
    held_detail: str | None = None


class Settling(NamedTuple):
    """How far the settling of what waited is."""

    done: int
    total: int | None


@lru_cache(maxsize=1000)
def missing(granted: str) -> dict[str, tuple[str, ...]]:
    """Feature key -> its missing scopes, by a grant's text. Not to be changed by anybody: it is remembered."""
    return scopes.missing(frozenset(granted.split()))


_FACTS = (
    select(
        *(
            cast(Connection.previous_settings, Text) if name == "saved" else getattr(Connection, name)
            for name in Facts._fields[:-3]
        ),
        Store.name,
        Grant.scopes,
        func.coalesce(func.nullif(User.name, ""), User.email),
    )
    .outerjoin(User, User.id == Connection.paused_by)
    .outerjoin(Store, Store.id == Connection.store_id)
    .outerjoin(Grant, Grant.connection_id == Connection.id)
    .where(one_of(Connection.id))
)
_LANES = select(
    Lane.connection_id,
    Lane.kind,
    Lane.made - Lane.delivered - Lane.skipped - Lane.failed,
    Lane.held_until,
    Lane.held_reason,
    Lane.failures,
    Lane.held_detail,
).where(
    one_of(Lane.connection_id),
    Lane.kind != LaneKind.TASKS,
    Lane.made > Lane.delivered + Lane.skipped + Lane.failed,
)
_SETTLING = select(Task.connection_id, Task.done, Task.total).where(
    one_of(Task.connection_id), Task.state.in_(tasks.UNFINISHED), Task.kind == settling.KIND
)


_ALARMS = select(Alert.connection_id, Alert.cause, Alert.detail).where(
    one_of(Alert.connection_id), Alert.closed_at.is_(None)
)


def alarms(ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """Connection id -> cause -> detail of the incidents that go on."""
    found: dict[int, dict[str, str]] = {}
    for connection_id, cause, detail in plain(_ALARMS, {"ids": ids}).all():
        found.setdefault(connection_id, {})[cause] = detail
    return found


def of(ids: Sequence[int]) -> dict[int, Facts]:
    """Facts by connection id."""
    return {row[0]: Facts._make(row) for row in plain(_FACTS, {"ids": ids}).all()}


def lanes(ids: Sequence[int]) -> dict[int, tuple[LaneFacts, ...]]:
    """The delivery lanes in which something waits, by connection id."""
    found: dict[int, list[LaneFacts]] = {}
    for row in plain(_LANES, {"ids": ids}).all():
        found.setdefault(row[0], []).append(LaneFacts._make(row[1:]))
    return {connection_id: tuple(each) for connection_id, each in found.items()}


def unsettled(ids: Sequence[int]) -> dict[int, Settling]:
    """The unfinished settling of what waited, by connection id."""
    return {row[0]: Settling._make(row[1:]) for row in plain(_SETTLING, {"ids": ids}).all()}
