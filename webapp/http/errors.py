"""Errors in plain words: a page for people, one sentence for HTMX, problem+json for programs."""

from __future__ import annotations

from typing import Any, TypeVar

from flask import Flask, Response, abort, g, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException

from webapp import log
from webapp.extensions import htmx

Found = TypeVar("Found")

SENTENCES = {
    400: "That request could not be understood. Go back and try again.",
    403: "You may not do that. Ask an owner of this workspace.",
    404: "There is no such page, or it is not yours to see.",
    405: "That page does not work that way. Go back and try again.",
    413: "That is more than we take at once.",
    429: "Too many tries. Wait a moment, then try again.",
    500: "Something broke on our side. It is in our log; try again in a moment.",
    503: "We cannot reach our database. Nothing is lost; try again in a moment.",
}


def or_404(found: Found | None) -> Found:
    """What was looked for in this workspace; 404 where it is not there, or another workspace's."""
    if found is None:
        abort(404)
    return found


def problem(
    status: int, detail: str, *, headers: dict[str, str] | None = None, more: dict[str, Any] | None = None
) -> Response:
    """An `application/problem+json` answer (RFC 9457)."""
    response = jsonify({"type": "about:blank", "status": status, "detail": detail, **(more or {})})
    response.status_code = status
    response.content_type = "application/problem+json"
    response.headers.update(headers or {})
    return response


def init_app(app: Flask) -> None:
    """Answer every error with words."""
    app.register_error_handler(HTTPException, _known)
    app.register_error_handler(CSRFError, _stale_form)
    app.register_error_handler(DBAPIError, _database)
    app.register_error_handler(Exception, _unexpected)


def _known(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:
        return error.response
    return answer(error.code or 500)


def _stale_form(_error: CSRFError) -> ResponseReturnValue:
    return answer(400, "This page was open too long. Reload it and try again.")


def _database(error: DBAPIError) -> ResponseReturnValue:
    log.get("http").error("database", kind=type(error.orig).__name__)
    g.user = g.workspace = None  # the page must not ask for them again
    return answer(503)


def _unexpected(error: Exception) -> ResponseReturnValue:
    log.get("http").error("unexpected", exc_info=error)
    return answer(500)


def answer(status: int, sentence: str | None = None) -> ResponseReturnValue:
    """The error in the caller's language: JSON under /api, a sentence for HTMX, else a page."""
    sentence = sentence or SENTENCES.get(status, "That did not work. Go back and try again.")
    headers = {"Retry-After": "5"} if status == 503 else {}
    if request.path.startswith("/api/"):
        return problem(status, sentence, headers=headers)
    if htmx:
        return sentence, status, {**headers, "Content-Type": "text/plain; charset=utf-8"}
    return render_template("errors/error.html", status=status, sentence=sentence), status, headers
