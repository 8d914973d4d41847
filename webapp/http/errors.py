"""Errors in plain words: a page for people, one sentence for HTMX, problem+json for programs."""

from __future__ import annotations

from typing import Any, TypeVar

from flask import Flask, Response, abort, g, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError, generate_csrf
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from webapp import log
from webapp.extensions import htmx

Found = TypeVar("Found")

SENTENCES = {
    400: "That request could not be understood. Go back and try again.",
    403: "You may not do that. Ask an owner of this workspace.",
    404: "There is no such page, or it is not yours to see.",
    405: "This address only takes what a form sends. Go back to the page with the form.",
    413: "That is more than we take at once.",
    422: "Nothing was changed: the form names what is not there. Go back, reload the page, then send it again.",
    429: "Too many tries. Wait a moment, then try again.",
    500: "Something broke on our side. It is in our log; try again in a moment.",
    503: "We cannot reach our database. Nothing is lost; try again in a moment.",
}
# Where a program called instead of a person.
TO_PROGRAMS = {
    404: "There is no such call. GET /api/v1/openapi.json lists them.",
    405: "This address does not take that method; the Allow header names those it takes.",
    413: "A call may hold 5 MB.",
}
STALE_FORM = (
    "This form was open too long, or you signed in again since. Nothing was changed. Go back, reload the page, then "
    "send it again. If it happens once more, let your browser keep our cookies."
)
KEPT_FORM = "This form was open too long, or you signed in again since: nothing was changed yet. You are {email} now."
STALE_PAGE = "This page was open too long, or you signed in again since. Nothing was changed. Reload it and try again."
SIGNED_IN_AGAIN = "You signed in again since, so nothing was changed yet. What you typed is still here: send it again."
SOMEBODY_ELSE = (
    "Somebody else is signed in here now, so nothing was changed. What you typed is still here: sign in as before in "
    "another tab, then send it again."
)

# The names of what is never written into a page again.
SECRETS = ("password", "current", "new", "again")
NO_CHOICE = "Nothing was changed: the form came without a choice. Go back, reload the page, then send it again."


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
    methods = isinstance(error, MethodNotAllowed) and error.valid_methods
    return answer(error.code or 500, headers={"Allow": ", ".join(sorted(methods))} if methods else None)


def _stale_form(_error: CSRFError) -> ResponseReturnValue:
    """Whoever the page was made for gets the token of now with the answer; another site cannot read it.

    Where the request came from, and whose session it is, was asked before (`access`).
    """
    if not htmx:
        return _kept_form() if _can_be_kept() else answer(400, STALE_FORM)
    person = request.headers.get("X-Person")
    if not person or g.user is None:
        return answer(400, STALE_PAGE)
    if person != str(g.user.id):
        return answer(400, SOMEBODY_ELSE)
    return answer(400, SIGNED_IN_AGAIN, headers={"X-CSRFToken": generate_csrf()})


def _can_be_kept() -> bool:
    """Whether what a plain form sent may stand in a page of ours: a page of ours sent it, as the browser vouches."""
    is_ours = request.headers.get("Sec-Fetch-Site") == "same-origin"
    return is_ours and g.user is not None and not any(map(request.form.get, SECRETS))


def _kept_form() -> ResponseReturnValue:
    """What was typed, to be sent again by whoever is signed in now, once they have seen who that is."""
    typed = [(name, text) for name, text in request.form.items(multi=True) if name != "csrf_token"]
    sentence = KEPT_FORM.format(email=g.user.email)
    action = request.full_path.removesuffix("?")
    return render_template("errors/kept.html", sentence=sentence, action=action, typed=typed), 400


def _database(error: DBAPIError) -> ResponseReturnValue:
    if isinstance(error, (DataError, IntegrityError, ProgrammingError)):
        return _unexpected(error)  # it is there, and would answer the same once more
    log.get("http").error("database", kind=type(error.orig).__name__)
    g.user = g.workspace = None  # the page must not ask for them again
    return answer(503)


def _unexpected(error: Exception) -> ResponseReturnValue:
    if type(error).__module__ == "gunicorn.http.errors":
        return answer(400)  # a body that is not in the chunks it says it is
    log.get("http").error("unexpected", exc_info=error)
    return answer(500)


def answer(status: int, sentence: str | None = None, *, headers: dict[str, str] | None = None) -> ResponseReturnValue:
    """The error in the caller's language: JSON under /api, a sentence for HTMX, else a page."""
    headers = {**(headers or {}), **({"Retry-After": "5"} if status == 503 else {})}
    is_program = request.path.startswith("/api/")
    known = {**SENTENCES, **TO_PROGRAMS} if is_program else SENTENCES
    sentence = sentence or known.get(status, "That did not work. Go back and try again.")
    if is_program:
        return problem(status, sentence, headers=headers)
    if htmx:
        return sentence, status, {**headers, "Content-Type": "text/plain; charset=utf-8"}
    return render_template("errors/error.html", status=status, sentence=sentence), status, headers
