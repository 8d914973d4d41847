"""What came of one HTTP call: whether Klaviyo got it, what it said, which limits it announced."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from webapp.klaviyo.masking import scrub

ERROR_TEXT = 4096
LONGEST_WAIT = 7 * 86_400  # as long as anything waits; longer ones break a database's clock
ANNOUNCED = re.compile(r"(?<![0-9])([0-9]{1,9});w=([0-9]{1,9})(?![0-9])")
POINTED_ITEM = re.compile(r"/data/(\d+)(?:/|$)")


class Reached(StrEnum):
    """How far the call got. `not_sent`: certainly nothing arrived. `unknown`: it may have."""

    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class ApiError:
    """One JSON:API error; `detail` is masked."""

    code: str
    detail: str
    pointer: str
    meta: dict[str, Any]

    @property
    def item(self) -> int | None:
        """The index of the item of a bulk body that `pointer` names, outermost first."""
        found = POINTED_ITEM.search(self.pointer)
        return int(found.group(1)) if found else None


@dataclass(frozen=True, slots=True)
class Answer:
    """One call's result. `json` is the parsed body of a JSON answer; `why` names a transport failure.

    `is_foreign`: there is a body and it is not JSON, so that something else than Klaviyo spoke.
    """

    reached: Reached
    duration_ms: int
    status: int | None = None
    json: Any = None
    is_json: bool = False
    is_foreign: bool = False
    request_id: str | None = None
    revision: str | None = None
    retires: str | None = None
    retry_after: int | None = None
    limits: dict[int, int] = field(default_factory=dict)
    errors: tuple[ApiError, ...] = ()
    why: str | None = None

    @property
    def ok(self) -> bool:
        """Whether Klaviyo answered 2xx."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def sentence(self) -> str:
        """What Klaviyo said (masked), or what happened on the way."""
        if self.errors:
            return " ".join(error.detail for error in self.errors[:3])[:ERROR_TEXT]
        return self.why or f"Klaviyo answered {self.status}."


def parse_limits(header: str | None) -> dict[int, int]:
    """`75, 75;w=1, 750;w=60` as `{1: 75, 60: 750}` (window in seconds to calls); nothing known gives `{}`."""
    return {int(window): int(calls) for calls, window in ANNOUNCED.findall(header or "")}


def parse_retry_after(header: str | None, now: float) -> int | None:
    """Seconds to wait, from seconds or an HTTP date, at most LONGEST_WAIT. `now` is epoch seconds.

    None where there is no sense in it.
    """
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]{1,12}", text):
        return min(int(text), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(0, math.ceil(seconds)), LONGEST_WAIT)


def short(header: str | None, longest: int) -> str | None:
    """As much of a header's text as is kept: PostgreSQL refuses a row that is too long, and the call's end with it."""
    return None if header is None else header[:longest]


def parse_errors(body: Any) -> tuple[ApiError, ...]:
    """The errors of a JSON:API body; an unexpected shape gives none."""
    raw = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(raw, list):
        return ()
    return tuple(_error(entry) for entry in raw[:1000] if isinstance(entry, dict))


def _error(entry: dict[str, Any]) -> ApiError:
    source = entry.get("source")
    pointer = source.get("pointer") if isinstance(source, dict) else None
    meta = entry.get("meta")
    return ApiError(
        code=_text(entry.get("code")),
        detail=scrub(_text(entry.get("detail")) or _text(entry.get("title")))[:ERROR_TEXT],
        pointer=_text(pointer),
        meta=meta if isinstance(meta, dict) else {},
    )


def _text(value: Any) -> str:
    """A text or a number; lists and objects, however deep, say nothing."""
    return str(value) if isinstance(value, str | int | float) and value else ""
