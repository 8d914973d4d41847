"""What a workspace shares: events turned on, fields turned on, its own custom properties. Off unless a row says on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime


class EventChoice(Base):
    """An event of the catalogue, on or off for a workspace."""

    __tablename__ = "event_choices"

    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), primary_key=True, autoincrement=False)
    event: Mapped[str] = mapped_column(String(60), primary_key=True)
    is_on: Mapped[bool] = mapped_column(default=False)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class FieldChoice(Base):
    """A field of the catalogue or a custom property (by key), on or off for a workspace."""

    __tablename__ = "field_choices"

    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"), primary_key=True, autoincrement=False)
    field: Mapped[str] = mapped_column(String(60), primary_key=True)
    is_on: Mapped[bool] = mapped_column(default=False)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class CustomProperty(Base):
    """A workspace's own field: `key` is what the platform posts, `label` names the Klaviyo property, for good."""

    __tablename__ = "custom_properties"
    __table_args__ = (UniqueConstraint("workspace_id", "key"), UniqueConstraint("workspace_id", "label"))

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    key: Mapped[str] = mapped_column(String(60))
    label: Mapped[str] = mapped_column(String(100))
    type: Mapped[str] = mapped_column(String(20))
    choices: Mapped[list[Any]] = mapped_column(JSON, default=list)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
