"""Counters by connection, kind and hour, kept as things happen: no page ever counts deliveries."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from webapp.catalogue.words import Kind
from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime, Word


class ConnectionStat(Base):
    """What became final in one hour (UTC, its start). A resend takes its old outcome back in the hour it happens.

    `connection_id` 0 counts what no connection took.
    """

    __tablename__ = "connection_stats"
    __table_args__ = (Index("ix_connection_stats_workspace_id", "workspace_id", "hour"),)

    connection_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    kind: Mapped[Kind] = mapped_column(Word(Kind), primary_key=True)
    hour: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    delivered: Mapped[int] = mapped_column(default=0, server_default="0")
    skipped: Mapped[int] = mapped_column(default=0, server_default="0")
    failed: Mapped[int] = mapped_column(default=0, server_default="0")
