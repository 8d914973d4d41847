"""The table: Klaviyo's answer -> what we do about it. Every lane reads it; what each does is beside its calls.

| answer | outcome |
|---|---|
| 2xx | done |
| 2xx with a body that is not JSON, or lacks what is needed of it | unknown: Klaviyo may have done it all the same |
| nothing arrived (refused connection, no route, deadline before the first byte) | again |
| no answer, cut off, too late; 5xx, 524 | unknown: it may have been done all the same |
| 429 | again after `Retry-After`; the budget is blocked until then |
| 401, though the token was just refreshed | again |
| 403 JSON | scope missing: the feature is off until somebody reconnects |
| 403 and anything else that is not JSON | again: a proxy spoke, not Klaviyo |
| 404 | gone |
| 409 | conflict |
| 413 | too large |
| 400, 422 JSON | refused: named items are taken out, else the body is cut in half until the bad one is alone |
| 405, 406, 410, 415 and other 4xx | again, slowly: it is our mistake or a retired revision, no delivery's |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any

from webapp.klaviyo.answers import Answer, Reached
from webapp.klaviyo.parse import UnexpectedAnswer


class Outcome(StrEnum):
    """What an answer means for what was sent."""

    DONE = "done"
    AGAIN = "again"
    UNKNOWN = "unknown"
    SCOPE_MISSING = "scope_missing"
    GONE = "gone"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    REFUSED = "refused"


REFUSALS = frozenset({Outcome.REFUSED, Outcome.CONFLICT, Outcome.TOO_LARGE})
PASSING = frozenset({401, 429})
OF_STATUS = {
    400: Outcome.REFUSED,
    403: Outcome.SCOPE_MISSING,
    404: Outcome.GONE,
    409: Outcome.CONFLICT,
    413: Outcome.TOO_LARGE,
    422: Outcome.REFUSED,
}


def outcome(answer: Answer) -> Outcome:
    """The table's row for an answer."""
    if answer.reached is Reached.NOT_SENT:
        return Outcome.AGAIN
    if answer.reached is Reached.UNKNOWN or answer.status is None or answer.status >= 500:
        return Outcome.UNKNOWN
    if answer.ok and answer.is_foreign:
        return Outcome.UNKNOWN
    if answer.ok:
        return Outcome.DONE
    if answer.status == 413:
        return Outcome.TOO_LARGE
    if not answer.is_json:
        return Outcome.AGAIN
    return OF_STATUS.get(answer.status, Outcome.AGAIN)


def as_read(answer: Answer, *readings: Callable[[Any], object]) -> Answer:
    """An answer whose body is needed: a 2xx that cannot be read counts as if something else than Klaviyo spoke."""
    try:
        for read in readings if answer.ok else ():
            read(answer.json)
    except UnexpectedAnswer:
        return replace(answer, is_foreign=True)
    return answer


def is_final(answer: Answer) -> bool:
    """Whether Klaviyo itself said no to a question, which it will again: of use where something else can be done."""
    return answer.is_json and answer.status is not None and 400 <= answer.status < 500 and answer.status not in PASSING
