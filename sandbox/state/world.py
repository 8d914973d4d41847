"""The whole of the stand-in: accounts, grants, limits, faults, counts, and what takes effect later."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from sandbox.errors import not_found
from sandbox.faults import Faults
from sandbox.ledger import Ledger
from sandbox.limits import Limits
from sandbox.options import Options
from sandbox.state.account import Account
from sandbox.state.grants import Grants
from sandbox.state.records import AccountRecord

Effect = Callable[[], object]
_JOB_SECONDS = 0.03


class World:
    """One running stand-in."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.accounts: dict[str, Account] = {}
        self.grants = Grants(options.token_seconds)
        self.limits = Limits(options.limit_factor)
        self.faults = Faults()
        self.ledger = Ledger()
        self.was_emptied = False
        self._pending: dict[int, tuple[asyncio.TimerHandle, Effect]] = {}
        self._numbers = iter(range(1 << 62))

    def add_account(self, account_id: str, name: str, opt_in: str) -> Account:
        """A new, empty account."""
        account = Account(AccountRecord(account_id, name, opt_in))
        self.accounts[account_id] = account
        account.touch("account")
        return account

    def account(self, account_id: str) -> Account:
        """An account by id. Raises Refused (404)."""
        if account_id not in self.accounts:
            raise not_found("account", account_id)
        return self.accounts[account_id]

    def accept_events(self, account: Account, endpoint: str, effects: Sequence[Effect]) -> None:
        """Let accepted events take effect: at once, or late and in any order under a slow-jobs fault."""
        fault = self.faults.take(account.id, endpoint, jobs=True)
        if fault is None:
            for effect in effects:
                effect()
            return
        for effect in effects:
            self._later(_spread(fault.seconds), effect)

    def accept_job(self, account: Account, endpoint: str, effects: Sequence[Effect]) -> None:
        """Let the items of a job take effect shortly after the answer, or late under a slow-jobs fault."""
        fault = self.faults.take(account.id, endpoint, jobs=True)
        for effect in effects:
            self._later(_JOB_SECONDS if fault is None else _spread(fault.seconds), effect)

    def _later(self, seconds: float, effect: Effect) -> None:
        number = next(self._numbers)

        def run() -> None:
            del self._pending[number]
            effect()

        self._pending[number] = (asyncio.get_running_loop().call_later(seconds, run), effect)

    def settle(self) -> None:
        """Let everything that waits take effect now."""
        pending, self._pending = self._pending, {}
        for handle, effect in pending.values():
            handle.cancel()
            effect()

    def forget_pending(self) -> None:
        """Drop everything that waits."""
        for handle, _ in self._pending.values():
            handle.cancel()
        self._pending.clear()


def _spread(seconds: float | None) -> float:
    """A delay of at least the ordered one, spread so that the order becomes anybody's guess."""
    ordered = 1.0 if seconds is None else seconds
    return ordered * (1 + random.random() * 0.25)
