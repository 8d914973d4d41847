"""One drain of one lane: its claim, its connection's grant, and calls that take budget and leave a trace."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy.orm import Session

from jobs import context, pace
from jobs.claim import Claim, guard
from webapp import clock
from webapp.database import run_writing
from webapp.extensions import settings
from webapp.klaviyo.answers import Answer, Reached
from webapp.klaviyo.client import Call
from webapp.models import Attempt, Batch, BatchOutcome, Connection, Lane
from webapp.services import grants, scope_matrix

T = TypeVar("T")
FAST_SECONDS, SLOW_SECONDS = 3.0, 8.0
LONGEST_BACK_OFF = 300.0


class Hold(Exception):
    """Stop here: nothing may be sent before `until` (database's clock), or for `seconds`."""

    def __init__(self, *, until: datetime | None = None, seconds: float = 0.0) -> None:
        super().__init__("hold the lane")
        self.until = until
        self.seconds = seconds


@dataclass(slots=True)
class Run:
    """What a step works with. `due_at`: the earliest moment something that waits for a time comes due."""

    held: Claim
    connection: Connection
    grant: grants.UsableGrant
    lane: Lane
    ends_at: float
    due_at: datetime | None = None

    def time_left(self) -> bool:
        """Whether the time slice goes on."""
        return time.monotonic() < self.ends_at

    def write(self, work: Callable[[Session], T], **lane_values: object) -> T:
        """`work(session)` in one transaction guarded by the fence. Raises FenceLost."""

        def guarded(session: Session) -> T:
            guard(session, self.held, **lane_values)
            return work(session)

        return run_writing(guarded)

    def call(self, call: Call, *, size: int, batch: Batch | None = None) -> Answer:
        """Reserve budget and renew the lease in one commit, call Klaviyo, write the attempt down.

        A 401 is answered with a refreshed token once. Raises Hold where there is no budget or too many calls came.
        """
        account = self.connection.klaviyo_account_id
        try:
            self.write(lambda session: pace.reserve(session, account, call.endpoint))
        except pace.OverBudget as over:
            raise Hold(until=over.until) from None
        answer = self._ask(call, size, batch)
        if answer.status == 401:
            self.grant = grants.usable(self.held.connection_id, newer_than=self.grant.version)
            answer = self._ask(call, size, batch)
        if answer.status == 429:
            raise Hold(seconds=float(answer.retry_after or 1) + random.random())  # noqa: S311 - jitter
        return answer

    def _ask(self, call: Call, size: int, batch: Batch | None) -> Answer:
        started_at = clock.now()
        client = context.client(settings().klaviyo_api_url)
        seconds = SLOW_SECONDS if self.held.slow else FAST_SECONDS
        answer = client.call(call, self.grant.access_token, seconds=seconds)
        attempt = Attempt(
            batch_id=batch.id if batch else None,
            connection_id=self.held.connection_id,
            endpoint=call.endpoint.name,
            size=size,
            started_at=started_at,
            duration_ms=answer.duration_ms,
            http_status=answer.status,
            outcome=answer.reached if answer.status is None else "answered",
            request_id=answer.request_id,
            revision=answer.revision,
            retry_after=answer.retry_after,
            error=None if answer.ok else answer.sentence,
        )
        run_writing(lambda session: self._note(session, call, answer, attempt))
        return answer

    def _note(self, session: Session, call: Call, answer: Answer, attempt: Attempt) -> None:
        """Attempts are written without the fence too: the call was made, whoever holds the lane now."""
        session.add(attempt)
        pace.learn(session, self.connection.klaviyo_account_id, call.endpoint, answer)
        refused = answer.status == 403 and answer.is_json
        if answer.ok or refused:
            scope_matrix.note(
                session, self.held.connection_id, call.endpoint.scopes, call.endpoint.name, proven=answer.ok
            )

    def back_off(self) -> Hold:
        """Full jitter over an exponential back-off, at least half a second."""
        longest = min(LONGEST_BACK_OFF, 2.0 ** min(self.lane.failures + 1, 9))
        return Hold(seconds=0.5 + random.uniform(0, longest))  # noqa: S311 - jitter

    def later(self, moment: datetime) -> None:
        """Something in this lane comes due at `moment`."""
        self.due_at = moment if self.due_at is None else min(self.due_at, moment)


def is_unknown(answer: Answer) -> bool:
    """Whether Klaviyo may have done it all the same: no answer, or a server error."""
    return answer.reached is Reached.UNKNOWN or (answer.status is not None and answer.status >= 500)


def finish(session: Session, batch: Batch, outcome: BatchOutcome) -> None:
    """Record what came of a batch."""
    found = session.get_one(Batch, batch.id)
    found.outcome = outcome
    found.finished_at = clock.now()
