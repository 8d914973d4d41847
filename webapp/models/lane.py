"""The queue of one connection and kind of write, and the budgets its calls are taken from."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime, Word

FAILING = text("failures > 0")


class LaneKind(StrEnum):
    """What a lane carries: the three kinds of delivery, and what pages ask of Klaviyo."""

    EVENTS = "events"
    FIELDS = "fields"
    CONSENTS = "consents"
    TASKS = "tasks"


class Lane(Base):
    """One worker at a time: `owner` holds it until `lease_until` under `fence`, which grows with every claim.
    `taken_over`: from a holder before who never gave it back.

    `next_at` is when there is something to do (None: nothing), `held_until` the moment before which nothing may be sent
    (budget, back-off), `held_reason` why, `held_detail` what Klaviyo did, as in "Klaviyo answered 500".
    The sweeper wakes lanes whose `next_at` and `held_until` have come. `stopped` lanes are never
    woken (paused, needs reauthorization, disconnected); `started_at` is when one that was stopped went on. All times by
    the database's clock.

    `made`, `delivered`, `skipped`, `failed` count the lane's deliveries for good: waiting is what is left of `made`.
    `news` grows with every reason to look at the lane: a drain clears `next_at` only where `news` is what it saw.
    """

    __tablename__ = "lanes"
    __table_args__ = (
        UniqueConstraint("connection_id", "kind"),
        Index("ix_lanes_next_at", "next_at"),
        # Few, and each page of the connection table asks for them.
        Index("ix_lanes_failing", "workspace_id", sqlite_where=FAILING, postgresql_where=FAILING),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(Id)
    connection_id: Mapped[int] = mapped_column(Id)
    kind: Mapped[LaneKind] = mapped_column(Word(LaneKind))
    owner: Mapped[str | None] = mapped_column(String(80))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    fence: Mapped[int] = mapped_column(default=0, server_default="0")
    taken_over: Mapped[bool] = mapped_column(default=False, server_default="0")
    next_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    held_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    held_reason: Mapped[str | None] = mapped_column(String(40))
    held_detail: Mapped[str | None] = mapped_column(String(40))
    woken_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stopped: Mapped[bool] = mapped_column(default=False, server_default="0")
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    slow: Mapped[bool] = mapped_column(default=False, server_default="0")
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    news: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    made: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    delivered: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    skipped: Mapped[int] = mapped_column(Id, default=0, server_default="0")
    failed: Mapped[int] = mapped_column(Id, default=0, server_default="0")

    @property
    def waiting(self) -> int:
        """Deliveries of this lane that have no final status yet."""
        return self.made - self.delivered - self.skipped - self.failed


class Budget(Base):
    """What was spent of one Klaviyo account's limits on one endpoint, by our own count.

    `limits`: `{"1": 10, "60": 150}` learned or documented; `spent`: recent reservations, `[[epoch ms, calls], ...]`;
    `blocked_until`: a 429's Retry-After. Reserved in the same commit as the batch; never given back.
    """

    __tablename__ = "budgets"

    klaviyo_account_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(80), primary_key=True)
    limits: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    spent: Mapped[list[Any]] = mapped_column(JSON, default=list)
    blocked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    remaining: Mapped[int | None]
    reset_seconds: Mapped[int | None]
    learned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
