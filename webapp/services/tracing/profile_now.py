"""What Klaviyo has of a person now, asked for by a page, read by a worker, compared with what we hold.

An answer is kept for a quarter of an hour and goes with an erasure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.database import affected, reading, run_writing
from webapp.extensions import db
from webapp.klaviyo.readback import same
from webapp.models import Connection, Task, TaskState
from webapp.services import tasks
from webapp.services.people import consents
from webapp.services.tasks import UNFINISHED
from webapp.services.tracing.trace import Known

KIND = "profile_now"
KEPT = timedelta(minutes=15)
LOOKED = 50
CONSENTS = {"subscribed": "SUBSCRIBED", "unsubscribed": "UNSUBSCRIBED"}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing side by side. `differs` is None where we do not write it, so that it may differ; `because` of that."""

    what: str
    ours: Any
    theirs: Any
    differs: bool | None
    because: str = "not ours"


@dataclass(frozen=True, slots=True)
class Now:
    """What one connection's account has. `lines` empty: not found, not read yet, or the reading failed."""

    connection: Connection
    task: Task
    lines: list[Line]

    @property
    def is_reading(self) -> bool:
        """Whether the answer is still to come."""
        return self.task.state in UNFINISHED

    @property
    def found(self) -> bool:
        """Whether the person is in the account."""
        return bool(self.task.result.get("found"))


def ask(workspace_id: int, person_id: int, connection_ids: list[int], actor_id: int) -> None:
    """Let workers read the person in these accounts."""

    def work(session: Session) -> None:
        for connection_id in sorted(connection_ids):
            tasks.ask(
                session,
                workspace_id,
                connection_id,
                KIND,
                arguments={"person": person_id},
                name="What Klaviyo has now",
                actor_id=actor_id,
            )

    run_writing(work)


def latest(known: Known) -> list[Now]:
    """The newest answer of each live connection, where there is one of the last quarter of an hour."""
    found = []
    for connection in known.live:
        statement = select(Task).where(Task.connection_id == connection.id, Task.kind == KIND)
        recent = db.session.scalars(statement.order_by(Task.id.desc()).limit(LOOKED))
        for task in recent:
            if task.arguments["person"] == known.person.id and task.created_at > clock.now() - KEPT:
                lines = _lines(known, task)
                found.append(Now(connection, task, lines))
                break
    return found


def _lines(known: Known, task: Task) -> list[Line]:
    if task.state is not TaskState.DONE or not task.result.get("found"):
        return []
    said = consents.newest_at(known.person.consents, task.connection_id)
    return compare(known, task.result, said["state"] if said else None)


def compare(known: Known, result: Mapping[str, Any], consent: str | None) -> list[Line]:
    """Our fields, and the newest consent that this account was told of, beside Klaviyo's; differences marked."""
    theirs: Mapping[str, Any] = result["properties"]
    lines = [
        Line(
            entry.property,
            entry.value,
            theirs.get(entry.property),
            None if not entry.shared else not same(entry.value, theirs.get(entry.property)),
            because="not shared",
        )
        for entry in known.fields
    ]
    ours = {entry.property for entry in known.fields}
    lines += [Line(name, None, value, None) for name, value in sorted(theirs.items()) if name not in ours]
    held = result.get("consent")
    differs = None if consent is None else CONSENTS.get(consent) != held
    lines.append(Line("E-mail marketing", consent, (held or "").replace("_", " ").lower() or None, differs))
    for name, mine in (("First name", known.person.first_name), ("Last name", known.person.last_name)):
        lines.append(Line(name, mine, result.get(name.lower().replace(" ", "_")), None))
    return lines


def forget(session: Session, workspace_id: int, person_id: int) -> None:
    """Delete the answers about a person, and whatever is still being asked about them."""
    statement = select(Task).where(Task.workspace_id == workspace_id, Task.kind == KIND)
    for task in session.scalars(statement):
        if task.arguments["person"] == person_id:
            session.delete(task)


def forget_old() -> int:
    """Delete every answer older than they are kept; how many. Looked at first: an idle system writes nothing."""
    old = (Task.kind == KIND, Task.created_at < clock.now() - KEPT, Task.state.not_in(UNFINISHED))
    with reading() as session:
        if session.scalar(select(exists().where(*old))) is not True:
            return 0
    return run_writing(lambda session: affected(session, delete(Task).where(*old)))
