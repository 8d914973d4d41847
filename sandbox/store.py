"""The state file: SQLite, written by one thread in the background, read once at the start.

Events are kept as one row for all that came since the last save, so that saving them costs next to nothing.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from pathlib import Path

import msgspec

from sandbox.state.account import Account
from sandbox.state.records import AccountRecord, Event, Grant, ImportJob, MailingList, Metric, Profile
from sandbox.state.world import World

_SAVE_EVERY_SECONDS = 0.25
_KINDS = {"profile": Profile, "list": MailingList, "metric": Metric, "job": ImportJob}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (kind TEXT, account TEXT, id TEXT, body BLOB, PRIMARY KEY (kind, account, id));
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, account TEXT, body BLOB);
"""

Row = tuple[str, str, str, bytes | None]
Batch = tuple[bool, list[Row], list[tuple[str, bytes]], asyncio.Future[None]]


class Store:
    """Keeps a world in `directory`/sandbox.sqlite3."""

    def __init__(self, world: World, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "sandbox.sqlite3"
        self._world = world
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="store", daemon=True)
        self._saver: asyncio.Task[None] | None = None

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_SCHEMA)
        return connection

    def load(self) -> None:
        """Put everything of the file into the world."""
        connection = self._open()
        world = self._world
        read = "SELECT account, id, body FROM records WHERE kind = ? ORDER BY rowid"
        for account_id, _, body in connection.execute(read, ("account",)):
            world.accounts[account_id] = Account(msgspec.msgpack.decode(body, type=AccountRecord))
        for kind, record_type in _KINDS.items():
            for account_id, _, body in connection.execute(read, (kind,)):
                _put(world.accounts[account_id], msgspec.msgpack.decode(body, type=record_type))
        for _, _, body in connection.execute(read, ("grant",)):
            world.grants.add(msgspec.msgpack.decode(body, type=Grant))
        decoder = msgspec.msgpack.Decoder(list[Event])
        for account_id, body in connection.execute("SELECT account, body FROM events ORDER BY number"):
            account = world.accounts[account_id]
            for event in decoder.decode(body):
                account.add_event(event)
        connection.close()

    def start(self) -> None:
        """Begin to save what changes."""
        self._thread.start()
        self._saver = asyncio.create_task(self._save_regularly())

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_EVERY_SECONDS)
            await self.save()

    async def save(self) -> None:
        """Write what changed; done when it is in the file."""
        rows, events = self._collect()
        emptied, self._world.was_emptied = self._world.was_emptied, False
        if rows or events or emptied:
            written = asyncio.get_running_loop().create_future()
            self._queue.put((emptied, rows, events, written))
            await written

    async def stop(self) -> None:
        """Write the rest and end the thread."""
        if self._saver is not None:
            self._saver.cancel()
        await self.save()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _collect(self) -> tuple[list[Row], list[tuple[str, bytes]]]:
        grants = self._world.grants
        rows: list[Row] = [("grant", "", grant_id, grants.saved(grant_id)) for grant_id in grants.changed]
        grants.changed.clear()
        events = []
        for account in self._world.accounts.values():
            rows += [(kind, account.id, key, account.saved(kind, key)) for kind, key in account.changed]
            account.changed.clear()
            if account.unsaved_events:
                events.append((account.id, msgspec.msgpack.encode(account.unsaved_events)))
                account.unsaved_events = []
        return rows, events

    def _write_all(self) -> None:
        connection = self._open()
        while (batch := self._queue.get()) is not None:
            emptied, rows, events, written = batch
            connection.execute("BEGIN IMMEDIATE")
            if emptied:
                connection.execute("DELETE FROM records")
                connection.execute("DELETE FROM events")
            gone = [row[:3] for row in rows if row[3] is None]
            connection.executemany("DELETE FROM records WHERE kind = ? AND account = ? AND id = ?", gone)
            connection.executemany(
                "INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
                [row for row in rows if row[3] is not None],
            )
            connection.executemany("INSERT INTO events (account, body) VALUES (?, ?)", events)
            connection.execute("COMMIT")
            written.get_loop().call_soon_threadsafe(_done, written)
        connection.close()


def _done(written: asyncio.Future[None]) -> None:
    if not written.done():
        written.set_result(None)


def _put(account: Account, record: object) -> None:
    match record:
        case Profile():
            account.add_profile(record)
        case MailingList():
            account.lists[record.id] = record
        case Metric():
            account.add_metric(record)
        case ImportJob():
            account.jobs[record.id] = record
