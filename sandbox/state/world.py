"""The whole of the stand-in: accounts, grants, limits, faults, counts, and what takes effect later."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Protocol

from sandbox.errors import not_found
from sandbox.faults import Faults
from sandbox.ledger import Ledger
from sandbox.limits import Limits
from sandbox.options import Options
from sandbox.state.account import Account
from sandbox.state.changes import Changes
from sandbox.state.grants import Grants
from sandbox.state.records import AccountRecord

_JOB_SECONDS = 0.03


class Effect(Protocol):
    """What an accepted call does to an account."""

    def apply(self, world: World) -> None:
        """Do it."""


class World:
    """One running stand-in."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.changes = Changes(kept=options.data_dir is not None)
        self.accounts: dict[str, Account] = {}
        self.grants = Grants(options.token_seconds, self.changes)
        self.limits = Limits(options.limit_factor)
        self.faults = Faults()
        self.ledger = Ledger()
        # Accepted and promised, not yet done: it is in the state file too, so that a 202 outlives the process.
        self.pending: dict[int, Effect] = {}
        self._number = 0
        self._saves_soon = False

    def add_account(self, account_id: str, name: str, opt_in: str) -> Account:
        """A new, empty account."""
        account = Account(AccountRecord(account_id, name, opt_in), self.changes)
        self.accounts[account_id] = account
        account.touch("account")
        return account

    def account(self, account_id: str) -> Account:
        """An account by id. Raises Refused (404)."""
        if account_id not in self.accounts:
            raise not_found("account", account_id)
        return self.accounts[account_id]

    def save(self) -> None:
        """Write what changed to the state file; it is there when this returns."""
        self.changes.save()

    def accept(self, account: Account, endpoint: str, effects: Iterable[Effect], *, at_once: bool = False) -> None:
        """Let an accepted call take effect: `at_once` or shortly, but late and in any order under a slow-jobs fault."""
        fault = self.faults.take(account.id, endpoint, jobs=True)
        for effect in effects:
            if fault is not None:
                self._later(_spread(fault.seconds), effect)
            elif at_once:
                effect.apply(self)
            else:
                self._later(_JOB_SECONDS, effect)

    def _later(self, seconds: float, effect: Effect) -> None:
        self._number += 1
        number = self._number
        self.pending[number] = effect
        self.changes.note("effect", "", str(number))

        def run() -> None:
            if self.pending.get(number) is effect:
                self._apply(number)
                self._save_soon()

        asyncio.get_running_loop().call_later(seconds, run)

    def _apply(self, number: int) -> None:
        effect = self.pending.pop(number)
        self.changes.note("effect", "", str(number))
        effect.apply(self)

    def _save_soon(self) -> None:
        """Save once for all effects of this moment."""
        if not self._saves_soon:
            self._saves_soon = True
            asyncio.get_running_loop().call_soon(self._save_now)

    def _save_now(self) -> None:
        self._saves_soon = False
        self.save()

    def settle(self) -> None:
        """Let everything that waits take effect now."""
        for number in list(self.pending):
            self._apply(number)

    def empty(self) -> None:
        """Forget everything, the state file's content too."""
        self.pending.clear()
        self.faults.clear()
        self.ledger.forget()
        self.limits.forget()
        self.grants.clear()
        self.accounts.clear()
        self.changes.forget_all()


def _spread(seconds: float | None) -> float:
    """A delay of at least the ordered one, spread so that the order becomes anybody's guess."""
    ordered = 1.0 if seconds is None else seconds
    return ordered * (1 + random.random() * 0.25)
