"""What a person chose for a connection: the form of the row and of the page, to values or to sentences by field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from webapp.catalogue.words import SyncBehavior
from webapp.forms.invalid import Invalid

NUMBER = re.compile(r"[0-9]{1,9}\Z")
LIST_ID = re.compile(r"[A-Za-z0-9_-]{1,40}\Z")


@dataclass(frozen=True, slots=True)
class Edit:
    """The three settings, and the row version they were chosen over. `keeps_list`: the form said nothing of a list."""

    version: int
    store_id: int | None
    behavior: SyncBehavior
    list_id: str | None
    keeps_list: bool = False


def edit(form: Mapping[str, str]) -> Edit:
    """`version`, `store`, `sync_behavior` and `list`. Raises Invalid."""
    store, behavior, chosen = form.get("store", ""), form.get("sync_behavior", ""), form.get("list", "")
    problems = {}
    if store and not NUMBER.match(store):
        problems["store"] = "Choose one of this workspace's stores."
    if behavior not in set(SyncBehavior):
        problems["sync_behavior"] = "Choose one of the two behaviors."
    if chosen and not LIST_ID.match(chosen):
        problems["list"] = "Choose one of the lists offered."
    if not NUMBER.match(form.get("version", "")):
        problems["version"] = "This page was open too long. Reload it and try again."
    if problems:
        raise Invalid(problems)
    return Edit(
        version=int(form["version"]),
        store_id=int(store) if store else None,
        behavior=SyncBehavior(behavior),
        list_id=chosen or None,
        keeps_list="list" not in form,
    )
