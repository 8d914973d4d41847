"""The fields file: a field is one entry; a mistake stops the start with a sentence; values are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from webapp.catalogue import fields, values
from webapp.catalogue.fields import FIELDS, Field

PACKAGED = Path(fields.__file__).parent / "fields.toml"
STREAK = """
[streak]
property = "Cevoid: Streak"
type = "number"
recommended = true
sample = 7
about = "Days in a row."
"""


def test_adding_a_field_is_one_entry(tmp_path: Path) -> None:
    path = tmp_path / "fields.toml"
    path.write_text(PACKAGED.read_text() + STREAK)
    found = fields.load(path)
    assert found.keys() - FIELDS.keys() == {"streak"}
    assert found["streak"].problem("7") == "profile.fields.streak must be a finite number"
    assert found["streak"].problem(7) is None
    assert found["streak"].schema() == {"type": ["number", "null"]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('type = "number"', 'type = "list"'), "streak has the unknown type list"),
        (("sample = 7", 'sample = "seven"'), "the sample is wrong: profile.fields.streak must be a finite number"),
        (("recommended = true", ""), "streak must have about, property, recommended"),
        (("Cevoid: Streak", "Cevoid: Points"), "the property Cevoid: Points is there twice"),
        (("[streak]", "[Streak]"), "Streak must be lower-case"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    path = tmp_path / "fields.toml"
    path.write_text(PACKAGED.read_text() + STREAK.replace(*change))
    with pytest.raises(ValueError, match=r"fields\.toml") as caught:
        fields.load(path)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("text", ["", "x" * 100_000], [1, None, "a\x00b", "ä" * 50_001]),
        ("number", [0, -1.5, 10**12], [True, "1", float("nan"), float("inf")]),
        ("boolean", [True, False], [1, "true"]),
        (
            "date",
            ["1990-12-31"],
            ["31.12.1990", "1990-1-1", "2020-W01-1", "19901231", "1990-02-30", "1990-12-31T00:00"],
        ),
        ("datetime", ["2026-11-23T10:00:00Z", "2026-11-23T10:00:00+01:00"], ["soon", 1]),
        ("url", ["https://example.com/a.png"], ["example.com", "javascript:alert(1)", "https://"]),
        ("choice", ["red"], ["green", ["red"], None]),
        ("choices", [[], ["red"], ["red", "blue"]], ["red", ["green"], [1]]),
    ],
)
def test_values_have_their_type(kind: str, good: list[Any], bad: list[Any]) -> None:
    field = Field("f", "Cevoid: F", kind, choices=("red", "blue"))
    assert [value for value in good if field.problem(value)] == []
    assert [value for value in bad if value is not None and not field.problem(value)] == []
    assert field.problem(None) is None


def test_every_type_has_a_right_sample() -> None:
    for kind in values.TYPES:
        assert values.problem(kind, values.sample(kind, ("a", "b")), ("a", "b")) is None
