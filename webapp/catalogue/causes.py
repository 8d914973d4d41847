"""What each reason means in plain words: what happened, and what to do about it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from webapp.catalogue.reasons import Reason


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason in words for people."""

    title: str
    what: str
    remedy: str


def _load() -> dict[Reason, Cause]:
    raw = tomllib.loads((Path(__file__).parent / "causes.toml").read_text())
    found = {Reason(key): Cause(row["title"], row["what"], row.get("remedy", "")) for key, row in raw.items()}
    lacking = set(Reason) - set(found)
    if lacking:
        raise ValueError(f"causes.toml says nothing of: {', '.join(sorted(lacking))}")
    return found


CAUSES: dict[Reason, Cause] = _load()
