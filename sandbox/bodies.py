"""The shapes of every request body, as Klaviyo documents them."""

from __future__ import annotations

from typing import Any

import orjson

from sandbox.errors import Problem, Refused
from sandbox.shapes import (
    Shape,
    any_value,
    boolean,
    email,
    items,
    number,
    number_or_text,
    obj,
    one_of,
    phone,
    properties,
    text,
    text_or_texts,
    timestamp,
)

MAX_PROFILE_BYTES = 100 * 1024
_WORD = text(255)

_PATCH_PROPERTIES = obj({"append": properties, "unappend": properties, "unset": text_or_texts})
META = obj(
    {
        "patch_properties": _PATCH_PROPERTIES,
        "patch_identifiers": obj({"append": any_value, "unappend": any_value}),
    }
)
_LOCATION = obj(
    {
        **dict.fromkeys(("address1", "address2", "city", "country", "region", "zip", "timezone", "ip"), _WORD),
        "latitude": number_or_text,
        "longitude": number_or_text,
    }
)
PROFILE_FIELDS: dict[str, Shape] = {
    "email": email,
    "phone_number": phone,
    "external_id": _WORD,
    "first_name": _WORD,
    "last_name": _WORD,
    "organization": _WORD,
    "locale": _WORD,
    "title": _WORD,
    "image": text(2048),
    "location": _LOCATION,
    "properties": properties,
}
_ATTRIBUTES = obj(PROFILE_FIELDS)
_UPSERT_ATTRIBUTES = obj({**PROFILE_FIELDS, "_kx": _WORD})
_EVENT_PROFILE = {**PROFILE_FIELDS, "anonymous_id": _WORD, "_kx": _WORD}


def _data(kind: str, fields: dict[str, Shape], required: tuple[str, ...] = ("attributes",)) -> Shape:
    return obj({"type": one_of(kind), **fields}, ("type", *required))


def _sized(shape: Shape) -> Shape:
    """A profile of at most 100 KB."""

    def check(value: Any, pointer: str, problems: list[Problem]) -> None:
        shape(value, pointer, problems)
        if len(orjson.dumps(value)) > MAX_PROFILE_BYTES:
            problems.append(Problem("A profile's payload is at most 100 KB.", pointer))

    return check


def _identified(*names: str) -> Shape:
    def check(value: Any, pointer: str, problems: list[Problem]) -> None:
        if not isinstance(value, dict) or not isinstance(value.get("attributes"), dict):
            return
        if not value.get("id") and not any(value["attributes"].get(name) for name in names):
            problems.append(Problem(f"One of {', '.join(names)} is required.", f"{pointer}/attributes"))

    return check


def _both(*shapes: Shape) -> Shape:
    def check(value: Any, pointer: str, problems: list[Problem]) -> None:
        for shape in shapes:
            shape(value, pointer, problems)

    return check


def _body(data: Shape) -> Shape:
    return obj({"data": data}, ("data",))


_KEYS = ("email", "phone_number", "external_id")
_NAMED = _identified(*_KEYS)
_NAMED_OR_ANONYMOUS = _identified(*_KEYS, "anonymous_id", "_kx")

LIST_CREATE = _body(
    _data(
        "list",
        {
            "attributes": obj(
                {"name": text(255, 1), "opt_in_process": one_of("double_opt_in", "single_opt_in")}, ("name",)
            )
        },
    )
)
LIST_MEMBERS = obj(
    {"data": items(obj({"type": one_of("profile"), "id": text(64, 1)}, ("type", "id")), 1000)}, ("data",)
)

PROFILE_CREATE = _body(_sized(_both(_data("profile", {"attributes": _ATTRIBUTES}), _NAMED)))
PROFILE_PATCH = _body(
    _sized(_data("profile", {"id": _WORD, "attributes": _ATTRIBUTES, "meta": META}, ("id", "attributes")))
)
_UPSERT = _data("profile", {"id": _WORD, "attributes": _UPSERT_ATTRIBUTES, "meta": META})
PROFILE_UPSERT = _body(_sized(_both(_UPSERT, _identified(*_KEYS, "_kx"))))
IMPORT_JOB = _body(
    _data(
        "profile-bulk-import-job",
        {
            "attributes": obj(
                {
                    "profiles": obj(
                        {"data": items(_sized(_both(_UPSERT, _identified(*_KEYS, "_kx"))), 10_000)}, ("data",)
                    )
                },
                ("profiles",),
            ),
            "relationships": obj(
                {"lists": obj({"data": items(obj({"type": one_of("list"), "id": _WORD}, ("type", "id")), 100)})}
            ),
        },
    )
)

_METRIC = obj(
    {"data": _data("metric", {"attributes": obj({"name": text(127, 1), "service": _WORD}, ("name",)), "id": _WORD})},
    ("data",),
)
_EVENT_FIELDS: dict[str, Shape] = {
    "properties": properties,
    "metric": _METRIC,
    "time": timestamp,
    "value": number,
    "value_currency": text(3, 3),
    "unique_id": text(255, 1),
    "backfill": boolean,
}


def _event(profile: Shape) -> Shape:
    person = obj({"data": _sized(_both(profile, _NAMED_OR_ANONYMOUS))}, ("data",))
    attributes = obj({**_EVENT_FIELDS, "profile": person}, ("properties", "metric", "profile"))
    return _body(_data("event", {"attributes": attributes}))


EVENT = _event(_data("profile", {"id": _WORD, "attributes": obj(_EVENT_PROFILE), "meta": META}))
# Before this revision a single event's profile has its meta inside its attributes.
EVENT_META_MOVED = "2026-10-15"
EARLIER_EVENT = _event(_data("profile", {"id": _WORD, "attributes": obj({**_EVENT_PROFILE, "meta": META})}))
_BULK_PROFILE = _sized(
    _both(
        _data("profile", {"id": _WORD, "attributes": obj(_EVENT_PROFILE), "meta": META}),
        _NAMED_OR_ANONYMOUS,
    )
)
_BULK_EVENT = _data("event", {"attributes": obj(_EVENT_FIELDS, ("properties", "metric"))})
_BULK_ENTRY = _data(
    "event-bulk-create",
    {
        "attributes": obj(
            {
                "backfill": boolean,
                "profile": obj({"data": _BULK_PROFILE}, ("data",)),
                "events": obj({"data": items(_BULK_EVENT, 1000)}, ("data",)),
            },
            ("profile", "events"),
        )
    },
)
EVENTS_BULK = _body(
    _data(
        "event-bulk-create-job",
        {
            "attributes": obj(
                {"events-bulk-create": obj({"data": items(_BULK_ENTRY, 1000)}, ("data",))},
                ("events-bulk-create",),
            )
        },
    )
)


def _consents(word: str, most: int, kind: str, extra: dict[str, Shape]) -> Shape:
    marketing = obj({"consent": one_of(word), "consented_at": timestamp}, ("consent",))
    channel = obj(dict.fromkeys(("marketing", "transactional", "open_tracking", "click_tracking"), marketing))
    attributes = obj(
        {
            "email": email,
            "phone_number": phone,
            "subscriptions": obj(dict.fromkeys(("email", "sms", "whatsapp", "push"), channel)),
            "age_gated_date_of_birth": _WORD,
        },
        ("subscriptions",),
    )
    person = _both(_data("profile", {"id": _WORD, "attributes": attributes}), _identified("email", "phone_number"))
    return _body(
        _data(
            kind,
            {
                "attributes": obj({"profiles": obj({"data": items(person, most)}, ("data",)), **extra}, ("profiles",)),
                "relationships": obj(
                    {"list": obj({"data": obj({"type": one_of("list"), "id": _WORD}, ("type", "id"))})}
                ),
            },
        )
    )


SUBSCRIBE = _consents(
    "SUBSCRIBED",
    1000,
    "profile-subscription-bulk-create-job",
    {"custom_source": _WORD, "historical_import": boolean},
)
UNSUBSCRIBE = _consents("UNSUBSCRIBED", 100, "profile-subscription-bulk-delete-job", {})


def checked(body: bytes, shape: Shape) -> dict[str, Any]:
    """The `data` of a body that has this shape. Raises Refused (400) with a pointer for every breach."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, Problem(f"The body is not valid JSON: {error}.", pointer="/data")) from error
    problems: list[Problem] = []
    shape(parsed, "", problems)
    if problems:
        raise Refused(400, *problems)
    data: dict[str, Any] = parsed
    return data
