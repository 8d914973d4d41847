"""The form of a custom property, field by field."""

from __future__ import annotations

import pytest

from webapp.forms.custom_properties import NewProperty, parse
from webapp.forms.invalid import Invalid

GOOD = {"label": "Shoe size", "key": "shoe_size", "type": "text", "choices": ""}


def test_a_right_one() -> None:
    assert parse(GOOD) == NewProperty("shoe_size", "Shoe size", "text", ())
    spaced = {**GOOD, "label": "  Cevoid:  Shoe \t size ", "key": " shoe_size "}
    assert parse(spaced) == NewProperty("shoe_size", "Shoe size", "text", ())
    chosen = {**GOOD, "type": "choices", "choices": " 38 \r\n\r\n39\n"}
    assert parse(chosen).choices == ("38", "39")
    assert parse({**GOOD, "choices": "38"}).choices == ()
    assert parse({**GOOD, "label": "O\u0308mse"}).label == "\u00d6mse"  # as one letter, however it was typed


@pytest.mark.parametrize(
    ("change", "field", "sentence"),
    [
        ({"label": " "}, "label", "Enter a label"),
        ({"label": "Cevoid:"}, "label", "Enter a label"),
        ({"label": "x" * 101}, "label", "100 characters"),
        ({"label": "a\u200bb"}, "label", "cannot be shown"),
        ({"key": ""}, "key", "lower-case"),
        ({"key": "Shoe"}, "key", "lower-case"),
        ({"key": "1shoe"}, "key", "lower-case"),
        ({"key": "x" * 61}, "key", "lower-case"),
        ({"key": "shoe-size"}, "key", "lower-case"),
        ({"type": "url"}, "type", "Choose a type"),
        ({"type": "choice"}, "choices", "Enter the choices"),
        ({"type": "choice", "choices": "a\nb\na"}, "choices", "twice"),
        ({"type": "choices", "choices": "x" * 201}, "choices", "200 characters"),
        ({"type": "choices", "choices": "\n".join(map(str, range(101)))}, "choices", "At most 100"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(change: dict[str, str], field: str, sentence: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse({**GOOD, **change})
    assert list(caught.value.problems) == [field]
    assert sentence in caught.value.problems[field]
