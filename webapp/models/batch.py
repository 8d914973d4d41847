"""What was sent together, and each HTTP call it took. Attempts are append-only."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime, Word


class BatchOutcome(StrEnum):
    """`unknown` from just before the call until its answer is recorded; `lost` where none ever came."""

    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    LOST = "lost"


class Batch(Base):
    """One planned call of a lane, written before the call. `job_id` is Klaviyo's, of an import job.

    `members` is JSON text until its end is known (from then on `deliveries.batch_id` says it, written together with
    their status): of events the ids of their deliveries; of fields `[[person id, fields_version, [delivery ids], id of
    the profile that is written to, or None], ...]` in the order of the body. `job_due_at`: when its import job is asked
    about next. While the people of one that is over are looked up, those who failed have Klaviyo's sentence besides,
    and `finished_at` is since when that is known. `fence`: its lane's when it was sent last; 0 for a half of a
    refused import job that was not sent yet: sending it sets `started_at` anew. `carried`: of events, JSON text of the
    `fields_version` of each person (by id) that went with them at least.
    """

    __tablename__ = "batches"
    __table_args__ = (
        Index("ix_batches_connection_id", "connection_id", "id"),
        Index(
            "ix_batches_open",
            "lane_id",
            "id",
            sqlite_where=text("outcome = 'unknown'"),
            postgresql_where=text("outcome = 'unknown'"),
        ),
        Index(
            "ix_batches_jobs",
            "lane_id",
            "job_due_at",
            sqlite_where=text("job_due_at IS NOT NULL"),
            postgresql_where=text("job_due_at IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    lane_id: Mapped[int] = mapped_column(Id)
    connection_id: Mapped[int] = mapped_column(Id)
    endpoint: Mapped[str] = mapped_column(String(80))
    size: Mapped[int]
    members: Mapped[str | None] = mapped_column(Text)
    carried: Mapped[str | None] = mapped_column(Text)
    fence: Mapped[int]
    outcome: Mapped[BatchOutcome] = mapped_column(Word(BatchOutcome), default=BatchOutcome.UNKNOWN)
    unknown_times: Mapped[int] = mapped_column(default=0, server_default="0")
    job_id: Mapped[str | None] = mapped_column(String(200))
    job_due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Attempt(Base):
    """One HTTP call to Klaviyo. `endpoint` is the template, never the address sent to; `error` masked, up to 4 KB."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index("ix_attempts_batch_id", "batch_id"),
        Index("ix_attempts_request_id", "request_id"),
        Index("ix_attempts_connection_id", "connection_id", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    batch_id: Mapped[int | None] = mapped_column(Id)
    connection_id: Mapped[int] = mapped_column(Id)
    endpoint: Mapped[str] = mapped_column(String(80))
    size: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    duration_ms: Mapped[int | None]
    http_status: Mapped[int | None]
    outcome: Mapped[str] = mapped_column(String(40))
    request_id: Mapped[str | None] = mapped_column(String(120))
    revision: Mapped[str | None] = mapped_column(String(20))
    retry_after: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)


class AttemptDelivery(Base):
    """Which deliveries an attempt held, written only where the call did not deliver."""

    __tablename__ = "attempt_deliveries"
    __table_args__ = (Index("ix_attempt_deliveries_delivery_id", "delivery_id"),)

    attempt_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    delivery_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
