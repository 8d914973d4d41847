"""How we speak HTTP: who may, sessions, headers, errors, regions of a page."""

from __future__ import annotations

from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import IntegerConverter, Map

from webapp.http import access, errors, headers, pages
from webapp.http.typed import TypedRequest


class RowId(IntegerConverter):
    """A number that may be a row's: no table has a larger one, and the databases stumble over it."""

    def __init__(self, url_map: Map, **options: Any) -> None:
        super().__init__(url_map, **{"max": 2**63 - 1, **options})


def init_app(app: Flask, *, trusted_proxies: int) -> None:
    """Set all of it up for `app`.

    Behind proxies everybody would come from one address, and one who guesses passwords would keep everybody out. Only
    the address is taken from them: what we are called, and whether by TLS, PUBLIC_URL says.
    """
    if trusted_proxies:
        fixed = ProxyFix(app.wsgi_app, x_for=trusted_proxies, x_proto=0, x_host=0, x_port=0, x_prefix=0)
        app.wsgi_app = fixed  # type: ignore[method-assign]  # as Flask says to put a middleware in
    app.request_class = TypedRequest
    app.url_map.converters["int"] = RowId
    app.url_map.merge_slashes = False  # its redirect would lead to whatever host the caller names
    access.init_app(app)
    headers.init_app(app)
    errors.init_app(app)
    pages.init_app(app)
