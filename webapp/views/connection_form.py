"""The form of a connection, in its row and on its page: what is chosen, what is wrong, what somebody else chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from webapp.catalogue.words import SyncBehavior
from webapp.klaviyo.parse import FoundList
from webapp.models import Connection
from webapp.services.connections import lists, price
from webapp.services.connections import settings as connection_settings
from webapp.services.connections.settings import Settings
from webapp.services.workspaces import stores


@dataclass(frozen=True, slots=True)
class Typed:
    """What a form's controls stood on, as far as it makes sense; a list of None: the form had none."""

    store_id: int | None
    behavior: str
    list_id: str | None


def typed(form: Mapping[str, str]) -> Typed:
    """What a person chose, however wrong."""
    store = form.get("store", "")
    store_id = int(store) if store.isascii() and store.isdigit() and len(store) < 10 else None
    return Typed(store_id, form.get("sync_behavior", ""), form.get("list"))


@dataclass(frozen=True, slots=True)
class Form:
    """`theirs`: the settings somebody else saved meanwhile, where they did.

    `stores`: what each is chosen by, by its id. `choices`: the lists to choose from.
    """

    connection: Connection
    stores: dict[int, str]
    picker: lists.Picker
    choices: list[FoundList]
    chosen: Typed
    price: price.Price | None = None
    problems: dict[str, str] = field(default_factory=dict)
    theirs: Settings | None = None

    @classmethod
    def of(
        cls,
        connection: Connection,
        chosen: Typed | None = None,
        *,
        problems: dict[str, str] | None = None,
        is_stale: bool = False,
    ) -> Form:
        """The form of a connection: with what was chosen in it, or as the connection stands."""
        now = connection_settings.current(connection)
        chosen = chosen or Typed(now.store_id, now.behavior, now.list_id or "")
        if chosen.behavior not in set(SyncBehavior):
            chosen = Typed(chosen.store_id, now.behavior, chosen.list_id)
        if chosen.list_id is None:
            chosen = Typed(chosen.store_id, chosen.behavior, now.list_id or "")
        picker = lists.picker(connection)
        return cls(
            connection=connection,
            stores=stores.choices(connection.workspace_id),
            picker=picker,
            choices=_choices(connection, picker, chosen),
            chosen=chosen,
            price=price.latest(connection, chosen.store_id) if may_begin(connection) else None,
            problems=problems or {},
            theirs=now if is_stale else None,
        )

    @property
    def adds_people(self) -> bool:
        """Whether saving would begin to create people."""
        return self.chosen.behavior == SyncBehavior.CREATE_PROFILE and may_begin(self.connection)


def may_begin(connection: Connection) -> bool:
    """Whether a save could begin to create people, so that its price is worth knowing."""
    return connection.sync_behavior is not SyncBehavior.CREATE_PROFILE


def _choices(connection: Connection, picker: lists.Picker, chosen: Typed) -> list[FoundList]:
    """The remembered lists, and the present choice where it is not among them: it is never lost by looking.

    Klaviyo lets two lists have one name: those are told apart by their ids.
    """
    found = list(picker.lists)
    for list_id in {connection.list_id, chosen.list_id or None} - {None} - {row.id for row in found}:
        is_present = list_id == connection.list_id
        name = (connection.list_name if is_present else None) or str(list_id)
        found.insert(0, FoundList(str(list_id), name, (connection.list_opt_in if is_present else None) or ""))
    times = Counter(row.name for row in found)
    return [replace(row, name=f"{row.name} ({row.id})") if times[row.name] > 1 else row for row in found]
