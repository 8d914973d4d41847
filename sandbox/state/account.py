"""One Klaviyo account in memory: its profiles, lists, metrics, events and jobs, with the indexes to find them."""

from __future__ import annotations

import time
from typing import Any

from sandbox.state.changes import Changes
from sandbox.state.events import Details, EventLog
from sandbox.state.records import (
    AccountRecord,
    ImportJob,
    MailingList,
    Metric,
    Profile,
    Waiting,
    long_id,
    short_id,
)

IDENTIFIERS = ("email", "phone_number", "external_id", "anonymous_id")


def normalized(email: str) -> str:
    """How an address is stored and compared."""
    return email.strip().lower()


class Account:
    """Everything of one account. What changes is noted for the state file."""

    def __init__(self, record: AccountRecord, changes: Changes) -> None:
        self.record = record
        self.profiles: dict[str, Profile] = {}
        self.lists: dict[str, MailingList] = {}
        self.metrics: dict[str, Metric] = {}
        self.jobs: dict[str, ImportJob] = {}
        self.events = EventLog()
        # Addresses with the time of their last subscribe job, and with the double opt-in they have been asked for.
        self.asked: dict[str, float] = {}
        self.pending: dict[str, Waiting] = {}
        self.subscribed = 0
        self.profile_ids: list[str] = []
        self.metric_ids: list[str] = []
        self._changes = changes
        self._index: dict[str, dict[str, str]] = {name: {} for name in IDENTIFIERS}
        self.by_email = self._index["email"]
        self._metrics_by_name: dict[str, Metric] = {}

    @property
    def id(self) -> str:
        """The account's id."""
        return self.record.id

    def touch(self, kind: str, key: str = "") -> None:
        """Note that a record is to be saved."""
        self._changes.note(kind, self.record.id, key)

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

    def with_identifier(self, name: str, value: str) -> Profile | None:
        """The profile that has an identifier."""
        profile_id = self._index[name].get(normalized(value) if name == "email" else value)
        return None if profile_id is None else self.profiles[profile_id]

    def with_email(self, email: str) -> Profile | None:
        """The profile of an address."""
        return self.with_identifier("email", email)

    def create_profile(self, profile_id: str | None = None, **identifiers: str | None) -> Profile:
        """A new profile with these identifiers, which must be free."""
        now = time.time()
        profile = Profile(id=profile_id or long_id(), number=len(self.profile_ids), created=now, updated=now)
        self.profile_ids.append(profile.id)
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

    def set_state(self, profile: Profile, state: str) -> None:
        """Set the state of a person's consent."""
        self.subscribed += (state == "SUBSCRIBED") - (profile.consent.state == "SUBSCRIBED")
        profile.consent.state = state
        self.touch("profile", profile.id)

    def delete_profile(self, profile: Profile) -> None:
        """Remove a person; the events stay, but nobody's address is on them any more."""
        self.set_state(profile, "NEVER_SUBSCRIBED")
        for name in IDENTIFIERS:
            self._index[name].pop(getattr(profile, name) or "", None)
        for mailing_list in self.lists.values():
            self.leave(mailing_list, profile.id)
        del self.profiles[profile.id]
        self.record.deleted[profile.number] = profile.id
        self.touch("account")

    # lists

    def create_list(self, name: str, opt_in: str | None = None) -> MailingList:
        """A new, empty list; without an opt-in process it has the account's."""
        now = time.time()
        mailing_list = MailingList(short_id(), name, opt_in or self.record.opt_in, now, now)
        self.lists[mailing_list.id] = mailing_list
        self.touch("list", mailing_list.id)
        return mailing_list

    def delete_list(self, list_id: str) -> bool:
        """Remove a list; whether it was there."""
        mailing_list = self.lists.get(list_id)
        if mailing_list is None:
            return False
        for profile_id in list(mailing_list.members):
            self.leave(mailing_list, profile_id)
        del self.lists[list_id]
        self.touch("list", list_id)
        return True

    def join(self, mailing_list: MailingList, profile_id: str) -> None:
        """Add a member; a second time changes nothing."""
        if profile_id not in mailing_list.members:
            mailing_list.members[profile_id] = time.time()
            self.touch("member", f"{mailing_list.id} {profile_id}")

    def leave(self, mailing_list: MailingList, profile_id: str) -> None:
        """Remove a member, if it is one."""
        if mailing_list.members.pop(profile_id, None) is not None:
            self.touch("member", f"{mailing_list.id} {profile_id}")

    # events

    def metric(self, name: str) -> Metric:
        """A metric by name, which is made when it is new."""
        found = self._metrics_by_name.get(name)
        if found is None:
            now = time.time()
            found = Metric(short_id(), name, now, now, len(self.metric_ids))
            self.add_metric(found)
            self.touch("metric", found.id)
        return found

    def known_metric(self, name: str) -> Metric | None:
        """A metric that exists."""
        return self._metrics_by_name.get(name)

    def add_metric(self, metric: Metric) -> None:
        """Put a metric into the indexes."""
        self.metrics[metric.id] = metric
        self._metrics_by_name[metric.name] = metric
        _put_at(self.metric_ids, metric.number, metric.id)

    def record_event(self, profile: Profile, metric: str, at: int, details: Details) -> bool:
        """Record an event unless one with its (profile, metric, unique id) was."""
        if not self.events.add(profile.number, self.metric(metric).number, at, details):
            return False
        self._changes.note_events(self.record.id)
        return True

    def last_event(self, profile: Profile) -> int | None:
        """The time of a person's latest event."""
        times = self.events.times
        return max((times[number] for number in self.events.of_person(profile.number)), default=None)

    # the state file

    def add_profile(self, profile: Profile) -> None:
        """Put a profile of the state file back."""
        self.profiles[profile.id] = profile
        _put_at(self.profile_ids, profile.number, profile.id)
        self.subscribed += profile.consent.state == "SUBSCRIBED"
        for name in IDENTIFIERS:
            value = getattr(profile, name)
            if value:
                self._index[name][value] = profile.id

    def restore_deleted(self) -> None:
        """Put the ids of deleted people back."""
        for number, profile_id in self.record.deleted.items():
            _put_at(self.profile_ids, number, profile_id)


def _put_at(ids: list[str], number: int, identifier: str) -> None:
    ids.extend([""] * (number + 1 - len(ids)))
    ids[number] = identifier
