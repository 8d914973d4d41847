"""What a person agreed to and took back, as JSON kept in `people`: per channel the newest of each place. Pure.

A consent is given to a store and written to one account, so it counts against what was said there: somebody who signs
up in one store did not take back that they left another's list. The text is `{"email": [entry, ...]}`, newest first;
an entry is the consent as it was posted, with its moments, its activity and its place. Texts of before places were kept
hold one entry instead of the list, which says nothing of where it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from webapp import clock

EMAIL = "email"
UNSUBSCRIBED = "unsubscribed"
CLOCK_DOUBT = timedelta(minutes=10)  # the platform's clock may be so much ahead of ours
Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """The connection that was to take a consent (None: there was none), and the store it was given to."""

    connection_id: int | None
    store_id: int | None


NOWHERE = Place(None, None)


@dataclass(frozen=True, slots=True)
class Word:
    """A consent to be compared with what else was said. Times are aware UTC. `place` None: nobody wrote it down."""

    state: str
    occurred_at: datetime
    accepted_at: datetime
    activity_id: int
    place: Place | None

    @property
    def order(self) -> tuple[datetime, datetime, int]:
        """Newer ones are greater; ties go by arrival. Nobody says anything long after we have heard of it."""
        is_ahead = self.occurred_at > self.accepted_at + CLOCK_DOUBT
        return self.accepted_at if is_ahead else self.occurred_at, self.occurred_at, self.activity_id

    @property
    def slot(self) -> tuple[Place | None, str | None]:
        """One of each is kept. What was withdrawn nowhere known stays so whatever is agreed to nowhere known later."""
        return self.place, self.state if self.place == NOWHERE else None

    def supersedes(self, other: Word) -> bool:
        """Whether the other, which has a place, need not be written any more because of this one.

        What the same account is told is told last by the newest. In a store that another account takes now, a signup
        that still waits for the earlier one is over; a withdrawal is not, as nobody else takes them off there. So it is
        for those without a store. A withdrawal of which nobody knows whom it was said to ends any signup of before it.
        """
        if other.place is None or self.order <= other.order:
            return False
        is_withdrawal = other.state == UNSUBSCRIBED
        if self.place is None:
            return self.state == UNSUBSCRIBED or not is_withdrawal
        if self.place == NOWHERE and self.state == UNSUBSCRIBED:
            return not is_withdrawal
        if self.place.connection_id is not None and self.place.connection_id == other.place.connection_id:
            return True
        return self.place.store_id == other.place.store_id and not is_withdrawal


def of_channel(text: str, channel: str = EMAIL) -> list[Entry]:
    """The newest consent of each place, newest first."""
    return by_channel(text).get(channel, [])


def by_channel(text: str) -> dict[str, list[Entry]]:
    """The same of every channel."""
    held = orjson.loads(text).items()
    return {channel: entries if isinstance(entries, list) else [entries] for channel, entries in held}


def newest_at(text: str, connection_id: int) -> Entry | None:
    """The newest e-mail consent that this connection took; one of an unknown place may be."""
    found = (e for e in of_channel(text) if "connection_id" not in e or e["connection_id"] == connection_id)
    return next(found, None)


def is_superseded(text: str, word: Word) -> bool:
    """Whether anything was said since that makes up for it. Its store is read from its own entry."""
    said = [_word(entry) for entry in of_channel(text)]
    own = next((each.place for each in said if each.activity_id == word.activity_id), None)
    placed = word if own is None else Word(word.state, word.occurred_at, word.accepted_at, word.activity_id, own)
    return any(each.supersedes(placed) for each in said)


def merged(
    text: str, consent: Entry, occurred_at: datetime, accepted_at: datetime, activity_id: int, place: Place
) -> tuple[str, bool]:
    """The text with this consent where it is the newest of its place, and whether one that is held supersedes it."""
    channels = by_channel(text)
    channel = str(consent["channel"])
    held = channels.get(channel, [])
    word = Word(str(consent["state"]), occurred_at, accepted_at, activity_id, place)
    said = [_word(entry) for entry in held]
    superseded = any(each.supersedes(word) for each in said)
    if any(each.slot == word.slot and each.order > word.order for each in said):
        return text, superseded
    entry = {
        **consent,
        "occurred_at": clock.iso(occurred_at),
        "accepted_at": clock.iso(accepted_at),
        "activity_id": activity_id,
        "connection_id": place.connection_id,
        "store_id": place.store_id,
    }
    kept = [(each, old) for each, old in zip(said, held, strict=True) if each.slot != word.slot]
    entries = sorted([*kept, (word, entry)], key=lambda pair: pair[0].order, reverse=True)
    return orjson.dumps({**channels, channel: [old for _, old in entries]}).decode(), superseded


def _word(entry: Entry) -> Word:
    occurred_at = datetime.fromisoformat(entry["occurred_at"])
    accepted_at = datetime.fromisoformat(entry["accepted_at"]) if "accepted_at" in entry else occurred_at
    place = Place(entry["connection_id"], entry["store_id"]) if "connection_id" in entry else None
    return Word(entry["state"], occurred_at, accepted_at, int(entry.get("activity_id", 0)), place)
