"""An installation to measure: its tables, connected accounts and a backlog made at once, then real worker processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from flask import Flask
from sqlalchemy import func, select, text

from tests.processes import Child, python, wait_for
from tests.rows import Rows
from tests.stack import Stack
from webapp import create_app
from webapp.catalogue.events import EVENTS
from webapp.catalogue.fields import FIELDS
from webapp.catalogue.words import SyncBehavior
from webapp.database import reading, writing
from webapp.extensions import db
from webapp.klaviyo.oauth import TokenSet
from webapp.models import Connection, Lane, Workspace
from webapp.services.activities import ingest
from webapp.services.oauth import grants
from webapp.services.sharing import choices
from webapp.settings import load


class Installation(Stack):
    """A Stack whose backlog is written by this process; `start_workers` and `drained` are what is timed."""

    app: Flask

    def start(self) -> None:
        """Sandbox, Valkey and a migrated database; no web, no sweeper, no worker yet."""
        self.sandbox.start()
        self._make_children()
        self.valkey.start()
        self._command("flask", "--app", "wsgi", "db", "upgrade")
        self.app = create_app(load({**os.environ, **self.env}))

    def stop(self) -> None:
        """Stop everything that was started."""
        with self.app.app_context():
            for engine in db.engines.values():
                engine.dispose()
        super().stop()

    def connect(self, account: str, slug: str, behavior: SyncBehavior = SyncBehavior.UPDATE_EXISTING) -> Connection:
        """A workspace with everything on and one connection to `account`, by a grant of the sandbox's."""
        rows = Rows()
        workspace: Workspace = rows.workspace(slug)
        granted = self.sandbox.grant(account)
        made = rows.connection(workspace, klaviyo_account_id=account, sync_behavior=behavior)
        tokens = TokenSet(
            granted["access_token"],
            granted["refresh_token"],
            int(granted["expires_in"]),
            frozenset(granted["scope"].split()),
        )
        with writing() as session:
            grants.store(session, made.id, tokens)
        choices.choose_events(workspace.id, None, EVENTS)
        choices.choose_fields(workspace.id, None, FIELDS)
        return made

    def backlog(self, workspace_id: int, events: int, people: int, *, prefix: str = "bench") -> float:
        """Accept `events` about `people` people, a thousand a call; the seconds it took."""
        began = time.perf_counter()
        now = datetime.now(UTC) - timedelta(hours=1)
        for start in range(0, events, 1000):
            items = [_event(prefix, number, people, now) for number in range(start, min(events, start + 1000))]
            accepted = ingest.accept(workspace_id, items)
            assert accepted.accepted == len(items), accepted.rejected[:3]
        return time.perf_counter() - began

    def waiting(self, connection_id: int | None = None) -> int:
        """Deliveries of all lanes (of one connection) that have no final status."""
        with reading() as session:
            sums = select(func.sum(Lane.made - Lane.delivered - Lane.skipped - Lane.failed))
            if connection_id is not None:
                sums = sums.where(Lane.connection_id == connection_id)
            return int(session.scalar(sums) or 0)

    def drain(self, workers: int = 1, seconds: float = 600) -> Drained:
        """Start sweeper and workers and wait until nothing waits; what is timed begins with the first delivery."""
        with self.working(workers) as children:
            before = self.delivered()
            wait_for(lambda: self.delivered() > before, "the first delivery", 60)
            began, first = time.perf_counter(), self.delivered()
            spent = [cpu(child) for child in children]
            # Seldom: asking takes from the same cores what is measured there.
            wait_for(lambda: self.waiting() == 0, "an empty backlog", seconds, every=0.1)
            took = time.perf_counter() - began
            used = sum(cpu(child) - old for child, old in zip(children, spent, strict=True))
            return Drained(self.delivered() - first, took, used)

    @contextmanager
    def working(self, workers: int) -> Iterator[list[Child]]:
        """Sweeper, fast workers and a slow one run; the workers are given.

        The others have started before the fast ones do: what is timed begins while nobody is starting any more.
        """
        gather_statistics()
        fast = [Child(f"worker-{n}", python("-m", "jobs.worker", "fast"), self.env, self.home) for n in range(workers)]
        slow = Child("worker-slow", python("-m", "jobs.worker", "slow"), self.env, self.home)
        begun: list[Child] = []
        try:
            for child in (slow, self.sweeper, *fast):
                if child is fast[0]:
                    wait_for(lambda: all(map(has_started, begun)), "sweeper and slow worker to have started", 60)
                child.start()
                begun.append(child)
            yield [*fast, slow]
        finally:
            for child in begun:
                child.stop()

    def delivered(self) -> int:
        """Deliveries of all lanes that were delivered."""
        with reading() as session:
            return int(session.scalar(select(func.sum(Lane.delivered))) or 0)


@dataclass(frozen=True, slots=True)
class Drained:
    """What was delivered after the first call, in how many seconds, for how many CPU seconds of the workers."""

    count: int
    seconds: float
    cpu: float


def gather_statistics() -> None:
    """As a PostgreSQL has them that runs for longer than a minute; SQLite gathers none by itself."""
    _by_postgresql("ANALYZE")


def close_gaps(table: str) -> None:
    """PostgreSQL leaves gaps where rows were deleted: write the table and its indexes as if they had never been."""
    _by_postgresql(f"VACUUM FULL {table}")


def _by_postgresql(statement: str) -> None:
    if db.engine.dialect.name == "sqlite":
        return
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))


def cpu(child: Child) -> float:
    """CPU seconds of a process so far."""
    times = psutil.Process(child.pid).cpu_times()
    return float(times.user + times.system)


def has_started(child: Child, seconds: float = 0.3) -> bool:
    """Whether a process has done what it does at first, and leaves its core to others."""
    before = cpu(child)
    time.sleep(seconds)
    return before > 0.1 and cpu(child) - before < seconds / 2


def _event(prefix: str, number: int, people: int, now: datetime) -> dict[str, Any]:
    return {
        "id": f"{prefix}-{number}",
        "type": "event",
        "event": "tier_earned",
        "occurred_at": (now + timedelta(milliseconds=number)).isoformat(),
        "profile": {"email": address(number % people)},
        "properties": {"tierId": "gold", "tierName": "Gold", "previousTierId": "silver", "pointsBalance": number},
    }


def address(number: int) -> str:
    """The address of a person who is in the account."""
    return f"person-{number}@example.com"


@contextmanager
def installed(home: Path, backend: str, *options: str) -> Iterator[Installation]:
    """A started Installation inside its app's context, stopped at the end, also where this process is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before the end"))
    made = Installation(home, backend=backend, sandbox_options=options or ("--limits", "off"))
    try:
        made.start()
        with made.app.app_context():
            yield made
    finally:
        made.stop()
