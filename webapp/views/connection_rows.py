"""A row of the table as HTML, remembered for as long as nothing in it changes."""

from __future__ import annotations

from functools import lru_cache

from flask import current_app, g
from markupsafe import Markup

from webapp.http.pages import ago
from webapp.models import Role
from webapp.services.connections.table import Row

REMEMBERED = 5_000


def html(row: Row, base: str) -> Markup:
    """The row for who asks. `base`: the table's address."""
    is_owner = g.role is Role.OWNER
    if row.undo_until is not None and is_owner:
        return _written(row, base, is_owner=True)  # holds a form, whose token is this session's
    return _same(row, base, ago(row.connection.last_delivered_at), is_owner=is_owner)


def forget() -> None:
    """Write every row anew from now on."""
    _same.cache_clear()


@lru_cache(maxsize=REMEMBERED)
def _same(row: Row, base: str, _last: str, *, is_owner: bool) -> Markup:
    """A row is plain values: equal ones look the same, once how long ago the last delivery was is said alike."""
    return _written(row, base, is_owner=is_owner)


def _written(row: Row, base: str, *, is_owner: bool) -> Markup:
    template = current_app.jinja_env.get_template("connections/_rows.html")
    written: Markup = template.module.shown(row, base, is_owner)  # type: ignore[attr-defined]  # the template's macro
    return written
