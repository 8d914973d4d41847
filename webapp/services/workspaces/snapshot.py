"""What routing and sharing need to know of a workspace, cached by its version."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, BindParameter, Row, Select, String, bindparam, cast, literal, null, select, union_all
from sqlalchemy.orm import Session

from webapp.catalogue.fields import FIELDS, PREFIX, Field
from webapp.database import reading
from webapp.extensions import db
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
    version = session.scalar(_VERSION, {"workspace": workspace_id})
    if version is None:
        raise LookupError("no such workspace")
    return known(workspace_id, version) or _read(session, workspace_id, version)


def of_version(workspace_id: int, version: int) -> WorkspaceSettings:
    """Those of a version that was seen just now; newer ones in its place, where they were saved since."""
    found = known(workspace_id, version)
    if found is not None:
        return found
    with reading() as session:
        return _read(session, workspace_id, version)


def known(workspace_id: int, version: int) -> WorkspaceSettings | None:
    """This version of them where it is the one that was read last. Nothing is asked."""
    found = _cache.get(_key(workspace_id))
    return found if found is not None and found.version == version else None


def forget() -> None:
    """Read every workspace's settings anew: the database was put in another's place."""
    _cache.clear()


def _key(workspace_id: int) -> tuple[str, int]:
    return str(db.engine.url), workspace_id


# Made once: every call asks for the version.
_THIS: BindParameter[int] = bindparam("workspace")
_VERSION = select(Workspace.version).where(Workspace.id == _THIS)
_NO_ID, _NO_TEXT = cast(null(), BigInteger), cast(null(), String)


def _part(name: str, *columns: Any) -> Select[Any]:
    return select(literal(name).label("part"), *columns)


# In one statement, since a worker that has many small workspaces' work reads them more often than it knows them.
_PARTS = union_all(
    _part("store", Store.id, _NO_ID, Store.external_id, Store.name).where(Store.workspace_id == _THIS),
    _part("live", Connection.id, Connection.store_id, _NO_TEXT, _NO_TEXT).where(
        Connection.workspace_id == _THIS, Connection.state != ConnectionState.DISCONNECTED
    ),
    _part("event", _NO_ID, _NO_ID, EventChoice.event, _NO_TEXT).where(
        EventChoice.workspace_id == _THIS, EventChoice.is_on
    ),
    _part("field", _NO_ID, _NO_ID, FieldChoice.field, _NO_TEXT).where(
        FieldChoice.workspace_id == _THIS, FieldChoice.is_on
    ),
    _part("custom", CustomProperty.id, _NO_ID, _NO_TEXT, _NO_TEXT).where(CustomProperty.workspace_id == _THIS),
)
_CUSTOM = (
    select(*(getattr(CustomProperty, name) for name in ("id", "key", "label", "type", "choices", "retired_at")))
    .where(CustomProperty.workspace_id == _THIS)
    .order_by(CustomProperty.id)
)


def _read(session: Session, workspace_id: int, version: int) -> WorkspaceSettings:
    this = {"workspace": workspace_id}
    parts: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for part, *values in session.execute(_PARTS, this):
        parts[part].append(tuple(values))
    custom = session.execute(_CUSTOM, this) if parts["custom"] else ()
    fields = {**FIELDS, **{row.key: _custom(row) for row in custom}}
    unretired = {key for key, field in fields.items() if not field.retired}
    if len(_cache) >= CACHED:
        _cache.clear()
    found = _cache[_key(workspace_id)] = WorkspaceSettings(
        workspace_id=workspace_id,
        version=version,
        stores={external_id: id_ for id_, _, external_id, _ in parts["store"]},
        store_names={id_: (external_id, name) for id_, _, external_id, name in parts["store"]},
        connections=tuple(LiveConnection(id_, store_id) for id_, store_id, _, _ in parts["live"]),
        events_on=frozenset(event for _, _, event, _ in parts["event"]),
        fields=fields,
        fields_on=frozenset(key for _, _, key, _ in parts["field"]) & unretired,
    )
    return found


def _custom(row: Row[Any]) -> Field:
    return Field(
        key=row.key,
        property=f"{PREFIX}{row.label}",
        type=row.type,
        choices=tuple(row.choices),
        custom_id=row.id,
        retired=row.retired_at is not None,
    )
