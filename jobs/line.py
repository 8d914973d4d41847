"""A lane's line as statements see it, by (priority, id), and what stands in it before others of the same people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    bindparam,
    cast,
    func,
    null,
    or_,
    select,
)
from sqlalchemy.orm import Session

from webapp.catalogue.reasons import Status
from webapp.dialects import one_of, pinned
from webapp.models.tables import DELIVERIES
from webapp.models.types import UtcDateTime

FRONT = 4_000  # a batch, two that are under way or just delivered, and as many again

OF_LANE = (
    pinned(DELIVERIES.c.connection_id, "connection"),
    DELIVERIES.c.kind == bindparam("delivery_kind"),
    DELIVERIES.c.status == Status.WAITING,
)
OF_PRIORITY = pinned(DELIVERIES.c.priority, "priority")
IN_LINE = (DELIVERIES.c.connection_id, DELIVERIES.c.priority, DELIVERIES.c.id)
LIMIT = bindparam("most", type_=Integer)
NOW = bindparam("now", type_=UtcDateTime())
_LINE = select(DELIVERIES.c.due_at).where(*OF_LANE).order_by(*IN_LINE).subquery()
NEXT_DUE = select(func.min(_LINE.c.due_at))  # when the earliest that waits comes due
_IN_FRONT = (*OF_LANE, OF_PRIORITY, DELIVERIES.c.id < bindparam("last"))


class Stands(Protocol):
    """Whatever stands in a line."""

    @property
    def id(self) -> int:
        """The delivery's."""

    @property
    def priority(self) -> int:
        """Lower goes first."""

    @property
    def person_id(self) -> int:
        """Whose it is."""


class Which(NamedTuple):
    """Two ways to ask for waiting events that come before others: all of a short line's, or the first of each of some.

    Mostly there is none, which the index tells at once. PostgreSQL does not know that: asked about a thousand people,
    or for what is put off, it reads everything that waits, where its statistics are from a moment when much did. So
    the front of the line is taken first, whatever it holds; how much that was is told in a row without a person.
    """

    in_front: CompoundSelect[Any]
    of_people: Select[Any]


def _which(*, passed: bool) -> Which:
    """What is put off; with `passed` also what stands before the first of those that are under way."""

    def is_so(rows: Any) -> ColumnElement[bool]:
        put_off: ColumnElement[bool] = rows.c.due_at > NOW
        return or_(put_off, rows.c.id < bindparam("first")) if passed else put_off

    columns = (DELIVERIES.c.person_id, DELIVERIES.c.id, DELIVERIES.c.due_at)
    front = select(*columns).where(*_IN_FRONT).order_by(*IN_LINE).limit(LIMIT).cte("front")
    looked_at = select(cast(null(), BigInteger), func.count()).select_from(front)
    first = select(DELIVERIES.c.person_id, func.min(DELIVERIES.c.id)).where(*_IN_FRONT, is_so(DELIVERIES))
    return Which(
        in_front=select(front.c.person_id, front.c.id).where(is_so(front)).union_all(looked_at),
        of_people=first.where(one_of(DELIVERIES.c.person_id)).group_by(DELIVERIES.c.person_id),
    )


PUT_OFF, PASSED = _which(passed=False), _which(passed=True)


def first_of_each(session: Session, which: Which, where: Mapping[str, Any], items: Sequence[Stands]) -> dict[int, int]:
    """Person id -> their first waiting event that is so, among those that come before the last of `items`."""
    firsts: dict[int, int] = {}
    last = max(item.id for item in items)
    for priority in {item.priority for item in items}:
        these = {**where, "priority": priority, "last": last, "most": FRONT}
        rows = session.connection().execute(which.in_front, these).all()
        if (None, FRONT) in rows:
            people = list({item.person_id for item in items})
            rows = session.connection().execute(which.of_people, {**these, "ids": people}).all()
        for person_id, delivery_id in rows:
            if person_id is not None:
                firsts[person_id] = min(delivery_id, firsts.get(person_id, delivery_id))
    return firsts
