"""What has changed since the state file was last written to."""

from __future__ import annotations

from collections.abc import Callable


class Changes:
    """Names of what is to be saved, in the order it came. Nothing is noted where there is no state file."""

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self.records: dict[tuple[str, str, str], None] = {}
        self.logs: dict[str, None] = {}
        self.emptied = False
        self.save: Callable[[], None] = _nothing

    def note(self, kind: str, account: str, key: str) -> None:
        """A record was made, changed or removed."""
        if self._kept:
            self.records[kind, account, key] = None

    def note_events(self, account: str) -> None:
        """An account has more events."""
        if self._kept:
            self.logs[account] = None

    def forget_all(self) -> None:
        """Everything was emptied; what was noted before does not matter any more."""
        self.clear()
        self.emptied = self._kept

    def clear(self) -> None:
        """All of it has been saved."""
        self.records.clear()
        self.logs.clear()
        self.emptied = False


def _nothing() -> None:
    """There is no state file."""
