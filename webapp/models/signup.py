"""Which lists of which Klaviyo account we put a person on."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime


class Signup(Base):
    """Our last subscribe of a person to one list, which Klaviyo accepted or may have; `list_id` "": to none.

    Of an account, not of a connection: whoever withdraws after a disconnected or replaced account was connected again
    leaves what they were subscribed to before. `withdrawn_by`: the delivery whose withdrawal from this list was sent
    since; `withdrawn_at`: when Klaviyo took that (None: nobody knows whether it did). The row goes when Klaviyo shows
    that the person has left.
    """

    __tablename__ = "signups"

    person_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    klaviyo_account_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    list_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    sent_at: Mapped[datetime] = mapped_column(UtcDateTime)
    withdrawn_by: Mapped[int | None] = mapped_column(Id)
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
