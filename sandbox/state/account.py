"""One Klaviyo account in memory: its profiles, lists, metrics, events and jobs, with the indexes to find them."""

from __future__ import annotations

import itertools
import time
from typing import Any

import msgspec

from sandbox.state.records import (
    AccountRecord,
    Event,
    ImportJob,
    MailingList,
    Metric,
    Profile,
    long_id,
    short_id,
)

IDENTIFIERS = ("email", "phone_number", "external_id", "anonymous_id")


def normalized(email: str) -> str:
    """How an address is stored and compared."""
    return email.strip().lower()


class Account:
    """Everything of one account. Changed records are noted in `changed` as (kind, id) for the state file."""

    def __init__(self, record: AccountRecord) -> None:
        self.record = record
        self.profiles: dict[str, Profile] = {}
        self.lists: dict[str, MailingList] = {}
        self.metrics: dict[str, Metric] = {}
        self.jobs: dict[str, ImportJob] = {}
        self.events: list[Event] = []
        self.events_of: dict[str, list[Event]] = {}
        self.seen: set[tuple[str, str, str]] = set()
        self.unsaved_events: list[Event] = []
        self.changed: set[tuple[str, str]] = set()
        self._index: dict[str, dict[str, str]] = {name: {} for name in IDENTIFIERS}
        self.by_email = self._index["email"]
        self._metric_ids: dict[str, str] = {}
        self._event_numbers = itertools.count(1)

    @property
    def id(self) -> str:
        """The account's id."""
        return self.record.id

    def touch(self, kind: str, identifier: str = "") -> None:
        """Note that a record is to be saved."""
        self.changed.add((kind, identifier))

    # profiles

    def find(self, identifiers: dict[str, Any]) -> list[Profile]:
        """The profiles that have one of these identifiers, each once."""
        found: dict[str, Profile] = {}
        for name in IDENTIFIERS:
            value = identifiers.get(name)
            if value:
                profile_id = self._index[name].get(normalized(value) if name == "email" else value)
                if profile_id is not None:
                    found[profile_id] = self.profiles[profile_id]
        return list(found.values())

    def with_email(self, email: str) -> Profile | None:
        """The profile of an address."""
        profile_id = self.by_email.get(normalized(email))
        return None if profile_id is None else self.profiles[profile_id]

    def create_profile(self, profile_id: str | None = None, **identifiers: str | None) -> Profile:
        """A new profile with these identifiers, which must be free."""
        now = time.time()
        profile = Profile(id=profile_id or long_id(), created=now, updated=now)
        self.profiles[profile.id] = profile
        self.set_identifiers(profile, identifiers)
        self.touch("profile", profile.id)
        return profile

    def set_identifiers(self, profile: Profile, identifiers: dict[str, Any]) -> bool:
        """Give a profile identifiers (None takes one away); whether anything changed."""
        changed = False
        for name in IDENTIFIERS:
            if name not in identifiers:
                continue
            value = identifiers[name]
            value = normalized(value) if name == "email" and value else value or None
            if value == getattr(profile, name):
                continue
            self._index[name].pop(getattr(profile, name) or "", None)
            setattr(profile, name, value)
            if value:
                self._index[name][value] = profile.id
            changed = True
        return changed

    def add_profile(self, profile: Profile) -> None:
        """Put a profile of the state file back."""
        self.profiles[profile.id] = profile
        for name in IDENTIFIERS:
            value = getattr(profile, name)
            if value:
                self._index[name][value] = profile.id

    def delete_profile(self, profile: Profile) -> None:
        """Remove a person; the events stay, as they would not be found any more."""
        for name in IDENTIFIERS:
            self._index[name].pop(getattr(profile, name) or "", None)
        del self.profiles[profile.id]
        for mailing_list in self.lists.values():
            if mailing_list.members.pop(profile.id, None) is not None:
                self.touch("list", mailing_list.id)
        self.touch("profile", profile.id)

    # lists

    def create_list(self, name: str, opt_in: str | None = None) -> MailingList:
        """A new, empty list; without an opt-in process it has the account's."""
        now = time.time()
        mailing_list = MailingList(short_id(), name, opt_in or self.record.opt_in, now, now)
        self.lists[mailing_list.id] = mailing_list
        self.touch("list", mailing_list.id)
        return mailing_list

    def join(self, mailing_list: MailingList, profile_id: str) -> None:
        """Add a member; a second time changes nothing."""
        if profile_id not in mailing_list.members:
            mailing_list.members[profile_id] = time.time()
            self.touch("list", mailing_list.id)

    def leave(self, mailing_list: MailingList, profile_id: str) -> None:
        """Remove a member, if it is one."""
        if mailing_list.members.pop(profile_id, None) is not None:
            self.touch("list", mailing_list.id)

    # events

    def metric_id(self, name: str) -> str:
        """The id of a metric, which is made when it is new."""
        found = self._metric_ids.get(name)
        if found is None:
            now = time.time()
            metric = Metric(short_id(), name, now, now)
            self.add_metric(metric)
            self.touch("metric", metric.id)
            return metric.id
        return found

    def known_metric_id(self, name: str) -> str | None:
        """The id of a metric that exists."""
        return self._metric_ids.get(name)

    def add_metric(self, metric: Metric) -> None:
        """Put a metric into the indexes."""
        self.metrics[metric.id] = metric
        self._metric_ids[metric.name] = metric.id

    def record_event(
        self,
        profile: Profile,
        metric_id: str,
        unique_id: str | None,
        at: int,
        received: float,
        properties: bytes,
        value: float | None,
        currency: str | None,
        backfill: bool,
    ) -> bool:
        """Record an event unless one with its (profile, metric, unique id) was. Without an id its second is it."""
        unique_id = unique_id or str(at)
        key = (profile.id, metric_id, unique_id)
        if key in self.seen:
            return False
        number = next(self._event_numbers)
        event = Event(
            f"4{self.id[:2]}{number:08d}",
            profile.id,
            metric_id,
            unique_id,
            at,
            received,
            properties,
            value,
            currency,
            backfill,
        )
        self._keep(event, key)
        profile.last_event = max(profile.last_event, at)
        self.unsaved_events.append(event)
        return True

    def add_event(self, event: Event) -> None:
        """Put an event of the state file back."""
        self._keep(event, (event.profile_id, event.metric_id, event.unique_id))
        next(self._event_numbers)
        profile = self.profiles.get(event.profile_id)
        if profile is not None:
            profile.last_event = max(profile.last_event, event.time)

    def _keep(self, event: Event, key: tuple[str, str, str]) -> None:
        self.seen.add(key)
        self.events.append(event)
        of_profile = self.events_of.get(event.profile_id)
        if of_profile is None:
            self.events_of[event.profile_id] = [event]
        else:
            of_profile.append(event)

    # the state file

    def saved(self, kind: str, identifier: str) -> bytes | None:
        """A record as bytes; None when it is gone."""
        if kind == "account":
            return msgspec.msgpack.encode(self.record)
        kept: Any = {
            "profile": self.profiles,
            "list": self.lists,
            "metric": self.metrics,
            "job": self.jobs,
        }[kind]
        found = kept.get(identifier)
        return None if found is None else msgspec.msgpack.encode(found)
