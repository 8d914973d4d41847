"""How figures are shown and kept, each beside what it is aimed at."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `at_least` or `at_most`: what it is aimed at; neither: it stands there to compare with."""

    name: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is reached; None where there is none."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    @property
    def aim(self) -> str:
        """The aim in words."""
        if self.at_least is not None:
            return f">= {_shown(self.at_least)} {self.unit}".rstrip()
        return "" if self.at_most is None else f"<= {_shown(self.at_most)} {self.unit}".rstrip()


def tell(name: str, title: str, figures: Sequence[Figure]) -> None:
    """Print the figures beside their aims and keep them in `benchmarks/results/<name>.json`."""
    width = max(len(figure.name) for figure in figures) + 2
    print(f"\n{title}")
    for figure in figures:
        shown = f"{_shown(figure.value)} {figure.unit}".rstrip()
        verdict = {True: "reached", False: "MISSED", None: ""}[figure.is_met]
        print(f"  {figure.name:<{width}}{shown:>20}   {figure.aim:<20}{verdict}".rstrip(), flush=True)
    save(name, [{**asdict(figure), "reached": figure.is_met} for figure in figures])


def table(title: str, found: Mapping[str, Mapping[str, float]]) -> str:
    """A plain table: a column a case, a line a figure."""
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    width = max(len(name) for name in names) + 2
    lines = [title, " " * width + "".join(f"{case:>24}" for case in found)]
    for name in names:
        cells = "".join(f"{_shown(figures.get(name)):>24}" for figures in found.values())
        lines.append(f"{name:<{width}}{cells}")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def save(name: str, figures: Any) -> None:
    """`benchmarks/results/<name>.json`, with when and on what."""
    RESULTS.mkdir(exist_ok=True)
    kept = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "figures": figures,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=2) + "\n")
