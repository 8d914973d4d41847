"""What a Klaviyo account's owner gave us: encrypted tokens, expiry, granted scopes. One live per connection."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime


class Grant(Base):
    """The tokens of a connection. The row is deleted when the connection is disconnected.

    `version` grows with every stored pair; `refresh_owner` and `refresh_until` are the lease of the one who refreshes
    (database's clock). Ciphertexts are bound to `grant:<connection_id>` and the column's name.
    """

    __tablename__ = "grants"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connections.id"), unique=True)
    access_token: Mapped[str] = mapped_column(Text)
    refresh_token: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    scopes: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    refresh_owner: Mapped[str | None] = mapped_column(String(64))
    refresh_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    refreshed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    refresh_failures: Mapped[int] = mapped_column(default=0, server_default="0")
    granted_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @property
    def scope_set(self) -> frozenset[str]:
        """The granted scopes."""
        return frozenset(self.scopes.split())
