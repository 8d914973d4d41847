"""Several profiles in one call that Klaviyo refuses whole for one of them: who it is, and how the others go again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from webapp.klaviyo import parse
from webapp.klaviyo.answers import Answer

T = TypeVar("T")


def told_apart(answer: Answer, profiles: Sequence[T]) -> tuple[dict[int, str], list[Sequence[T]]]:
    """Place -> Klaviyo's sentence of those it names; the others at once, or where it names nobody, in halves."""
    named: dict[int, str] = {}
    for error in answer.errors:
        place = parse.pointed_profile(error.pointer)
        if place is not None and place < len(profiles):
            named[place] = error.detail
    half = len(profiles) // 2
    parts: list[Sequence[T]] = [profiles[:half], profiles[half:]]
    if named:
        parts = [[profile for place, profile in enumerate(profiles) if place not in named]]
    return named, [part for part in parts if part]
