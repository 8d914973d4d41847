"""An incident of a connection: opened once, closed with its recovery."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime

OPEN = text("closed_at IS NULL")


class Alert(Base):
    """At most one open alert per connection and cause.

    `mail_claimed_until`: a process is about to send its letter, or has just been refused; nobody else tries until then.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        Index("uq_alerts_open", "connection_id", "cause", unique=True, sqlite_where=OPEN, postgresql_where=OPEN),
        Index("ix_alerts_workspace_id", "workspace_id", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(Id)
    connection_id: Mapped[int] = mapped_column(Id)
    cause: Mapped[str] = mapped_column(String(60))
    detail: Mapped[str] = mapped_column(Text, default="")
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    dismissed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    open_mailed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    close_mailed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    mail_claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
