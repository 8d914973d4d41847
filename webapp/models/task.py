"""What a page asks of Klaviyo, done by a worker: lists, previews, test events, backfills, resends, read-backs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime, Word


class TaskState(StrEnum):
    """`waiting -> running -> done | failed`, `paused` and back, `cancelled` from any but the last ones."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Task(Base):
    """One task. `arguments` by id only; `cursor` is where it resumes; `result` what the page shows.

    Work on several connections is one task each under one `name`. `connection_id` 0: no connection's (housekeeping).
    """

    __tablename__ = "tasks"
    __table_args__ = (
        Index("ix_tasks_connection_id", "connection_id", "state", "id"),
        Index("ix_tasks_workspace_id", "workspace_id", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(Id)
    connection_id: Mapped[int] = mapped_column(Id)
    kind: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(200), default="")
    state: Mapped[TaskState] = mapped_column(Word(TaskState), default=TaskState.WAITING)
    arguments: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    cursor: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    result: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    done: Mapped[int] = mapped_column(default=0, server_default="0")
    total: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[int | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
