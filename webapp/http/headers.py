"""The headers on every answer: a strict content policy, no sniffing, no caching of pages, a request id."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

import structlog
from flask import Flask, Response, g, request

from webapp.extensions import settings


def init_app(app: Flask) -> None:
    """Add them to every answer, errors included."""
    app.before_request(_number)
    app.after_request(_add)


def _number() -> None:
    g.request_id = secrets.token_hex(8)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def content_policy(authorize_url: str) -> str:
    """Scripts, styles and images from us alone; forms to us and to Klaviyo's sign-in."""
    parts = urlsplit(authorize_url)
    # The stand-in may be reached as 127.0.0.1 or localhost; Klaviyo's consent page answers on one origin.
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        f"form-action 'self' {parts.scheme}://{parts.netloc}; base-uri 'none'; frame-ancestors 'none'"
    )


def _add(response: Response) -> Response:
    values = settings()
    response.headers["Content-Security-Policy"] = content_policy(values.klaviyo_authorize_url)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["X-Request-Id"] = getattr(g, "request_id", "")
    if values.is_https:
        response.headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    if request.endpoint != "static" or response.status_code >= 400:
        response.headers.setdefault("Cache-Control", "no-store")
        response.vary.update(["HX-Request", "HX-Target", "Cookie"])
    return response
