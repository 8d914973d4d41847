"""Stores of a workspace, by the platform's id."""

from __future__ import annotations

from sqlalchemy import select

from webapp import clock
from webapp.database import writing
from webapp.extensions import db
from webapp.models import Store
from webapp.services import workspaces


def put(workspace_id: int, external_id: str, name: str) -> bool:
    """Add a store or rename it; whether it is new."""
    with writing() as session:
        statement = select(Store).where(Store.workspace_id == workspace_id, Store.external_id == external_id)
        store = session.scalar(statement)
        if store is not None:
            store.name = name
        else:
            session.add(Store(workspace_id=workspace_id, external_id=external_id, name=name, created_at=clock.now()))
        workspaces.changed(session, workspace_id)
    return store is None


def of(workspace_id: int) -> list[Store]:
    """A workspace's stores by name."""
    statement = select(Store).where(Store.workspace_id == workspace_id).order_by(Store.name)
    return list(db.session.scalars(statement))
