"""What a person sets of a connection: its store, its sync behavior, its list. Saved over a version; undone likewise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.words import SyncBehavior
from webapp.database import run_writing
from webapp.forms.connections import Edit
from webapp.forms.invalid import Invalid
from webapp.models import Connection, Store
from webapp.services import audit
from webapp.services.connections import lifecycle, lists
from webapp.services.connections.lifecycle import Refusal, Stale
from webapp.services.people import consent_holds
from webapp.services.workspaces import tenancy

TAKEN = "This store has another Klaviyo account already. Choose another store."
TAKEN_SINCE = "The store it had belongs to another Klaviyo account now, so this cannot be undone."
STORE_NEEDED = "It had no store before, and beside another account it needs one, so this cannot be undone."


@dataclass(frozen=True, slots=True)
class Settings:
    """What is saved together."""

    store_id: int | None
    behavior: SyncBehavior
    list_id: str | None
    list_name: str | None
    list_opt_in: str | None

    def stored(self) -> dict[str, Any]:
        """As kept for undo."""
        return {name: getattr(self, name) for name in self.__slots__}


def save(workspace_id: int, connection_id: int, actor_id: int, edit: Edit) -> None:
    """Save what a person chose. Raises Stale, Invalid (by field), Refusal, LookupError."""
    if edit.list_id is not None and not edit.keeps_list:
        lists.make_known(workspace_id, connection_id, edit.list_id, actor_id)

    def work(session: Session) -> None:
        connection = _editable(session, workspace_id, connection_id, edit.version)
        _check_store(session, connection, edit.store_id)
        _put(session, connection, _wanted(session, connection, edit), actor_id, "connection.edited")

    try:
        run_writing(work)
    except IntegrityError:
        # Two rows were given one store at the same instant; the database's index decided.
        raise Invalid({"store": TAKEN}) from None


def undo(workspace_id: int, connection_id: int, actor_id: int, version: int) -> None:
    """Put back what the last save replaced; itself a save, which can be undone. Raises Stale, Refusal, LookupError."""

    def work(session: Session) -> None:
        connection = _editable(session, workspace_id, connection_id, version)
        stored = connection.previous_settings
        if not stored:
            raise Refusal("There is nothing to undo.")
        _check_store_before(session, connection, stored["store_id"])
        _check_list(session, connection, stored)
        values = {**stored, "behavior": SyncBehavior(stored["behavior"])}
        back = Settings(**{name: values[name] for name in Settings.__slots__})
        _put(session, connection, back, actor_id, "connection.undone")

    try:
        run_writing(work)
    except IntegrityError:
        raise Refusal(TAKEN_SINCE) from None


def _check_store_before(session: Session, connection: Connection, store_id: int | None) -> None:
    try:
        _check_store(session, connection, store_id, may_lose_it=True)
    except Invalid:
        raise Refusal(STORE_NEEDED if store_id is None else TAKEN_SINCE) from None


def _editable(session: Session, workspace_id: int, connection_id: int, version: int) -> Connection:
    connection = lifecycle.own(session, workspace_id, connection_id)
    if not connection.is_live:
        raise Refusal(lifecycle.ENDED)
    if connection.row_version != version:
        raise Stale
    return connection


def _check_store(session: Session, connection: Connection, store_id: int | None, *, may_lose_it: bool = False) -> None:
    others = [other for other in lifecycle.live(session, connection.workspace_id) if other.id != connection.id]
    if store_id is None:
        if others or (connection.store_id is not None and not may_lose_it):
            raise Invalid({"store": "Choose the store this Klaviyo account belongs to."})
        return
    store = session.get(Store, store_id)
    if store is None or store.workspace_id != connection.workspace_id:
        raise Invalid({"store": "Choose one of this workspace's stores."})
    if any(other.store_id == store_id for other in others):
        raise Invalid({"store": TAKEN})


def _check_list(session: Session, connection: Connection, stored: dict[str, Any]) -> None:
    """Whether an undo may go back to its list: never to one that was found missing, or that a later reading lacks."""
    list_id = stored["list_id"]
    if list_id is None or list_id == connection.list_id or lists.find(session, connection, list_id) is not None:
        return
    if stored.get("list_missing") or lists.were_read(session, connection):
        raise Refusal("The list it had is gone in Klaviyo, so this cannot be undone. Press Edit and choose again.")


def _wanted(session: Session, connection: Connection, edit: Edit) -> Settings:
    same = edit.keeps_list or edit.list_id == connection.list_id
    if same:
        chosen = (connection.list_id, connection.list_name, connection.list_opt_in)
    elif edit.list_id is None:
        chosen = (None, None, None)
    else:
        found = lists.find(session, connection, edit.list_id)
        if found is None:
            raise Invalid({"list": lists.why_unknown(connection)})
        chosen = (found.id, found.name, found.opt_in)
    return Settings(edit.store_id, edit.behavior, *chosen)


def _put(session: Session, connection: Connection, wanted: Settings, actor_id: int, action: str) -> None:
    before = current(connection)
    if wanted == before:
        return
    connection.row_version += 1
    was_missing = connection.list_missing_at is not None
    extras = {"list_missing": was_missing, "at": clock.now().isoformat()}
    connection.previous_settings = {**before.stored(), **extras}
    connection.store_id, connection.sync_behavior = wanted.store_id, wanted.behavior
    if wanted.list_id != before.list_id:
        if before.list_id is not None and was_missing:
            lists.forget(session, connection, before.list_id)
        connection.list_missing_at = None
    connection.list_id, connection.list_name, connection.list_opt_in = (
        wanted.list_id,
        wanted.list_name,
        wanted.list_opt_in,
    )
    session.flush()
    if wanted.behavior is SyncBehavior.CREATE_PROFILE and before.behavior is not wanted.behavior:
        consent_holds.release(session, connection.id)  # people are created from here on
    tenancy.changed(session, connection.workspace_id)
    audit.record(
        session,
        workspace_id=connection.workspace_id,
        actor_id=actor_id,
        action=action,
        subject=("connection", connection.id),
        before=before.stored(),
        after=wanted.stored(),
    )


def current(connection: Connection) -> Settings:
    """The settings as they stand."""
    return Settings(
        connection.store_id,
        connection.sync_behavior,
        connection.list_id,
        connection.list_name,
        connection.list_opt_in,
    )
