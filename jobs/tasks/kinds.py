"""Every kind of task, by name."""

from __future__ import annotations

from collections.abc import Callable

from jobs.tasks import backfill, backfill_count, elsewhere, lists, price, profile_now, proof, resend, settle_rest
from jobs.tasks.run import TaskRun

# Quick ones, which a person waits for, go before long ones; a long one gives way after every bite.
QUICK = 0
SOON = 2
LONG = 5

KINDS: dict[str, tuple[int, Callable[[TaskRun], bool]]] = {
    "backfill": (LONG, backfill.step),
    "backfill_count": (SOON, backfill_count.step),
    "elsewhere": (LONG, elsewhere.step),
    "lists": (QUICK, lists.step),
    "price": (SOON, price.step),
    "profile_now": (QUICK, profile_now.step),
    "proof": (SOON, proof.step),
    "resend": (LONG, resend.step),
    "settle_rest": (SOON, settle_rest.step),
}
