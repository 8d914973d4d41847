"""Stores of a workspace, by the platform's id."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.database import run_writing
from webapp.extensions import db
from webapp.forms.invalid import Invalid
from webapp.models import Connection, ConnectionState, Store
from webapp.services import audit
from webapp.services.workspaces import tenancy
from webapp.upserts import insert_or_ignore


def put(workspace_id: int, external_id: str, name: str, actor_id: int | None = None) -> bool:
    """Add a store or rename it; whether it is new. The same again changes nothing."""

    def work(session: Session) -> bool:
        if _insert(session, workspace_id, external_id, name, actor_id):
            return True
        _rename(session, _locked(session, workspace_id, Store.external_id == external_id), name, actor_id)
        return False

    return run_writing(work)


def add(workspace_id: int, external_id: str, name: str, actor_id: int) -> None:
    """Add a store. Raises Invalid where the workspace has one with this id."""

    def work(session: Session) -> None:
        if not _insert(session, workspace_id, external_id, name, actor_id):
            present = _locked(session, workspace_id, Store.external_id == external_id)
            raise Invalid({"external_id": f"This id belongs to {present.name} already. Rename that one instead."})

    run_writing(work)


def rename(workspace_id: int, store_id: int, name: str, actor_id: int) -> None:
    """Give a store another name; its external id never changes. Raises LookupError for anybody else's."""
    run_writing(lambda session: _rename(session, _locked(session, workspace_id, Store.id == store_id), name, actor_id))


def of(workspace_id: int) -> list[Store]:
    """A workspace's stores by name."""
    statement = select(Store).where(Store.workspace_id == workspace_id).order_by(Store.name)
    return list(db.session.scalars(statement))


def choices(workspace_id: int) -> dict[int, str]:
    """Store id -> what to choose it by: its name, with the platform's id where several have the same one."""
    found = sorted(of(workspace_id), key=lambda store: (store.name, store.external_id))
    times = Counter(store.name for store in found)
    return {store.id: f"{store.name} ({store.external_id})" if times[store.name] > 1 else store.name for store in found}


def connected(workspace_id: int) -> dict[int, Connection]:
    """Store id -> its live connection, for stores that have one."""
    mine = (Connection.workspace_id == workspace_id, Connection.state != ConnectionState.DISCONNECTED)
    found = db.session.scalars(select(Connection).where(*mine, Connection.store_id.is_not(None)))
    return {row.store_id: row for row in found if row.store_id is not None}


def _insert(session: Session, workspace_id: int, external_id: str, name: str, actor_id: int | None) -> bool:
    values = {"workspace_id": workspace_id, "external_id": external_id, "name": name, "created_at": clock.now()}
    statement = insert_or_ignore(session, Store.__table__).values(**values).returning(Store.__table__.c.id)
    store_id = session.scalar(statement)
    if store_id is None:
        return False
    tenancy.changed(session, workspace_id)
    audit.record(
        session,
        workspace_id=workspace_id,
        actor_id=actor_id,
        action="store.added",
        subject=("store", store_id),
        after={"external_id": external_id, "name": name},
    )
    return True


def _locked(session: Session, workspace_id: int, which: ColumnElement[bool]) -> Store:
    statement = select(Store).where(Store.workspace_id == workspace_id, which)
    found = session.scalar(statement.with_for_update())
    if found is None:
        raise LookupError("no such store")
    return found


def _rename(session: Session, store: Store, name: str, actor_id: int | None) -> None:
    if store.name == name:
        return
    before, store.name = store.name, name
    tenancy.changed(session, store.workspace_id)
    audit.record(
        session,
        workspace_id=store.workspace_id,
        actor_id=actor_id,
        action="store.renamed",
        subject=("store", store.id),
        before={"name": before},
        after={"name": name},
    )
