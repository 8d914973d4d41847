"""What an idle sweeper asks of the database: statements a second, and how many of them write.

The sweeper runs in this process over a thousand connections that have nothing to do, for more than a minute, so that
housekeeping is part of it.
"""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import event

from benchmarks.installation import Installation, installed
from benchmarks.report import Figure, tell
from jobs import sweeper
from tests.rows import Rows
from webapp.extensions import db

CONNECTIONS = 1_000
SECONDS = 65.0
READS = ("SELECT", "SHOW", "SET")


def connect(count: int) -> None:
    """Connections with nothing to do."""
    rows = Rows()
    workspace = rows.workspace("idle")
    for number in range(count):
        rows.connection(workspace, rows.store(workspace, f"s{number}"), klaviyo_account_id=f"IDLE{number:04d}")


def count(there: Installation) -> Counter[str]:
    """The statements of SECONDS of a sweeper that runs in this process, by their first word."""
    found: Counter[str] = Counter()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found[statement.split(None, 1)[0].upper()] += 1

    engines = list(db.engines.values())
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    stop = threading.Event()
    threading.Timer(SECONDS, stop.set).start()
    sweeper.run(there.app, stop)
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)
    return found


def main() -> None:
    """Print the table and keep the figures."""
    with tempfile.TemporaryDirectory() as home, installed(Path(home), "postgresql") as there:
        connect(CONNECTIONS)
        found = count(there)
    writing = sum(number for word, number in found.items() if word not in READS)
    figures = [
        Figure("statements a second", found.total() / SECONDS, "/s", at_most=10),
        Figure("of them writing, in all", writing, "", at_most=0),
    ]
    tell("idle", f"An idle sweeper over {CONNECTIONS:,} connections, {SECONDS:.0f} s", figures)


if __name__ == "__main__":
    main()
