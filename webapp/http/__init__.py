"""How we speak HTTP: who may, sessions, headers, errors, regions of a page."""

from __future__ import annotations

from flask import Flask

from webapp.http import access, errors, headers, pages


def init_app(app: Flask) -> None:
    """Set all of it up for `app`."""
    access.init_app(app)
    headers.init_app(app)
    errors.init_app(app)
    pages.init_app(app)
