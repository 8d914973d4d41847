"""What is told about a connection when something begins and when it is over, read from `incidents.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Incident(StrEnum):
    """The closed list of causes an alert can have."""

    NEEDS_REAUTHORIZATION = "needs_reauthorization"
    FAILING = "failing"
    PAUSED_FAILING = "paused_failing"
    SILENT = "silent"
    LIST_MISSING = "list_missing"
    REVISION_RETIRING = "revision_retiring"


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences for people; `opened` and `closed` take `account` and `detail`."""

    title: str
    opened: str
    closed: str


def _load() -> dict[Incident, Words]:
    raw = tomllib.loads((Path(__file__).parent / "incidents.toml").read_text())
    found = {Incident(key): Words(row["title"], row["opened"], row["closed"]) for key, row in raw.items()}
    lacking = set(Incident) - set(found)
    if lacking:
        raise ValueError(f"incidents.toml says nothing of: {', '.join(sorted(lacking))}")
    return found


INCIDENTS: dict[Incident, Words] = _load()
