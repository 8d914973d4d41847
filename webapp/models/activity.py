"""What the platform told us happened. Ids and times are immutable; erasing blanks the payload and keeps the row."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from webapp.catalogue.words import ActivityType, Origin
from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime, Word


class Activity(Base):
    """One activity. `external_id` is the caller's idempotency key within the workspace.

    `properties`, `profile` and `consent` are JSON text as received (normalised), so that a delivery can pass the bytes
    on without parsing them: `properties` the event's, with those common to every event; `profile` `{"first_name",
    "last_name", "fields"}`; `consent` the consent object with its evidence. `route` says in one word how the connection
    was found. `starts_flows`: a test event that Klaviyo may start flows from; other tests and backfills never do. No
    foreign keys: hot table.
    """

    __tablename__ = "activities"
    __table_args__ = (UniqueConstraint("workspace_id", "external_id"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(Id)
    external_id: Mapped[str] = mapped_column(String(200))
    type: Mapped[ActivityType] = mapped_column(Word(ActivityType))
    event: Mapped[str | None] = mapped_column(String(60))
    origin: Mapped[Origin] = mapped_column(Word(Origin), default=Origin.PLATFORM)
    store_id: Mapped[int | None] = mapped_column(Id)
    person_id: Mapped[int | None] = mapped_column(Id)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    accepted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    properties: Mapped[str | None] = mapped_column(Text)
    profile: Mapped[str | None] = mapped_column(Text)
    consent: Mapped[str | None] = mapped_column(Text)
    route: Mapped[str | None] = mapped_column(String(40))
    starts_flows: Mapped[bool] = mapped_column(default=False, server_default="0")
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
