"""One write owed to one Klaviyo account because of one activity. It always has a status and a reason."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.catalogue.reasons import REASONS, Reason, Status
from webapp.catalogue.words import Kind
from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime, Word

PRIORITY_WITHDRAWAL = -1  # overtakes whatever waits in its lane
PRIORITY_LIVE = 0
PRIORITY_RESEND = 5
PRIORITY_BACKFILL = 9


def _outcomes() -> str:
    """SQL: the status is one of ours, and the reason one of that status. The migrations have it as text."""
    pairs = ((status, ", ".join(f"'{reason}'" for reason in sorted(REASONS[status]))) for status in Status)
    return " OR ".join(f"(status = '{status}' AND reason IN ({reasons}))" for status, reasons in pairs)


class Delivery(Base):
    """A delivery. `connection_id` is None where no connection takes the activity (then it is settled at once).

    `due_at` (database's clock) is when a waiting one may be sent; `expires_at` when waiting ends as `failed: expired`;
    `only_existing`: of another connection than the routed one, so that it never creates anybody, whatever the behavior;
    `batch_id` the last batch it was in; `detail` Klaviyo's own sentence, masked. Indexes beyond these cost ingest.
    The database itself refuses a status or a reason that is not in the catalogue, whoever writes it.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("activity_id", "connection_id", "kind"),
        CheckConstraint(_outcomes(), name="outcome"),
        Index(
            "ix_deliveries_waiting",
            "connection_id",
            "kind",
            "priority",
            "id",
            sqlite_where=text("status = 'waiting'"),
            postgresql_where=text("status = 'waiting'"),
        ),
        Index("ix_deliveries_connection_id", "connection_id", "id"),
        Index("ix_deliveries_outcome", "workspace_id", "status", "reason", "id"),
        Index("ix_deliveries_person_id", "person_id", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(Id)
    activity_id: Mapped[int] = mapped_column(Id)
    connection_id: Mapped[int | None] = mapped_column(Id)
    kind: Mapped[Kind] = mapped_column(Word(Kind))
    person_id: Mapped[int | None] = mapped_column(Id)
    event: Mapped[str | None] = mapped_column(String(60))
    status: Mapped[Status] = mapped_column(Word(Status))
    reason: Mapped[Reason] = mapped_column(Word(Reason))
    priority: Mapped[int] = mapped_column(default=PRIORITY_LIVE, server_default="0")
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    batch_id: Mapped[int | None] = mapped_column(Id)
    only_existing: Mapped[bool] = mapped_column(default=False, server_default="0")
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    detail: Mapped[str | None] = mapped_column(Text)
