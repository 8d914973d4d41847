"""The ingest API's activities: one call's items checked one by one, each bad one named with a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson
from email_validator import EmailNotValidError, validate_email

from webapp.catalogue.events import EVENTS
from webapp.catalogue.fields import Field
from webapp.catalogue.words import ActivityType
from webapp.forms.json_text import REPLACED

ID = re.compile(r"[\x20-\x7e]{1,200}\Z")
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
EMAIL_LENGTH = 100
ENCLOSED = 100  # levels; a call to Klaviyo and our pages have ten around an event's properties
NAME_LENGTH = 200
CONSENT_WORDS = {
    "channel": ("email",),
    "state": ("subscribed", "unsubscribed"),
}


class Refused(Exception):
    """Why an activity is not accepted: one sentence naming the field. `identity`: its id, where no more can be read."""

    def __init__(self, why: str, identity: Any = None) -> None:
        super().__init__(why)
        self.identity = identity


@dataclass(frozen=True, slots=True)
class Draft:
    """One accepted activity, normalised."""

    id: str
    type: ActivityType
    occurred_at: datetime
    event: str | None = None
    store_id: int | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    consent: dict[str, Any] | None = None

    @property
    def profile_json(self) -> str:
        """The profile as kept with the activity: no address, that is the person's."""
        return orjson.dumps(
            {"first_name": self.first_name, "last_name": self.last_name, "fields": self.fields}
        ).decode()


def check(item: Any, stores: Mapping[str, int], fields: Mapping[str, Field], now: datetime) -> Draft:
    """The draft of one item. Raises Refused."""
    if not isinstance(item, dict):
        raise Refused("an activity must be an object")
    identity = item.get("id")
    if not isinstance(identity, str) or not ID.match(identity):
        raise Refused("id must be 1 to 200 printable ASCII characters")
    kind = _type(item.get("type"))
    profile = item.get("profile")
    profile = {} if profile is None else profile
    if not isinstance(profile, dict):
        raise Refused("profile must be an object")
    event, properties = _event(item) if kind is ActivityType.EVENT else (None, {})
    return Draft(
        id=identity,
        type=kind,
        occurred_at=_moment(item.get("occurred_at"), now),
        event=event,
        store_id=_store(item.get("store"), stores),
        email=_email(profile.get("email")),
        first_name=_name(profile, "first_name"),
        last_name=_name(profile, "last_name"),
        fields=_fields(profile.get("fields"), fields),
        properties=properties,
        consent=_consent(item.get("consent")) if kind is ActivityType.CONSENT else None,
    )


def _type(word: Any) -> ActivityType:
    if not isinstance(word, str) or word not in set(ActivityType):
        raise Refused("type must be event, profile or consent")
    return ActivityType(word)


def _event(item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    name = item.get("event")
    event = EVENTS.get(name) if isinstance(name, str) else None
    if event is None:
        raise Refused(f"event {_shown(name)} is not in the catalogue")
    properties = item.get("properties")
    properties = {} if properties is None else properties
    if not isinstance(properties, dict):
        raise Refused("properties must be an object")
    wrong = event.problem(properties)
    if wrong:
        raise Refused(wrong)
    _check_depth(properties)
    return event.key, event.completed(properties)


def _check_depth(properties: dict[str, Any]) -> None:
    """Raises Refused for what could not be written down, alone or within all that stands around it elsewhere."""
    enclosed: Any = properties
    for _ in range(ENCLOSED):
        enclosed = [enclosed]
    try:
        orjson.dumps(enclosed)
    except orjson.JSONEncodeError:
        raise Refused("properties is nested too deep") from None


def _moment(text: Any, now: datetime) -> datetime:
    if not isinstance(text, str):
        raise Refused("occurred_at is required, such as 2026-11-23T10:00:00Z")
    try:
        if not text.isprintable():  # Python reads a time up to its end, whatever stands behind
            raise ValueError
        moment = datetime.fromisoformat(text.upper())  # RFC 3339 allows t and z
    except ValueError:
        raise Refused("occurred_at must be an ISO 8601 time") from None
    if moment.tzinfo is None:
        raise Refused("occurred_at must have a zone, such as Z or +01:00")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise Refused("occurred_at must be between 2000 and one day from now") from None
    if not EARLIEST <= moment <= now + timedelta(days=1):
        raise Refused("occurred_at must be between 2000 and one day from now")
    return moment


def _store(external_id: Any, stores: Mapping[str, int]) -> int | None:
    if external_id is None:
        return None
    if not isinstance(external_id, str) or external_id not in stores:
        raise Refused(f"store {_shown(external_id)} is not a store of this workspace")
    return stores[external_id]


def _email(text: Any) -> str | None:
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise Refused("profile.email must be text")
    email = text.strip().lower()
    if not email:
        return None
    if len(email) > EMAIL_LENGTH:
        raise Refused("profile.email has more than 100 characters")
    if not _is_address(email):
        raise Refused("profile.email is not a valid address")
    return email


@lru_cache(maxsize=50_000)
def _is_address(email: str) -> bool:
    if REPLACED in email:
        return False
    try:
        validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return False
    return True


def _name(profile: dict[str, Any], key: str) -> str | None:
    value = profile.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > NAME_LENGTH or "\x00" in value:
        raise Refused(f"profile.{key} must be text of up to 200 characters")
    return value.encode("utf-8", "replace").decode()


def _fields(values: Any, known: Mapping[str, Field]) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise Refused("profile.fields must be an object")
    for key, value in values.items():
        if key not in known:
            raise Refused(f"profile.fields.{_named(key)} is not a field of this workspace")
        wrong = known[key].problem(value)
        if wrong:
            raise Refused(wrong)
    return values


def _consent(consent: Any) -> dict[str, Any]:
    if not isinstance(consent, dict):
        raise Refused("consent must be an object")
    for key in ("channel", "state"):
        if consent.get(key) not in CONSENT_WORDS[key]:
            raise Refused(f"consent.{key} must be one of: {', '.join(CONSENT_WORDS[key])}")
    if consent["state"] == "subscribed" and not isinstance(consent.get("collected_by"), str):
        raise Refused("consent.collected_by is required of subscribed")
    kept = {}
    for key in ("channel", "state", "source", "collected_by", "policy_version", "jurisdiction", "text"):
        value = consent.get(key)
        if value is None:
            continue
        if not isinstance(value, str) or len(value) > 5000 or "\x00" in value:
            raise Refused(f"consent.{key} must be text of up to 5,000 characters")
        kept[key] = value.encode("utf-8", "replace").decode()
    return kept


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "(no text)"  # Python does not write down one that is a thousand deep
    return repr(value)[:80] if value is not None else "(none)"


def _named(key: str) -> str:
    """A key as it was posted, where it can be shown; long enough for an address to be known as one."""
    return key[:80] if key.isprintable() else _shown(key)
