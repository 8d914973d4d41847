"""How figures are shown and kept."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


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
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def save(name: str, figures: Any) -> None:
    """`benchmarks/results/<name>.json`, with when and on what."""
    RESULTS.mkdir(exist_ok=True)
    kept = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "figures": figures,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=2) + "\n")
