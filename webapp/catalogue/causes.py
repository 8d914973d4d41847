"""What each reason means in plain words: what happened, who can mend it, and the button that does."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind


class Who(StrEnum):
    """Who can mend a cause."""

    OWNER = "owner"
    SUPPORT = "support"
    PLATFORM = "platform"
    KLAVIYO = "klaviyo"
    US = "us"
    NOBODY = "nobody"


WHO = {
    Who.OWNER: "An owner of the workspace",
    Who.SUPPORT: "A support agent or an owner",
    Who.PLATFORM: "Whoever keeps the data in the platform",
    Who.KLAVIYO: "Klaviyo",
    Who.US: "Whoever runs this program",
    Who.NOBODY: "Nothing needs to be done",
}
# What a button says; where it leads is the pages' business. Those in OWNERS_ONLY need an owner.
BUTTONS = {
    "reconnect": "Reconnect",
    "resume": "Resume",
    "edit_connection": "Edit the connection",
    "add_connection": "Add connection",
    "enable": "Enable Klaviyo",
    "events": "Choose events",
    "profile_data": "Choose profile data",
}
OWNERS_ONLY = frozenset(BUTTONS) - {"resume"}
# What helps a consent. The platform's repetition is a new activity, held against all that was said since.
LOST = "A consent is not sent again from here: {then}the platform may post it again under a new id."


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason in words for people. `button` is a key of BUTTONS, or empty; `resend`: sending again can help.

    `mend` is what removes the cause, `again` what sends on what it stopped. Both are an event's, `others` those of
    other kinds that differ; `of` chooses. `done` takes the place of `mend` where that was done since: `is_mended`.
    `test`: both of a test event, where they differ.
    """

    title: str
    what: str
    mend: str
    again: str
    who: Who
    button: str
    resend: bool
    others: Mapping[Kind, tuple[str, str]]
    done: str = ""
    is_mended: bool = False
    test: tuple[str, str] | None = None

    def of_test(self) -> Cause:
        """The cause as it is told of a test event: by the owner who chose its person, without a button for others."""
        if self.test is None or self.is_mended:
            return self
        mend, again = self.test
        return replace(self, mend=mend, again=again, who=Who.OWNER, button="", test=None)

    def mended(self) -> Cause:
        """The cause as it is told once it is removed: no button, only what sends on what it had stopped."""
        again, who = ("Send it again.", Who.SUPPORT) if self.again else ("", Who.NOBODY)
        return replace(self, mend=self.done, again=again, who=who, button="", is_mended=True)

    def of(self, status: Status, kinds: Collection[Kind]) -> Cause:
        """The cause as it is told of deliveries of one status and these kinds: a consent is not sent again."""
        mine = self.others.get(min(kinds)) if len(set(kinds)) == 1 else None
        if mine is not None:
            return replace(self, mend=mine[0], again=mine[1], others={}).of(status, kinds)
        if status is Status.WAITING:
            return replace(self, again="", resend=False)
        if not self.resend or Kind.CONSENT not in kinds:
            return self
        is_to_mend = bool(self.mend) and not self.is_mended
        lost = LOST.format(then="after that " if is_to_mend else "")
        if set(kinds) == {Kind.CONSENT}:
            who = self.who if is_to_mend else Who.PLATFORM
            return replace(self, again=lost, who=who, resend=False)
        return replace(self, again=f"{self.again} {lost}".strip())

    @property
    def remedy(self) -> str:
        """What can be done, all of it."""
        return f"{self.mend} {self.again}".strip()

    @property
    def who_mends(self) -> str:
        """Who can mend it, in words."""
        return WHO[self.who]


def _load() -> dict[Reason, Cause]:
    raw = tomllib.loads((Path(__file__).parent / "causes.toml").read_text())
    found = {Reason(key): _cause(key, row) for key, row in raw.items()}
    lacking = set(Reason) - set(found)
    if lacking:
        raise ValueError(f"causes.toml says nothing of: {', '.join(sorted(lacking))}")
    return found


def _cause(key: str, row: dict[str, Any]) -> Cause:
    button = str(row.get("button", ""))
    if button and button not in BUTTONS:
        raise ValueError(f"causes.toml: {key} has the unknown button {button}")
    mend, again = str(row.get("remedy", "")), str(row.get("again", ""))
    parts = {key: words for key, words in row.items() if isinstance(words, dict)}
    test = parts.pop("test", None)
    return Cause(
        title=str(row["title"]),
        what=str(row["what"]),
        mend=mend,
        again=again,
        who=Who(row["who"]),
        button=button,
        resend=bool(row.get("resend", False)),
        done=str(row.get("done", "")),
        others={Kind(kind): _both(words, again) for kind, words in parts.items()},
        test=_both(test, again) if test else None,
    )


def _both(words: dict[str, Any], again: str) -> tuple[str, str]:
    """The remedy, and what sends on what it stopped: the reason's own where nothing else is said."""
    return str(words["remedy"]), str(words.get("again", again))


CAUSES: dict[Reason, Cause] = _load()
RESENDABLE = frozenset(reason for reason, cause in CAUSES.items() if cause.resend)
