"""What is to be done about each person whose fields are due. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson

from jobs import settle
from jobs.choose import Item
from jobs.lookup import Link
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import Origin, SyncBehavior
from webapp.klaviyo import payloads
from webapp.klaviyo.payloads import ProfileWrite
from webapp.services.people import records
from webapp.services.workspaces.snapshot import WorkspaceSettings

JOB_LOOK = timedelta(minutes=10)
PROFILE_BYTES = 200


class Step(StrEnum):
    """`settle` needs no call; `list` only the list step; `update` goes by id; `create` by address."""

    SETTLE = "settle"
    LIST = "list"
    UPDATE = "update"
    CREATE = "create"


@dataclass(frozen=True, slots=True)
class Group:
    """One person's due deliveries, and what is to be done about them all at once."""

    person_id: int
    items: tuple[Item, ...]
    link: Link | None
    step: Step
    result: Result | None = None
    write: ProfileWrite | None = None
    version: int = 0

    @property
    def member(self) -> list[Any]:
        """How a batch remembers this person: with the profile that is written to, where it goes by its id."""
        return [self.person_id, self.version, [item.id for item in self.items], self.write.id if self.write else None]

    def results(self, result: Result) -> dict[int, Result]:
        """`result` for each of the deliveries."""
        return {item.id: result for item in self.items}


def by_person(items: Iterable[Item]) -> dict[int, list[Item]]:
    """Deliveries of each person, in their order."""
    found: dict[int, list[Item]] = {}
    for item in items:
        found.setdefault(item.person_id, []).append(item)
    return found


def ended(items: Iterable[Item], now: datetime) -> dict[int, Result]:
    """Erased people and expired deliveries need nothing at all."""
    results: dict[int, Result] = {}
    for item in items:
        if item.email is None:
            results[item.id] = settle.skipped(Reason.ERASED)
        elif item.expires_at <= now:
            results[item.id] = settle.failed(Reason.EXPIRED)
    return results


def without_look_up(
    grouped: Mapping[int, Sequence[Item]],
    links: Mapping[int, Link],
    settings: WorkspaceSettings,
    behavior: SyncBehavior,
    now: datetime,
) -> dict[int, Result]:
    """Deliveries of people about whom there is nothing to write now, whoever is in Klaviyo."""
    results: dict[int, Result] = {}
    for person_id, items in grouped.items():
        link, fields = links.get(person_id), items[-1].fields
        if link is not None and link.job_batch_id is not None:
            results |= {item.id: settle.waiting(Reason.KLAVIYO_PROCESSING, now + JOB_LOOK) for item in items}
            continue
        if link is not None and link.list_due:
            continue
        if any(item.origin is Origin.BACKFILL for item in items):
            continue
        shared = records.shared_changes(fields, 0, settings.fields, settings.fields_on)
        all_off = behavior is SyncBehavior.UPDATE_EXISTING and not settings.fields_on
        if not shared and (all_off or (link is not None and link.found)):
            results |= {item.id: settle.skipped(_nothing(fields, settings)) for item in items}
        elif link is not None and link.found and link.fields_version >= items[-1].fields_version:
            for item in items:
                reason = Reason.FIELDS_OFF if _carries_only_off(item, fields, settings) else Reason.UNCHANGED
                results[item.id] = settle.skipped(reason)
    return results


def _nothing(fields: Mapping[str, Any], settings: WorkspaceSettings) -> Reason:
    """Why nothing of these fields is written: they are off, or there are none."""
    return Reason.FIELDS_OFF if fields or not settings.fields_on else Reason.UNCHANGED


def _carries_only_off(item: Item, fields: Mapping[str, Any], settings: WorkspaceSettings) -> bool:
    """Whether what came with this activity is off, all of it: Klaviyo has no newest value of that.

    Told by the moment, which stands beside each value. What newer news took the place of does not count.
    """
    at = clock.iso(item.occurred_at)
    carried = {key for key, entry in fields.items() if entry["at"] == at}
    return bool(carried) and not carried & settings.fields_on


def plan(
    grouped: Mapping[int, Sequence[Item]],
    links: Mapping[int, Link],
    settings: WorkspaceSettings,
    behavior: SyncBehavior,
    now: datetime,
) -> list[Group]:
    """One Group a person, in the order given."""
    return [
        _group(person_id, tuple(items), links.get(person_id), settings, behavior, now)
        for person_id, items in grouped.items()
    ]


def _group(
    person_id: int,
    items: tuple[Item, ...],
    link: Link | None,
    settings: WorkspaceSettings,
    behavior: SyncBehavior,
    now: datetime,
) -> Group:
    newest = items[-1]
    if link is not None and link.job_batch_id is not None:
        return Group(person_id, items, link, Step.SETTLE, settle.waiting(Reason.KLAVIYO_PROCESSING, now + JOB_LOOK))
    everything = records.shared_changes(newest.fields, 0, settings.fields, settings.fields_on)
    if link is not None and link.found:
        # A sync writes everything shared: a field turned on since the last write is no change of the person's.
        since = 0 if any(item.origin is Origin.BACKFILL for item in items) else link.fields_version
        changes = records.shared_changes(newest.fields, since, settings.fields, settings.fields_on)
        if changes:
            write = ProfileWrite(link.klaviyo_id, newest.email, changes)
            return Group(person_id, items, link, Step.UPDATE, write=write, version=newest.fields_version)
        if link.list_due:
            return Group(person_id, items, link, Step.LIST)
        reason = Reason.UNCHANGED if everything else _nothing(newest.fields, settings)
        if all(_carries_only_off(item, newest.fields, settings) for item in items):
            reason = Reason.FIELDS_OFF
        return Group(person_id, items, link, Step.SETTLE, settle.skipped(reason))
    creates = behavior is SyncBehavior.CREATE_PROFILE and any(_may_create(item) for item in items)
    if not creates:
        return Group(person_id, items, link, Step.SETTLE, settle.skipped(Reason.NOT_IN_KLAVIYO))
    write = ProfileWrite(None, newest.email, everything, newest.first_name, newest.last_name)
    return Group(person_id, items, link, Step.CREATE, write=write, version=newest.fields_version)


def _may_create(item: Item) -> bool:
    """A test event never creates anybody, nor does a change that went to the routed connection too."""
    return item.origin is not Origin.TEST and not item.only_existing


def fitting(groups: Sequence[Group]) -> list[Group]:
    """The first ones that fit one import job: 10,000 people and 5 MB, with room to spare."""
    size = 0
    found: list[Group] = []
    for group in groups[: payloads.IMPORT_PROFILES]:
        size += PROFILE_BYTES + (len(orjson.dumps(group.write.attributes())) if group.write else 0)
        if found and size > payloads.BODY_BYTES:
            break
        found.append(group)
    return found
