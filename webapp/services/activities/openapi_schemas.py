"""What goes in and out of the ingest API, as JSON schemas. Events and fields come from the catalogue."""

from __future__ import annotations

from typing import Any

from webapp.catalogue.events import EVENTS, PROPERTIES, Event
from webapp.catalogue.fields import FIELDS
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import ActivityType, Kind
from webapp.forms import activities as forms
from webapp.forms.settings import EXTERNAL_ID, STORE_NAME

Schema = dict[str, Any]
SCHEMAS = "#/components/schemas/"
CONSENT_TEXTS = {
    "source": "Where it was collected, such as program_join.",
    "collected_by": "How: checkbox and newsletter_activity count as explicit; others are kept and not passed on.",
    "policy_version": "The policy the person agreed to.",
    "jurisdiction": "The law it was collected under.",
    "text": "What the person read.",
}


def all_of_them() -> dict[str, Schema]:
    """Every schema by its name."""
    events = {name_of(event): _event(event) for event in EVENTS.values()}
    return {
        "Activity": _one_of(
            "type", {"event": "EventActivity", "profile": "ProfileActivity", "consent": "ConsentActivity"}
        ),
        "EventActivity": _one_of("event", {event.key: name_of(event) for event in EVENTS.values()}),
        **events,
        "ProfileActivity": _activity(ActivityType.PROFILE, {}, [], "What is known of a person changed."),
        "ConsentActivity": _activity(
            ActivityType.CONSENT, {"consent": ref("Consent")}, ["consent"], "A person gave or withdrew a consent."
        ),
        "Profile": _profile(),
        "Consent": _consent(),
        **_answers(),
    }


def ref(name: str) -> Schema:
    """A reference to one of them."""
    return {"$ref": f"{SCHEMAS}{name}"}


def name_of(event: Event) -> str:
    """The schema's name of an event: `MemberJoinedProgram`."""
    return "".join(part.capitalize() for part in event.key.split("_"))


def samples() -> dict[str, Schema]:
    """One activity of each type, by type."""
    ada: Schema = {"email": "ada@example.com"}
    joined = EVENTS["member_joined_program"]
    event = _sample("a-1", ActivityType.EVENT, {**ada, "first_name": "Ada", "fields": {"points": 120}})
    profile = _sample("a-2", ActivityType.PROFILE, {**ada, "fields": {"points": 150}})
    consent = _sample("a-3", ActivityType.CONSENT, ada)
    given = {"channel": "email", "state": "subscribed", "source": "program_join", "collected_by": "checkbox"}
    return {
        "event": {**event, "event": joined.key, "properties": joined.sample()},
        "profile": profile,
        "consent": {**consent, "consent": given},
    }


def _sample(identity: str, kind: ActivityType, profile: Schema) -> Schema:
    moment = {"store": "se", "occurred_at": "2026-11-23T10:00:00Z"}
    return {"id": identity, "type": str(kind), **moment, "profile": profile}


def _one_of(name: str, mapping: dict[str, str]) -> Schema:
    return {
        "oneOf": [ref(target) for target in mapping.values()],
        "discriminator": {"propertyName": name, "mapping": {word: f"{SCHEMAS}{to}" for word, to in mapping.items()}},
    }


def _event(event: Event) -> Schema:
    payload = {**event.schema(), "maxProperties": PROPERTIES, "examples": [event.sample()]}
    more = {"event": {"const": event.key}, "properties": payload}
    return _activity(ActivityType.EVENT, more, ["event"], f"{event.fires} In Klaviyo: {event.metric}.")


def _activity(kind: ActivityType, more: dict[str, Schema], required: list[str], description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": ["id", "type", "occurred_at", *required],
        "properties": {
            "id": {
                "type": "string",
                "pattern": "^[ -~]{1,200}$",
                "description": "Yours, unique in the workspace: sending it again changes nothing.",
            },
            "type": {"const": str(kind)},
            "store": {
                "type": ["string", "null"],
                "description": "The id of one of the workspace's stores; null or absent: the person's home store.",
            },
            "occurred_at": {
                "type": "string",
                "format": "date-time",
                "description": "With a zone; from 2000 to one day ahead.",
            },
            "profile": ref("Profile"),
            **more,
        },
    }


def _profile() -> Schema:
    name = {"type": ["string", "null"], "maxLength": forms.NAME_LENGTH}
    return {
        "type": "object",
        "properties": {
            "email": {
                "type": ["string", "null"],
                "maxLength": forms.EMAIL_LENGTH,
                "description": "Trimmed and lower-cased. Without one nothing is sent.",
            },
            "first_name": name,
            "last_name": name,
            "fields": {
                "type": "object",
                "description": "null clears, absence leaves. An unknown key rejects the activity.",
                "properties": {key: field.schema() for key, field in FIELDS.items()},
                "additionalProperties": {"description": "A custom property of the workspace, by its key."},
            },
        },
    }


def _consent() -> Schema:
    texts = {
        name: {"type": ["string", "null"], "maxLength": 5000, "description": description}
        for name, description in CONSENT_TEXTS.items()
    }
    return {
        "type": "object",
        "required": ["channel", "state"],
        "properties": {**{name: {"enum": list(words)} for name, words in forms.CONSENT_WORDS.items()}, **texts},
        "if": {"properties": {"state": {"const": "subscribed"}}},
        "then": {"required": ["collected_by"], "properties": {"collected_by": {"type": "string"}}},
    }


def _answers() -> dict[str, Schema]:
    count: Schema = {"type": "integer", "minimum": 0}
    taken: dict[str, Schema] = {
        "accepted": {**count, "description": "New ones, kept for good."},
        "duplicates": {**count, "description": "Known already, or twice in this call: nothing changed."},
        "rejected": {"type": "array", "items": ref("Rejection")},
    }
    problem: dict[str, Schema] = {
        "type": {"type": "string", "format": "uri-reference"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, in one sentence."},
    }
    return {
        "Accepted": _closed(taken),
        "Rejection": _closed(
            {
                "index": {**count, "description": "Its place in the call, from 0."},
                "id": {"description": "Its id as it was sent; null where none could be read."},
                "error": {"type": "string", "description": "One sentence naming the field."},
            }
        ),
        "ActivityStatus": _closed(
            {
                "id": {"type": "string"},
                "accepted_at": {"type": "string", "format": "date-time"},
                "deliveries": {"type": "array", "items": ref("Delivery")},
            }
        ),
        "Delivery": _closed(
            {
                "connection": {
                    "type": ["string", "null"],
                    "description": "The Klaviyo account's id; null: none takes it.",
                },
                "kind": {"enum": [str(kind) for kind in Kind]},
                "status": {"enum": [str(status) for status in Status]},
                "reason": {"enum": [str(reason) for reason in Reason]},
                "until": {"type": ["string", "null"], "format": "date-time", "description": "When we look again."},
                "attempts": count,
            }
        ),
        "StoreName": {"type": "object", "required": ["name"], "properties": {"name": _line(STORE_NAME)}},
        "Store": _closed({"id": _line(EXTERNAL_ID), "name": _line(STORE_NAME)}),
        "Erasure": {
            "type": "object",
            "required": ["email"],
            "properties": {"email": {"type": "string", "pattern": "@"}},
        },
        "Erased": _closed({"people": count, "activities": count, "deliveries_stopped": count}),
        "Problem": _closed(problem),
        "NoneAccepted": _closed({**problem, **taken}),
    }


def _closed(properties: dict[str, Schema]) -> Schema:
    """An object with exactly these properties."""
    found = {"type": "object", "required": list(properties), "properties": properties}
    return {**found, "additionalProperties": False}


def _line(longest: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": longest, "description": "One line."}
