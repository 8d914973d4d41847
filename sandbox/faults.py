"""Faults that people and tests order: this many calls of that endpoint go wrong in such a way."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Kind = Literal[
    "429",
    "500",
    "503",
    "401",
    "403",
    "html-403",
    "timeout",
    "hang",
    "reset",
    "slow",
    "after-commit-reset",
    "slow-jobs",
]


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """One order. No account or endpoint: all of them. `times` None: until deleted; it counts down to 0.

    What would never strike, or not as it says, is refused: a check that orders it would pass without its fault.
    """

    kind: Kind
    account: str | None = None
    endpoint: str | None = None
    times: Annotated[int, Meta(ge=1)] | None = None
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    retry_after: Annotated[int, Meta(ge=0)] | None = None
    seconds: Annotated[float, Meta(ge=0)] | None = None

    def matches(self, account: str, endpoint: str) -> bool:
        """Whether this order is meant for such a call; chance has its say."""
        if self.times is not None and self.times <= 0:
            return False
        if self.account not in {None, account} or self.endpoint not in {None, endpoint}:
            return False
        return self.probability >= 1 or random.random() < self.probability


class Faults:
    """The orders that stand."""

    def __init__(self) -> None:
        self._orders: list[Fault] = []

    def add(self, order: Any) -> Fault:
        """Add one from its JSON. Raises msgspec.ValidationError where it is wrong."""
        if isinstance(order, dict) and isinstance(order.get("kind"), int):
            order = {**order, "kind": str(order["kind"])}
        fault = msgspec.convert(order, Fault)
        self._orders.append(fault)
        return fault

    def take(self, account: str, endpoint: str, *, jobs: bool = False) -> Fault | None:
        """The first order for this call, used up by one. `jobs`: only slow-jobs, else never them."""
        for order in self._orders:
            if (order.kind == "slow-jobs") is jobs and order.matches(account, endpoint):
                if order.times is not None:
                    order.times -= 1
                return order
        return None

    def all(self) -> list[Fault]:
        """The orders, oldest first."""
        return self._orders

    def clear(self) -> None:
        """Take every order back."""
        self._orders.clear()
