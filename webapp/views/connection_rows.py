"""A row of the table as HTML, remembered for as long as nothing in it changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flask import current_app
from markupsafe import Markup

from webapp.http.pages import ago
from webapp.services.connections.table import Row

REMEMBERED = 5_000


class _Written(NamedTuple):
    """`shows`: all that a row's HTML depends on, beside who asks."""

    shows: tuple[Row, str, str]
    html: Markup


_memory: dict[tuple[int, bool], _Written] = {}


def html(rows: Sequence[Row], base: str, *, is_owner: bool) -> Markup:
    """The rows for who asks. `base`: the table's address."""
    return Markup("").join(_html(row, base, is_owner=is_owner) for row in rows)


def _html(row: Row, base: str, *, is_owner: bool) -> Markup:
    """A row is plain values: equal ones look the same, once how long ago the last delivery was is said alike."""
    if row.undo_until is not None and is_owner:
        return _written(row, base, is_owner=is_owner)  # holds a form, whose token is this session's
    place, shows = (row.connection.id, is_owner), (row, base, ago(row.connection.last_delivered_at))
    known = _memory.get(place)
    if known is None or known.shows != shows:
        if len(_memory) >= REMEMBERED:
            _memory.clear()
        known = _memory[place] = _Written(shows, _written(row, base, is_owner=is_owner))
    return known.html


def forget() -> None:
    """Write every row anew from now on."""
    _memory.clear()


def _written(row: Row, base: str, *, is_owner: bool) -> Markup:
    template = current_app.jinja_env.get_template("connections/_rows.html")
    written: Markup = template.module.shown(row, base, is_owner)  # type: ignore[attr-defined]  # the template's macro
    return written
