"""The form of a new custom property."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from webapp.catalogue.fields import KEY, PREFIX
from webapp.catalogue.values import CUSTOM_TYPES
from webapp.forms.invalid import Invalid

LABEL_LENGTH = 100
CHOICES = 100
CHOICE_LENGTH = 200
WITH_CHOICES = frozenset({"choice", "choices"})


@dataclass(frozen=True, slots=True)
class NewProperty:
    """A checked one. Whether its key and label are free is for the database to say."""

    key: str
    label: str
    type: str
    choices: tuple[str, ...]


def parse(form: Mapping[str, str]) -> NewProperty:
    """Raises Invalid by the field's name: `label`, `key`, `type`, `choices`."""
    problems: dict[str, str] = {}
    label = _line(unicodedata.normalize("NFC", form.get("label", ""))).removeprefix(PREFIX.strip()).strip()
    key = form.get("key", "").strip()
    kind = form.get("type", "")
    choices = tuple(filter(None, (_line(line) for line in form.get("choices", "").splitlines())))
    if not label or len(label) > LABEL_LENGTH:
        problems["label"] = f"Enter a label of up to {LABEL_LENGTH} characters."
    elif any(unicodedata.category(letter).startswith("C") for letter in label):
        problems["label"] = "The label holds a character that cannot be shown."
    if not KEY.match(key):
        problems["key"] = (
            "The key is lower-case letters, digits and _, begins with a letter and has at most 60 of them."
        )
    if kind not in CUSTOM_TYPES:
        problems["type"] = "Choose a type."
    elif kind in WITH_CHOICES:
        wrong = _choices_problem(choices)
        if wrong:
            problems["choices"] = wrong
    if problems:
        raise Invalid(problems)
    return NewProperty(key, label, kind, choices if kind in WITH_CHOICES else ())


def same_name(name: str) -> str:
    """A name as it is compared: alike for names that only differ in case or in how Unicode writes a letter.

    Nobody tells them apart, and Klaviyo would hold them as two properties.
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _line(text: str) -> str:
    """One line, its spaces single."""
    return re.sub(r"\s+", " ", text).strip()


def _choices_problem(choices: tuple[str, ...]) -> str | None:
    if not choices:
        return "Enter the choices, one a line."
    if len(choices) > CHOICES:
        return f"At most {CHOICES} choices."
    if any(len(choice) > CHOICE_LENGTH for choice in choices):
        return f"A choice has at most {CHOICE_LENGTH} characters."
    twice = next((choice for choice in choices if choices.count(choice) > 1), None)
    return "One of the choices is there twice." if twice is not None else None
