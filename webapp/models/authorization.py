"""One OAuth attempt: who, for which workspace, to what end. Ten minutes, single use."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime, Word


class Purpose(StrEnum):
    """Why somebody was sent to Klaviyo."""

    CONNECT = "connect"
    RECONNECT = "reconnect"
    REPLACE = "replace"


class Authorization(Base):
    """Consumed by one DELETE ... RETURNING on the SHA-256 of `state`, before anything of it is compared."""

    __tablename__ = "authorizations"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    state_hash: Mapped[str] = mapped_column(String(64), unique=True)
    session_id: Mapped[int] = mapped_column(Id)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    purpose: Mapped[Purpose] = mapped_column(Word(Purpose))
    store_id: Mapped[int | None] = mapped_column(ForeignKey("stores.id"))
    connection_id: Mapped[int | None] = mapped_column(ForeignKey("connections.id"))
    verifier: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
