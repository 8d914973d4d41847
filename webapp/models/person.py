"""One e-mail address in a workspace, and its link to Klaviyo's record of it in each account."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.extensions import Base
from webapp.models.types import Id, UtcDateTime


class Person(Base):
    """A person: ours.

    `fields` is JSON text `{field key: {"v": value, "at": ISO time, "n": fields_version at that change}}`; the newest
    `occurred_at` wins per field; a cleared one stays with `"v": null`. `fields_version` grows with each change. `"off"`
    is in an entry whose field was not shared when the value came, `"behind"` in one whose field was off when an account
    that may have an older value was to be written once more.
    `consents` is JSON text kept by `services.people.consents`.
    An erased person's `email` is None. `tested_only`: known from test events alone, so nobody that a sync is about.
    """

    __tablename__ = "people"
    __table_args__ = (
        UniqueConstraint("workspace_id", "email"),
        Index(
            "ix_people_erased_at",
            "erased_at",
            sqlite_where=text("erased_at IS NOT NULL"),
            postgresql_where=text("erased_at IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    workspace_id: Mapped[int] = mapped_column(Id)
    email: Mapped[str | None] = mapped_column(String(100))
    first_name: Mapped[str | None] = mapped_column(String(200))
    last_name: Mapped[str | None] = mapped_column(String(200))
    home_store_id: Mapped[int | None] = mapped_column(Id)
    fields: Mapped[str] = mapped_column(Text, default="{}")
    fields_version: Mapped[int] = mapped_column(default=0, server_default="0")
    consents: Mapped[str] = mapped_column(Text, default="{}")
    tested_only: Mapped[bool] = mapped_column(default=False, server_default="0")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ProfileLink(Base):
    """What we know of a person in one connection's Klaviyo account.

    `found`: None never looked up, False a miss, True there (then `klaviyo_id` is set). A miss leaves `klaviyo_id` and
    all that belongs to that profile, for whoever is found next to be compared with: nothing goes to it unless `found`.
    `fields_version` is the version of the person's fields last written. `unsettled_until` (database's clock): an older
    write may still be under way in Klaviyo; `rewrite` marks that newer values were sent meanwhile and the person must
    be written once more after it.
    `job_batch_id`: the unfinished import job holding this person. `creating_since`: we sent a call that may create
    them, so a profile born since is ours. `list_due`: created by us and not yet on the chosen list.
    `subscribed_*`: our last subscribe that Klaviyo accepted or may have. `withdrawal_check_at`: when a withdrawal sent
    by us is read back next; it is about `withdrawn_list_id` (None: no list) and delivery `withdrawn_delivery_id`.
    """

    __tablename__ = "profile_links"
    __table_args__ = (
        Index("ix_profile_links_person_id", "person_id"),
        Index(
            "ix_profile_links_rewrite",
            "connection_id",
            "unsettled_until",
            sqlite_where=text("rewrite"),
            postgresql_where=text("rewrite"),
        ),
        Index(
            "ix_profile_links_withdrawal",
            "connection_id",
            "withdrawal_check_at",
            sqlite_where=text("withdrawal_check_at IS NOT NULL"),
            postgresql_where=text("withdrawal_check_at IS NOT NULL"),
        ),
    )

    connection_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    person_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    klaviyo_id: Mapped[str | None] = mapped_column(String(64))
    found: Mapped[bool | None]
    looked_up_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    fields_version: Mapped[int] = mapped_column(default=0, server_default="0")
    unsettled_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    rewrite: Mapped[bool] = mapped_column(default=False, server_default="0")
    job_batch_id: Mapped[int | None] = mapped_column(Id)
    created_by_us_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    creating_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    list_due: Mapped[bool] = mapped_column(default=False, server_default="0")
    list_added_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    subscribed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    subscribed_list_id: Mapped[str | None] = mapped_column(String(40))
    withdrawal_check_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    withdrawn_list_id: Mapped[str | None] = mapped_column(String(40))
    withdrawn_delivery_id: Mapped[int | None] = mapped_column(Id)
