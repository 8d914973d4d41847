"""The events of one account, packed: a million of them are to fit beside what is being tested against the stand-in."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator

import msgspec

_SIXTY_BITS = (1 << 60) - 1


class Details(msgspec.Struct, array_like=True, gc=False):
    """What is only needed when an event is shown: `properties` as the JSON they came as, `received` in seconds."""

    unique_id: str
    received: float
    properties: bytes
    value: float | None = None
    currency: str | None = None
    backfill: bool = False


class Block(msgspec.Struct, array_like=True):
    """A run of events as it stands in the state file: its columns, and the packed details one after the other."""

    people: bytes
    metrics: bytes
    times: bytes
    lengths: bytes
    details: bytes


class EventLog:
    """Events by number, from 0 in the order recorded. People and metrics are numbers too, times whole epoch seconds."""

    def __init__(self) -> None:
        self.people = array("I")
        self.metrics = array("I")
        self.times = array("I")
        self._ends = array("Q")
        self._details = bytearray()
        # The event before of the same person, one-based so that 0 ends the chain; and each person's last.
        self._previous = array("I")
        self._last = array("I")
        # Hashes of (person, metric, unique id): two of a million are the same once in some million runs.
        self._seen: set[int] = set()
        self._saved = 0
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Details)

    def __len__(self) -> int:
        return len(self.times)

    def details(self, number: int) -> Details:
        """The rest of an event."""
        start = self._ends[number - 1] if number else 0
        return self._decoder.decode(self._details[start : self._ends[number]])

    def has(self, person: int, metric: int, unique_id: str) -> bool:
        """Whether such an event was recorded."""
        return (hash((person, metric, unique_id)) & _SIXTY_BITS) in self._seen

    def add(self, person: int, metric: int, at: int, details: Details) -> bool:
        """Record an event unless one with its (person, metric, unique id) was."""
        key = hash((person, metric, details.unique_id)) & _SIXTY_BITS
        if key in self._seen:
            return False
        self._seen.add(key)
        self.people.append(person)
        self.metrics.append(metric)
        self.times.append(at)
        self._details += self._encoder.encode(details)
        self._ends.append(len(self._details))
        self._chain(person)
        return True

    def _chain(self, person: int) -> None:
        last = self._last
        if person >= len(last):
            last.extend(array("I", bytes(4 * (person + 1 - len(last)))))
        self._previous.append(last[person])
        last[person] = len(self._previous)

    def of_person(self, person: int) -> Iterator[int]:
        """The numbers of a person's events, the last first."""
        number = self._last[person] if person < len(self._last) else 0
        while number:
            yield number - 1
            number = self._previous[number - 1]

    def unsaved(self) -> Block:
        """The events that came since `saved` was last called."""
        first = self._saved
        start = self._ends[first - 1] if first else 0
        ends = [start, *self._ends[first:]]
        lengths = array("I", [after - before for before, after in itertools.pairwise(ends)])
        return Block(
            self.people[first:].tobytes(),
            self.metrics[first:].tobytes(),
            self.times[first:].tobytes(),
            lengths.tobytes(),
            bytes(self._details[start:]),
        )

    def saved(self) -> None:
        """All events are in the state file."""
        self._saved = len(self)

    def restore(self, block: Block) -> None:
        """Put events of the state file back."""
        position = len(self._details)
        self._details += block.details
        for length in array("I", block.lengths):
            position += length
            self._ends.append(position)
        first = len(self)
        for column, held in ((self.people, block.people), (self.metrics, block.metrics), (self.times, block.times)):
            column.frombytes(held)
        for number in range(first, len(self)):
            person = self.people[number]
            key = hash((person, self.metrics[number], self.details(number).unique_id))
            self._seen.add(key & _SIXTY_BITS)
            self._chain(person)
        self._saved = len(self)
