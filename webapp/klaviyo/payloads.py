"""The calls themselves: Klaviyo's exact JSON:API bodies from small values. Pure.

An event's profile carries `meta` beside its `attributes`, in the single call and in the bulk one. Quirk: up to revision
2026-07-15 the single call had it inside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from webapp.klaviyo import endpoints
from webapp.klaviyo.client import Call

LOOKUP_ADDRESSES = 100
LOOKUP_URL_BYTES = 6_000
BULK_EVENTS = 1_000
BODY_BYTES = 5_000_000
IMPORT_PROFILES = 10_000
LIST_IDS = 1_000
SUBSCRIBED_AT_ONCE = 1_000
UNSUBSCRIBED_AT_ONCE = 100
LIST_PAGE = 10


_EVENT_ENTRY = (
    b'{"type":"event-bulk-create","attributes":{"profile":{"data":%b},'
    b'"events":{"data":[{"type":"event","attributes":%b}]}}}'
)


@dataclass(slots=True)
class ProfileWrite:
    """A profile by `id` where we have one, else by `email`. In `properties` a None clears the property."""

    id: str | None
    email: str | None
    properties: dict[str, Any] = field(default_factory=dict)
    first_name: str | None = None
    last_name: str | None = None

    def attributes(self) -> dict[str, Any]:
        """The attributes as PATCH and profile-import take them: null clears."""
        found: dict[str, Any] = {} if self.id else {"email": self.email}
        if self.first_name:
            found["first_name"] = self.first_name
        if self.last_name:
            found["last_name"] = self.last_name
        if self.properties:
            found["properties"] = self.properties
        return found

    def set_and_unset(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The attributes without nulls, and the `meta` that unsets those (events and import jobs ignore null)."""
        attributes = self.attributes()
        if None not in self.properties.values():
            return attributes, {}
        cleared = sorted(key for key, value in self.properties.items() if value is None)
        if cleared:
            attributes["properties"] = {k: v for k, v in self.properties.items() if v is not None}
        return attributes, ({"patch_properties": {"unset": cleared}} if cleared else {})


class EventWrite(NamedTuple):
    """One event. `properties` is JSON text, passed on as it is."""

    metric: str
    unique_id: str
    time: datetime
    properties: str
    profile: ProfileWrite
    backfill: bool = False


def event(write: EventWrite) -> Call:
    """POST /api/events: one event, idempotent by (profile, metric, unique_id)."""
    body = {"type": "event", "attributes": {**_event(write), "profile": {"data": _profile(write)}}}
    return _post(endpoints.EVENT, body)


def events(entries: Sequence[bytes]) -> Call:
    """POST /api/event-bulk-create-jobs: up to 1,000 events, an `event_entry` each, in their order."""
    attributes_of_job = {"events-bulk-create": {"data": [orjson.Fragment(entry) for entry in entries]}}
    return _post(endpoints.EVENTS, {"type": "event-bulk-create-job", "attributes": attributes_of_job})


def event_entry(write: EventWrite) -> bytes:
    """One event of a bulk body, encoded.

    Its frame is put around the two parts here: what the encoder returns is a kilobyte cut down, and to keep a thousand
    of those costs as much as to encode them.
    """
    return _EVENT_ENTRY % (orjson.dumps(_profile(write)), orjson.dumps(_event(write)))


def _event(write: EventWrite) -> dict[str, Any]:
    found: dict[str, Any] = {
        "properties": orjson.Fragment(write.properties),
        "metric": {"data": {"type": "metric", "attributes": {"name": write.metric}}},
        "time": write.time,
        "unique_id": write.unique_id,
    }
    if write.backfill:
        found["backfill"] = True
    return found


def _profile(write: EventWrite) -> dict[str, Any]:
    attributes, meta = write.profile.set_and_unset()
    profile: dict[str, Any] = {"type": "profile", "attributes": attributes}
    if write.profile.id:
        profile["id"] = write.profile.id
    if meta:
        profile["meta"] = meta
    return profile


def patch_profile(write: ProfileWrite) -> Call:
    """PATCH /api/profiles/{id}: never creates; null clears."""
    body = {"type": "profile", "id": write.id, "attributes": write.attributes()}
    path = f"/api/profiles/{write.id}"
    return Call(endpoints.PROFILE_PATCH, path, body=orjson.dumps({"data": body}))


def import_profile(write: ProfileWrite) -> Call:
    """POST /api/profile-import: creates (201) or updates (200) by e-mail; null clears."""
    return _post(endpoints.PROFILE_IMPORT, {"type": "profile", "attributes": write.attributes()})


def import_job(writes: Sequence[ProfileWrite]) -> Call:
    """POST /api/profile-bulk-import-jobs: up to 10,000 profiles, done later, in any order; null is ignored here."""
    profiles = []
    for write in writes:
        attributes, meta = write.set_and_unset()
        profile: dict[str, Any] = {"type": "profile", "attributes": attributes}
        if write.id:
            profile["id"] = write.id
        if meta:
            profile["meta"] = meta
        profiles.append(profile)
    body = {"type": "profile-bulk-import-job", "attributes": {"profiles": {"data": profiles}}}
    return _post(endpoints.IMPORT_JOB, body)


def import_job_status(job_id: str) -> Call:
    """GET /api/profile-bulk-import-jobs/{job_id}: how far it is."""
    return Call(endpoints.IMPORT_JOB_STATUS, f"/api/profile-bulk-import-jobs/{quote(job_id, safe='')}")


def import_job_errors(job_id: str, cursor: str | None = None) -> Call:
    """GET .../import-errors: what failed of a complete job, a hundred a page."""
    query = {"page[size]": "100"} | ({"page[cursor]": cursor} if cursor else {})
    path = f"/api/profile-bulk-import-jobs/{quote(job_id, safe='')}/import-errors"
    return Call(endpoints.IMPORT_JOB_ERRORS, path, query=query)


def add_to_list(list_id: str, profile_ids: Iterable[str]) -> Call:
    """POST .../relationships/profiles: up to 1,000 ids. Not a consent."""
    body = {"data": [{"type": "profile", "id": profile_id} for profile_id in profile_ids]}
    path = f"/api/lists/{list_id}/relationships/profiles"
    return Call(endpoints.LIST_ADD, path, body=orjson.dumps(body))


def lookup(emails: Sequence[str], *, subscriptions: bool = False) -> Call:
    """GET /api/profiles for up to 100 addresses, with their marketing state where asked."""
    query = {"filter": f"any(email,{_quoted(emails)})", "page[size]": "100", "fields[profile]": "email,created"}
    if subscriptions:
        query["additional-fields[profile]"] = "subscriptions"
        query["fields[profile]"] = "email,created,subscriptions"
    return Call(endpoints.PROFILES, endpoints.PROFILES.path, query=query)


def list_members(list_id: str, emails: Sequence[str]) -> Call:
    """GET /api/lists/{id}/profiles: which of up to 100 addresses are on the list."""
    query = {"filter": f"any(email,{_quoted(emails)})", "page[size]": "100", "fields[profile]": "email"}
    return Call(endpoints.LIST_MEMBERS, f"/api/lists/{list_id}/profiles", query=query)


def _quoted(emails: Sequence[str]) -> str:
    return orjson.dumps(list(emails)).decode()


def lookup_groups(emails: Iterable[str]) -> list[list[str]]:
    """Addresses cut into groups that fit one look-up: at most 100, and about 6 KB of URL."""
    groups: list[list[str]] = []
    size = LOOKUP_URL_BYTES
    for email in emails:
        cost = len(quote(orjson.dumps(email), safe="")) + 3  # the comma is percent-encoded too
        if not groups or size + cost > LOOKUP_URL_BYTES or len(groups[-1]) == LOOKUP_ADDRESSES:
            groups.append([])
            size = 0
        groups[-1].append(email)
        size += cost
    return groups


def consent_source(workspace_id: int) -> str:
    """What Klaviyo keeps beside each consent that we write for a workspace; another one may use the account too."""
    return f"Cevoid (workspace {workspace_id})"


def subscribe(profiles: Sequence[ProfileWrite], list_id: str | None, source: str) -> Call:
    """Subscribe to e-mail marketing by the list's (or the account's) own opt-in process. Up to 1,000."""
    kind, said = "profile-subscription-bulk-create-job", {"custom_source": source}
    return _subscription(endpoints.SUBSCRIBE, kind, "SUBSCRIBED", profiles, list_id, **said)


def unsubscribe(profiles: Sequence[ProfileWrite], list_id: str | None) -> Call:
    """Unsubscribe up to 100. With a list: only people who are on it, others would be unsubscribed everywhere."""
    kind = "profile-subscription-bulk-delete-job"
    return _subscription(endpoints.UNSUBSCRIBE, kind, "UNSUBSCRIBED", profiles, list_id)


def _subscription(
    endpoint: endpoints.Endpoint,
    kind: str,
    consent: str,
    profiles: Sequence[ProfileWrite],
    list_id: str | None,
    **said: str,
) -> Call:
    marketing = {"email": {"marketing": {"consent": consent}}}
    data = []
    for profile in profiles:
        entry: dict[str, Any] = {
            "type": "profile",
            "attributes": {"email": profile.email, "subscriptions": marketing},
        }
        if profile.id and endpoint is endpoints.SUBSCRIBE:
            entry["id"] = profile.id
        data.append(entry)
    body: dict[str, Any] = {"type": kind, "attributes": {**said, "profiles": {"data": data}}}
    if list_id:
        body["relationships"] = {"list": {"data": {"type": "list", "id": list_id}}}
    return _post(endpoint, body)


def accounts() -> Call:
    """GET /api/accounts: whose grant this is."""
    return Call(endpoints.ACCOUNTS, endpoints.ACCOUNTS.path)


def lists(cursor: str | None = None) -> Call:
    """GET /api/lists: a page of ten."""
    query = {"fields[list]": "name,opt_in_process"} | ({"page[cursor]": cursor} if cursor else {})
    return Call(endpoints.LISTS, endpoints.LISTS.path, query=query)


def _post(endpoint: endpoints.Endpoint, data: dict[str, Any]) -> Call:
    return Call(endpoint, endpoint.path, body=orjson.dumps({"data": data}))
