"""Finding deliveries: filters that the indexes serve, newest first, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from webapp.catalogue.reasons import Reason, Status
from webapp.extensions import db
from webapp.models import Activity, Attempt, Connection, Delivery, Person

PAGE = 50


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for; None: anything. `before` is the last id of the page above."""

    status: Status | None = None
    reason: Reason | None = None
    connection_id: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A delivery with what a list shows of it."""

    delivery: Delivery
    activity_id: str
    email: str | None
    account: str | None


def page(workspace_id: int, filters: Filters) -> list[Found]:
    """Up to PAGE deliveries and one more, which says that there is a next page."""
    statement = (
        select(Delivery, Activity.external_id, Person.email, Connection.account_name)
        .join(Activity, Activity.id == Delivery.activity_id)
        .outerjoin(Person, Person.id == Delivery.person_id)
        .outerjoin(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.workspace_id == workspace_id)
    )
    if filters.status:
        statement = statement.where(Delivery.status == filters.status)
    if filters.reason:
        statement = statement.where(Delivery.reason == filters.reason)
    if filters.connection_id:
        statement = statement.where(Delivery.connection_id == filters.connection_id)
    if filters.before:
        statement = statement.where(Delivery.id < filters.before)
    rows = db.session.execute(statement.order_by(Delivery.id.desc()).limit(PAGE + 1))
    return [Found(*row) for row in rows]


def one(workspace_id: int, delivery_id: int) -> tuple[Found, Activity, list[Attempt]] | None:
    """A delivery of this workspace with its activity and the attempts of its last batch, oldest first."""
    statement = (
        select(Delivery, Activity, Person.email, Connection.account_name)
        .join(Activity, Activity.id == Delivery.activity_id)
        .outerjoin(Person, Person.id == Delivery.person_id)
        .outerjoin(Connection, Connection.id == Delivery.connection_id)
        .where(Delivery.workspace_id == workspace_id, Delivery.id == delivery_id)
    )
    row = db.session.execute(statement).one_or_none()
    if row is None:
        return None
    delivery, activity, email, account = row
    attempts: list[Attempt] = []
    if delivery.batch_id is not None:
        wanted = select(Attempt).where(Attempt.batch_id == delivery.batch_id).order_by(Attempt.id)
        attempts = list(db.session.scalars(wanted))
    return Found(delivery, activity.external_id, email, account), activity, attempts


def masked(email: str | None) -> str:
    """`a…@example.com`: enough to recognise, not enough to write to."""
    if not email:
        return "no address"
    name, _, domain = email.partition("@")
    return f"{name[:1]}…@{domain}"
