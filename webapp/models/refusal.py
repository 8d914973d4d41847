"""An activity that could not be accepted: its id and why. Nothing else of it is kept."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime


class Refusal(Base):
    """What the platform was answered last about one of its ids. `error`: our sentence, any address in it masked."""

    __tablename__ = "refusals"
    __table_args__ = (
        UniqueConstraint("workspace_id", "external_id"),
        Index("ix_refusals_newest", "workspace_id", "last_at", "id"),
        Index("ix_refusals_last_at", "last_at"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(Id)
    external_id: Mapped[str] = mapped_column(String(200))
    error: Mapped[str] = mapped_column(Text)
    first_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime)
