"""The people a sync is about, by id: known from more than test events, with an address, up to where it began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, and_, func, select

from jobs.tasks.run import TaskRun
from webapp.database import reading
from webapp.models import Person, ProfileLink
from webapp.services.activities import routing
from webapp.services.workspaces import snapshot
from webapp.services.workspaces.snapshot import WorkspaceSettings


@dataclass(frozen=True, slots=True)
class Known:
    """A person with what is remembered of them in the account. `found` None: never looked up."""

    id: int
    email: str
    home_store_id: int | None
    fields_text: str
    found: bool | None
    looked_up_at: datetime | None

    @property
    def fields(self) -> Mapping[str, Any]:
        """The person's fields as we hold them."""
        parsed: dict[str, Any] = orjson.loads(self.fields_text)
        return parsed


def _mine(run: TaskRun) -> ColumnElement[bool]:
    return and_(
        Person.workspace_id == run.connection.workspace_id, Person.email.is_not(None), Person.tested_only.is_(False)
    )


def extent(run: TaskRun) -> tuple[int, int]:
    """(how many people there are now, the last one's id)."""
    with reading() as session:
        row = session.execute(select(func.count(Person.id), func.max(Person.id)).where(_mine(run))).one()
    return row[0], row[1] or 0


def following(run: TaskRun, after: int, up_to: int, limit: int) -> list[Known]:
    """The next people."""
    link = and_(ProfileLink.connection_id == run.connection.id, ProfileLink.person_id == Person.id)
    statement = (
        select(
            Person.id, Person.email, Person.home_store_id, Person.fields, ProfileLink.found, ProfileLink.looked_up_at
        )
        .outerjoin(ProfileLink, link)
        .where(_mine(run), Person.id > after, Person.id <= up_to)
        .order_by(Person.id)
        .limit(limit)
    )
    with reading() as session:
        return [Known(row[0], str(row[1]), *row[2:]) for row in session.execute(statement)]


def settings(run: TaskRun) -> WorkspaceSettings:
    """The workspace's settings as they stand."""
    with reading() as session:
        return snapshot.load(session, run.connection.workspace_id)


def is_taken(run: TaskRun, current: WorkspaceSettings, person: Known) -> bool:
    """Whether this connection takes the person's activities: nobody else's people are ever created in its account."""
    return routing.route(current, None, person.home_store_id).connection_id == run.connection.id
