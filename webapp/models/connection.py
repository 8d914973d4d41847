"""Our link to one Klaviyo account, for one store, and what was proven of its scopes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.catalogue.words import SyncBehavior
from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime, Word


class ConnectionState(StrEnum):
    """`active -> needs_reauthorization -> active`, either -> `disconnected`. Live means not disconnected."""

    ACTIVE = "active"
    NEEDS_REAUTHORIZATION = "needs_reauthorization"
    DISCONNECTED = "disconnected"


LIVE = text("state <> 'disconnected'")


def _one_live(name: str, *columns: str, where: str = "") -> Index:
    condition = text(f"state <> 'disconnected'{where}")
    return Index(name, *columns, unique=True, sqlite_where=condition, postgresql_where=condition)


class Connection(Base):
    """One Klaviyo account of a workspace. `row_version` guards edits: a stale one is a 409.

    It grows when what a person sets is saved, or the account replaced; not when the connection is paused or loses its
    access, so that nobody's open form fails for that.

    `paused_*` is a flag beside the state, with who (`paused_by`: a user's id, None for ourselves) and why.
    `resumed_at`: when it was last resumed, or its account replaced; its health is judged by what came after.
    `previous_settings` holds what the last save replaced, for undo.
    """

    __tablename__ = "connections"
    __table_args__ = (
        _one_live("uq_connections_live_store", "store_id", where=" AND store_id IS NOT NULL"),
        _one_live("uq_connections_live_storeless", "workspace_id", where=" AND store_id IS NULL"),
        _one_live("uq_connections_live_account", "workspace_id", "klaviyo_account_id"),
        Index("ix_connections_workspace_id", "workspace_id"),
        Index("ix_connections_klaviyo_account_id", "klaviyo_account_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    store_id: Mapped[int | None] = mapped_column(ForeignKey("stores.id"))
    klaviyo_account_id: Mapped[str] = mapped_column(String(40))
    account_name: Mapped[str] = mapped_column(String(200))
    state: Mapped[ConnectionState] = mapped_column(Word(ConnectionState), default=ConnectionState.ACTIVE)
    state_cause: Mapped[str | None] = mapped_column(String(60))
    state_at: Mapped[datetime] = mapped_column(UtcDateTime)
    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_by: Mapped[int | None] = mapped_column(Id)
    paused_cause: Mapped[str | None] = mapped_column(String(60))
    resumed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    sync_behavior: Mapped[SyncBehavior] = mapped_column(Word(SyncBehavior), default=SyncBehavior.UPDATE_EXISTING)
    list_id: Mapped[str | None] = mapped_column(String(40))
    list_name: Mapped[str | None] = mapped_column(String(300))
    list_opt_in: Mapped[str | None] = mapped_column(String(40))
    list_missing_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    row_version: Mapped[int] = mapped_column(default=1, server_default="1")
    previous_settings: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_by: Mapped[int | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    disconnected_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    profiles_created: Mapped[int] = mapped_column(default=0, server_default="0")
    served_revision: Mapped[str | None] = mapped_column(String(20))
    retires_at: Mapped[str | None] = mapped_column(Text)

    @property
    def is_live(self) -> bool:
        """Live: not disconnected."""
        return self.state is not ConnectionState.DISCONNECTED

    @property
    def is_paused(self) -> bool:
        """Whether somebody, or we, paused it."""
        return self.paused_at is not None


class ScopeProof(Base):
    """When a call that needs a scope last succeeded for a connection, and when one was refused for it (403)."""

    __tablename__ = "scope_proofs"

    connection_id: Mapped[int] = mapped_column(ForeignKey("connections.id"), primary_key=True, autoincrement=False)
    scope: Mapped[str] = mapped_column(String(40), primary_key=True)
    proven_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    proven_by: Mapped[str | None] = mapped_column(String(80))
    refused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    refused_by: Mapped[str | None] = mapped_column(String(80))
