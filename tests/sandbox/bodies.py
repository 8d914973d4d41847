"""JSON:API bodies as a client of Klaviyo writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Body = dict[str, Any]


def profile(attributes: Body, *, profile_id: str | None = None, meta: Body | None = None) -> Body:
    """A body with one profile."""
    data: Body = {"type": "profile", "attributes": attributes}
    if profile_id:
        data["id"] = profile_id
    if meta:
        data["meta"] = meta
    return {"data": data}


def members(*profile_ids: str) -> Body:
    """Profile ids for a list."""
    return {"data": [{"type": "profile", "id": each} for each in profile_ids]}


def import_job(profiles: Iterable[Body], *list_ids: str) -> Body:
    """A bulk import; each of `profiles` is a profile's attributes, or a whole item where it has a `type`."""
    items = [each if "type" in each else {"type": "profile", "attributes": each} for each in profiles]
    data: Body = {"type": "profile-bulk-import-job", "attributes": {"profiles": {"data": items}}}
    if list_ids:
        data["relationships"] = {"lists": {"data": [{"type": "list", "id": each} for each in list_ids]}}
    return {"data": data}


def event_attributes(metric: str = "Joined", **attributes: Any) -> Body:
    """What is said of one event."""
    named = {"data": {"type": "metric", "attributes": {"name": metric}}}
    return {"properties": {}, "metric": named, **attributes}


def event(who: Body, metric: str = "Joined", **attributes: Any) -> Body:
    """A single event about `who` (a profile's attributes, with `id` for its id)."""
    known = {key: value for key, value in who.items() if key != "id"}
    person: Body = {"type": "profile", "attributes": known}
    if "id" in who:
        person["id"] = who["id"]
    return {
        "data": {
            "type": "event",
            "attributes": {**event_attributes(metric, **attributes), "profile": {"data": person}},
        }
    }


def entry(who: Body, events: Iterable[Body], *, meta: Body | None = None, backfill: bool | None = None) -> Body:
    """One profile's events of a bulk call; each of `events` is an event's attributes."""
    person: Body = {"type": "profile", "attributes": {key: value for key, value in who.items() if key != "id"}}
    if "id" in who:
        person["id"] = who["id"]
    if meta is not None:
        person["meta"] = meta
    attributes: Body = {
        "profile": {"data": person},
        "events": {"data": [{"type": "event", "attributes": each} for each in events]},
    }
    if backfill is not None:
        attributes["backfill"] = backfill
    return {"type": "event-bulk-create", "attributes": attributes}


def events_job(*entries: Body) -> Body:
    """A bulk call of events."""
    return {
        "data": {
            "type": "event-bulk-create-job",
            "attributes": {"events-bulk-create": {"data": list(entries)}},
        }
    }


def subscription_job(
    people: Iterable[Body], *, list_id: str | None = None, consent: str = "SUBSCRIBED", **attributes: Any
) -> Body:
    """Subscribe (or, with `consent="UNSUBSCRIBED"`, unsubscribe) people, given as `email` and perhaps `at`, `id`."""
    verb = "create" if consent == "SUBSCRIBED" else "delete"
    items = []
    for person in people:
        marketing = {"consent": consent} | ({"consented_at": person["at"]} if "at" in person else {})
        said: Body = {"subscriptions": {"email": {"marketing": marketing}}}
        if "email" in person:
            said["email"] = person["email"]
        items.append({"type": "profile", "attributes": said} | ({"id": person["id"]} if "id" in person else {}))
    data: Body = {
        "type": f"profile-subscription-bulk-{verb}-job",
        "attributes": {"profiles": {"data": items}, **attributes},
    }
    if list_id:
        data["relationships"] = {"list": {"data": {"type": "list", "id": list_id}}}
    return {"data": data}
