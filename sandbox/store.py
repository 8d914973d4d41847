"""Which records of the world are kept in the journal, and how they get there and back."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from sandbox.effects import AnyEffect
from sandbox.journal import EMPTIED, LOG, Frame, Journal
from sandbox.state.account import Account
from sandbox.state.events import Block
from sandbox.state.records import AccountRecord, Grant, ImportJob, MailingList, Metric, Profile, Waiting
from sandbox.state.world import World

# In the order they are put back: an account before what is in it, a list before who is on it.
_TYPES: dict[str, Any] = {
    "account": AccountRecord,
    "profile": Profile,
    "list": MailingList,
    "member": float,
    "metric": Metric,
    "job": ImportJob,
    "asked": float,
    "waiting": Waiting,
    LOG: Block,
    "grant": Grant,
    "effect": AnyEffect,
}


class Store:
    """Keeps a world in `directory`/sandbox.journal. Raises journal.InUse where another process does."""

    def __init__(self, world: World, directory: Path) -> None:
        self._world = world
        self._journal = Journal(directory / "sandbox.journal")
        self._encode = msgspec.msgpack.Encoder().encode
        world.changes.save = self.save

    def load(self) -> None:
        """Put everything of the file into the world; what was accepted and not done yet is done now."""
        frames: dict[str, list[Frame]] = defaultdict(list)
        for frame in self._journal.read():
            frames[frame.kind].append(frame)
        for kind, record_type in _TYPES.items():
            decode = msgspec.msgpack.Decoder(record_type).decode
            for frame in frames[kind]:
                self._put(frame, decode(frame.body or b""))
        for account in self._world.accounts.values():
            account.restore_deleted()
        self._world.settle()
        self.save()

    def save(self) -> None:
        """Write what changed; it is in the file when this returns."""
        changes, world = self._world.changes, self._world
        if not (changes.records or changes.logs or changes.emptied):
            return
        frames = [Frame(EMPTIED, "", "", None)] if changes.emptied else []
        for kind, owner, key in changes.records:
            value = self._value(kind, owner, key)
            frames.append(Frame(kind, owner, key, None if value is None else self._encode(value)))
        logs = [world.accounts[owner] for owner in changes.logs]
        frames += [Frame(LOG, account.id, "", self._encode(account.events.unsaved())) for account in logs]
        self._journal.write(frames)
        for account in logs:
            account.events.saved()
        changes.clear()

    def close(self) -> None:
        """Write the rest and close the file."""
        self.save()
        self._journal.close()

    def _value(self, kind: str, owner: str, key: str) -> Any:
        """A record as it is now; None when it is gone."""
        if kind == "grant":
            return self._world.grants.all.get(key)
        if kind == "effect":
            return self._world.pending.get(int(key))
        account = self._world.accounts[owner]
        match kind:
            case "account":
                return account.record
            case "list":
                held = account.lists.get(key)
                return None if held is None else msgspec.structs.replace(held, members={})
            case "member":
                list_id, _, profile_id = key.partition(" ")
                return account.lists[list_id].members.get(profile_id) if list_id in account.lists else None
            case _:
                return _held(account, kind).get(key)

    def _put(self, frame: Frame, record: Any) -> None:
        world = self._world
        match frame.kind:
            case "account":
                world.accounts[record.id] = Account(record, world.changes)
            case "grant":
                world.grants.add(record)
            case "effect":
                world.pending[int(frame.key)] = record
            case "profile":
                world.accounts[frame.owner].add_profile(record)
            case "metric":
                world.accounts[frame.owner].add_metric(record)
            case "member":
                list_id, _, profile_id = frame.key.partition(" ")
                world.accounts[frame.owner].lists[list_id].members[profile_id] = record
            case "log":
                world.accounts[frame.owner].events.restore(record)
            case _:
                _held(world.accounts[frame.owner], frame.kind)[frame.key] = record


def _held(account: Account, kind: str) -> dict[str, Any]:
    """The records of a kind that are kept by their key alone."""
    held: dict[str, Any] = {
        "profile": account.profiles,
        "list": account.lists,
        "metric": account.metrics,
        "job": account.jobs,
        "asked": account.asked,
        "waiting": account.pending,
    }
    found: dict[str, Any] = held[kind]
    return found
