"""What a person asks of the deliveries: the query of a page's address, both ways. The same words name a resend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from webapp.catalogue.events import EVENTS
from webapp.catalogue.reasons import REASONS, Reason, Status
from webapp.forms.numbers import row_id

REQUEST_ID = 120
YEARS = (2000, 2200)


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for; None: anything. `since` and `until` are about when the activity was accepted.

    `activity_id` is our own number of an activity: the caller's id may hold an address, and this stands in addresses.
    `before` is the last id of the page above, `follow` keeps the first page current. In an address `since` is called
    `from`: there `since` is the version a poll has.
    """

    status: Status | None = None
    reason: Reason | None = None
    event: str | None = None
    connection_id: int | None = None
    person_id: int | None = None
    request_id: str | None = None
    activity_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    follow: bool = False

    @property
    def is_live(self) -> bool:
        """Whether the page keeps itself current: only the first one, and only when asked."""
        return self.follow and self.before is None

    @property
    def pairs(self) -> list[tuple[Status, Reason]]:
        """Every status and reason that fit, as they may stand in the table."""
        return [
            (status, reason)
            for status in Status
            if self.status in {None, status}
            for reason in sorted(REASONS[status])
            if self.reason in {None, reason}
        ]

    def query(self, **changes: Any) -> dict[str, str]:
        """The address's query, with `changes` (field names of this class; None takes one away)."""
        return _query(replace(self, **changes))


def _query(asked: Filters) -> dict[str, str]:
    found: dict[str, Any] = {
        "status": asked.status,
        "reason": asked.reason,
        "event": asked.event,
        "connection": asked.connection_id,
        "person": asked.person_id,
        "request": asked.request_id,
        "activity": asked.activity_id,
        "from": _shown(asked.since),
        "to": _shown(asked.until),
        "before": asked.before,
        "follow": "1" if asked.follow else None,
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _shown(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") if moment else None


def _moment(text: str) -> datetime | None:
    """A time of this program's; None for anything else. At the edges of the calendar no time can be counted with."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if not YEARS[0] <= found.year <= YEARS[1]:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def parse(words: Mapping[str, str]) -> tuple[Filters, list[str]]:
    """The filters of a query, and a sentence for each word that is not understood (it is left out)."""
    problems: list[str] = []

    def number(name: str) -> int | None:
        text = words.get(name, "").strip()
        found = row_id(text)
        if text and found is None:
            problems.append(f"“{text[:40]}” is no number for {name}.")
        return found

    def moment(name: str) -> datetime | None:
        text = words.get(name, "").strip()
        found = _moment(text)
        if text and found is None:
            problems.append(f"“{text[:40]}” is no time for {name}; write it like 2026-11-23T10:00 (UTC).")
        return found

    def one_of(name: str, known: Any) -> str | None:
        text = words.get(name, "").strip()
        if text and text not in known:
            problems.append(f"There is no {name} “{text[:40]}”.")
            return None
        return text or None

    status, reason = one_of("status", set(Status)), one_of("reason", set(Reason))
    asked = Filters(
        status=Status(status) if status else None,
        reason=Reason(reason) if reason else None,
        event=one_of("event", EVENTS),
        connection_id=number("connection"),
        person_id=number("person"),
        request_id=words.get("request", "").strip()[:REQUEST_ID] or None,
        activity_id=number("activity"),
        since=moment("from"),
        until=moment("to"),
        before=number("before"),
        follow=words.get("follow") == "1",
    )
    return asked, problems
