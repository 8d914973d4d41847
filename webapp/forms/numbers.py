"""Numbers as they stand in addresses and forms."""

from __future__ import annotations


def row_id(text: str) -> int | None:
    """A number that may be a row's; None for anything else. The databases stumble over larger ones."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def page(text: str) -> int:
    """The number of a page, from 1; the first for whatever is none."""
    number = row_id(text) or 1
    return number if number < 100_000 else 1
