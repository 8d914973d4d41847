"""What routing and sharing need to know of a workspace, cached by its version."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp.catalogue.fields import FIELDS, PREFIX, Field
from webapp.models import (
    Connection,
    ConnectionState,
    CustomProperty,
    EventChoice,
    FieldChoice,
    Store,
    Workspace,
)

CACHED = 10_000
_cache: dict[tuple[str, int], WorkspaceSettings] = {}


@dataclass(frozen=True, slots=True)
class LiveConnection:
    """A connection that takes activities. `store_id` None: the first one, before it has its store."""

    id: int
    store_id: int | None


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """One version of a workspace's settings.

    `fields` holds every known field: a retired custom property is still accepted, so that retiring one never rejects
    what the platform posts. `fields_on` are the keys shared, never a retired one.
    """

    workspace_id: int
    version: int
    stores: dict[str, int]
    store_names: dict[int, tuple[str, str]]
    connections: tuple[LiveConnection, ...]
    events_on: frozenset[str]
    fields: dict[str, Field]
    fields_on: frozenset[str]


def load(session: Session, workspace_id: int) -> WorkspaceSettings:
    """The settings as of this transaction: the version is read in it, the rest only where it is new."""
    version = session.scalar(select(Workspace.version).where(Workspace.id == workspace_id))
    if version is None:
        raise LookupError("no such workspace")
    key = (str(session.get_bind().engine.url), workspace_id)
    found = _cache.get(key)
    if found is None or found.version != version:
        if len(_cache) >= CACHED:
            _cache.clear()
        found = _cache[key] = _read(session, workspace_id, version)
    return found


def _read(session: Session, workspace_id: int, version: int) -> WorkspaceSettings:
    stores = session.scalars(select(Store).where(Store.workspace_id == workspace_id)).all()
    live = select(Connection.id, Connection.store_id).where(
        Connection.workspace_id == workspace_id, Connection.state != ConnectionState.DISCONNECTED
    )
    events = select(EventChoice.event).where(EventChoice.workspace_id == workspace_id, EventChoice.is_on)
    fields = select(FieldChoice.field).where(FieldChoice.workspace_id == workspace_id, FieldChoice.is_on)
    custom = session.scalars(
        select(CustomProperty).where(CustomProperty.workspace_id == workspace_id).order_by(CustomProperty.id)
    )
    known = {**FIELDS, **{row.key: _custom(row) for row in custom}}
    unretired = {key for key, field in known.items() if not field.retired}
    return WorkspaceSettings(
        workspace_id=workspace_id,
        version=version,
        stores={store.external_id: store.id for store in stores},
        store_names={store.id: (store.external_id, store.name) for store in stores},
        connections=tuple(LiveConnection(row.id, row.store_id) for row in session.execute(live)),
        events_on=frozenset(session.scalars(events)),
        fields=known,
        fields_on=frozenset(session.scalars(fields)) & unretired,
    )


def _custom(row: CustomProperty) -> Field:
    return Field(
        key=row.key,
        property=f"{PREFIX}{row.label}",
        type=row.type,
        choices=tuple(row.choices),
        custom_id=row.id,
        retired=row.retired_at is not None,
    )
