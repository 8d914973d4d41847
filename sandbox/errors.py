"""Klaviyo's errors: JSON:API, each with a code and, where one value is to blame, a pointer to it."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a request. `pointer` names the value in the body, `parameter` the query parameter."""

    detail: str
    pointer: str = ""
    parameter: str = ""
    code: str = "invalid"
    title: str = "Invalid input."
    meta: dict[str, Any] | None = None


class Refused(Exception):
    """The request is answered with `status` and these problems instead of being done."""

    def __init__(self, status: int, *problems: Problem, headers: dict[str, str] | None = None) -> None:
        super().__init__(problems[0].detail if problems else str(status))
        self.status = status
        self.problems = problems
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        return {"errors": [_error(self.status, problem) for problem in self.problems]}


def _error(status: int, problem: Problem) -> dict[str, Any]:
    source: dict[str, str] = {}
    if problem.pointer:
        source["pointer"] = problem.pointer
    if problem.parameter:
        source["parameter"] = problem.parameter
    return {
        "id": str(uuid.uuid4()),
        "status": status,
        "code": problem.code,
        "title": problem.title,
        "detail": problem.detail,
        "source": source,
        "links": {},
        "meta": problem.meta or {},
    }


def invalid(detail: str, pointer: str = "", parameter: str = "") -> Refused:
    """400 with one problem."""
    return Refused(400, Problem(detail, pointer=pointer, parameter=parameter))


def not_found(noun: str, identifier: str) -> Refused:
    """404 in Klaviyo's words."""
    detail = f"A {noun} with id {identifier} does not exist."
    return Refused(404, Problem(detail, code="not_found", title="Not found."))


def wrong_method(method: str, allowed: list[str]) -> Refused:
    """405 for a path that is there, but not for this method."""
    detail = f'Method "{method}" not allowed.'
    problem = Problem(detail, code="method_not_allowed", title=detail)
    return Refused(405, problem, headers={"Allow": ", ".join(allowed)})


def unauthorized() -> Refused:
    """401 for a missing, unknown or expired bearer token."""
    words = "Incorrect authentication credentials."
    return Refused(401, Problem(words, code="authentication_failed", title=words, pointer="/data/"))


def forbidden(missing: list[str]) -> Refused:
    """403 for a grant that lacks scopes."""
    title = "You do not have permission to perform this action."
    detail = f"{title} Missing scope: {', '.join(missing)}." if missing else title
    return Refused(403, Problem(detail, code="permission_denied", title=title, pointer="/data/"))


def throttled(seconds: int) -> Refused:
    """429; Retry-After is the only header Klaviyo sends with it."""
    detail = f"Request was throttled. Expected available in {seconds} second{'' if seconds == 1 else 's'}."
    problem = Problem(detail, code="throttled", title=detail)
    return Refused(429, problem, headers={"Retry-After": str(seconds)})


def duplicate_profile(profile_id: str) -> Refused:
    """409: another profile has one of the identifiers."""
    return Refused(
        409,
        Problem(
            "A profile already exists with one of these identifiers.",
            pointer="/data/attributes",
            code="duplicate_profile",
            title="Conflict.",
            meta={"duplicate_profile_id": profile_id},
        ),
    )
