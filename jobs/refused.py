"""Several people in one call that Klaviyo refuses whole for one of them: who it is, and how the others go again."""

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
    if not named:
        return {}, halves(profiles)
    left = [profile for place, profile in enumerate(profiles) if place not in named]
    return named, [left] if left else []


def halves(group: Sequence[T]) -> list[Sequence[T]]:
    """Both halves of a group, without an empty one."""
    half = len(group) // 2
    return [part for part in (group[:half], group[half:]) if part]
