"""The catalogue as a page of documentation: `python -m webapp.catalogue.document` writes docs/events-and-fields.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from webapp.catalogue.events import COMMON, EVENTS, GROUPS, Event, PayloadField
from webapp.catalogue.fields import FIELDS, Field

PAGE = Path(__file__).parents[2] / "docs" / "events-and-fields.md"
HEAD = """# Events and profile fields

Made from `webapp/catalogue/events.toml` and `fields.toml`; after a change there run
`python -m webapp.catalogue.document`. Each is off in a workspace until an owner turns it on.

## Common to every event

What is posted under one of these names gives way to ours; the store's two stand as posted where the
activity names no store.
"""
FIELDS_HEAD = """
## Profile fields

Posted in `profile.fields`; null clears. Custom properties of a workspace are posted by their key in the same place and
are called `Cevoid: ` and their label in Klaviyo.
"""


def text(events: Mapping[str, Event] = EVENTS, fields: Mapping[str, Field] = FIELDS) -> str:
    """The whole page, as Markdown."""
    common = _table(("property", "what"), [(f"`{name}`", what) for name, what in COMMON.items()])
    parts = [HEAD, common]
    for group, title in GROUPS.items():
        parts.append(f"\n## {title}\n")
        parts += [_event(event) for event in events.values() if event.group == group]
    for name, made_of in _objects(events).items():
        parts.append(f"### What a {name} is made of\n\n{_payload(made_of)}")
    rows = [(f"`{f.key}`", f.property, f.type, "yes" if f.recommended else "", f.about) for f in fields.values()]
    parts += [FIELDS_HEAD, _table(("key", "Klaviyo property", "type", "recommended", "what"), rows)]
    return "\n".join(parts)


def _objects(events: Mapping[str, Event]) -> dict[str, tuple[PayloadField, ...]]:
    return {field.item: field.parts for event in events.values() for field in event.payload if field.parts}


def _event(event: Event) -> str:
    recommended = " Recommended." if event.recommended else ""
    head = f"### {event.metric}\n\n`{event.key}`. {event.fires} {event.use}{recommended}\n"
    return f"{head}\n{_payload(event.payload)}"


def _payload(fields: tuple[PayloadField, ...]) -> str:
    rows = []
    for field in fields:
        copied = f"of the first of `{field.first_of[0]}` where it is not sent" if field.first_of else ""
        rows.append((f"`{field.name}`", field.shown_type, "may be null" if field.nullable else "", copied))
    return _table(("property", "type", "", ""), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(text())
