"""One drain of one lane: its claim, its connection's grant, and calls that take budget and leave a trace.

A call is three steps: `reserve` (with the batch row, in one commit), `send` (HTTP, no transaction open), `write` (what
came of it, under the fence, with the attempts). Nothing is sent without a reservation, nothing settled without a fence.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import bindparam, exists, select
from sqlalchemy.orm import Session

from jobs import attempts, context, pace
from jobs.claim import LEASE_SECONDS, Claim, FenceLost, guard
from jobs.outcomes import Outcome, outcome
from webapp import clock, queue
from webapp.catalogue.words import SyncBehavior
from webapp.database import reading, run_writing
from webapp.dialects import one_of
from webapp.extensions import settings
from webapp.klaviyo.answers import Answer
from webapp.klaviyo.client import Call, KlaviyoClient
from webapp.klaviyo.endpoints import Endpoint
from webapp.models import Batch, Connection, Lane
from webapp.models.tables import CONNECTIONS, PEOPLE
from webapp.services.oauth import grants, scope_matrix
from webapp.services.operations import api_clock
from webapp.services.workspaces import snapshot
from webapp.services.workspaces.snapshot import WorkspaceSettings

T = TypeVar("T")
FAST_SECONDS, SLOW_SECONDS = 3.0, 8.0
LONGEST_BACK_OFF = 60.0  # after an outage everybody is back within this time
AT_ONCE = 8
ASKING_SECONDS = 20.0  # RQ ends a drain after a minute, whatever it is at
_BEHAVIOR = select(CONNECTIONS.c.sync_behavior).where(CONNECTIONS.c.id == bindparam("connection"))
_LIST = select(CONNECTIONS.c.list_id).where(CONNECTIONS.c.id == bindparam("connection"))
_ERASED = select(exists().where(one_of(PEOPLE.c.id), PEOPLE.c.email.is_(None)))


class Hold(Exception):
    """Stop here: nothing may be sent before `until` (database's clock), or for `seconds`.

    `limited`: for Klaviyo's limits, by our own count or by its 429, and not because something failed.
    """

    def __init__(self, *, until: datetime | None = None, seconds: float = 0.0, limited: bool = False) -> None:
        super().__init__("hold the lane")
        self.until = until
        self.seconds = seconds
        self.limited = limited


class Stale(Exception):
    """What was planned no longer holds: other settings were saved meanwhile, or somebody was erased. Plan anew."""


class Taken(NamedTuple):
    """A call that Klaviyo took and whose deliveries do not say so yet. `record` writes it down. Raises FenceLost."""

    delivery_ids: frozenset[int]
    record: Callable[[], None]


@dataclass(slots=True)
class Run:
    """What a step works with. `ends_at`: of the slice of its own; `alone_until`: of what it may have while nobody else
    waits (monotonic seconds). `attempts` were made and not written down yet; `share` of each budget may be used.

    `settings_version`: the workspace's, as seen last. `open_batches`: ids of the lane's whose end nobody knows.
    `not_taken`: the last answer that was no yes. `began`: since when this drain has the lane; what was looked up since
    then is fresh. `ahead`: the next batch, while it is being prepared, see `jobs.events.ahead`; `taken`: the call
    before it, which is written down while the next one is under way. `line_is_empty`: all that stood in the line of an
    events lane was delivered; what was added since it was claimed is not known.
    """

    held: Claim
    connection: Connection
    grant: grants.UsableGrant
    lane: Lane
    ends_at: float
    alone_until: float
    settings_version: int = 0
    open_batches: set[int] = field(default_factory=set)
    share: float = 1.0
    timed_out: bool = False
    quick_again: bool = False
    began: datetime = field(default_factory=clock.now)
    not_taken: Answer | None = None
    ahead: Future[Any] | None = None
    taken: Taken | None = None
    line_is_empty: bool = False
    attempts: list[dict[str, Any]] = field(default_factory=list)
    _undelivered: list[Sequence[int]] = field(default_factory=list)
    _answers: list[tuple[Endpoint, Answer]] = field(default_factory=list)
    _limits: dict[str, dict[str, int]] = field(default_factory=dict)
    _left: dict[str, int] = field(default_factory=dict)
    _held_at: float = field(default_factory=time.monotonic)

    def time_left(self) -> bool:
        """Whether the time slice goes on that it has whoever else waits."""
        return not context.life.is_ending and time.monotonic() < self.ends_at

    def may_go_on(self) -> bool:
        """Whether to go on with what nobody has begun: while no other lane waits for a worker, and not for long."""
        if context.life.is_ending or time.monotonic() >= self.alone_until:
            return False
        return not queue.somebody_waits(slow=self.held.slow)

    def may_ask_on(self) -> bool:
        """Whether there is time for more of a question that takes many calls, and for what is done with the answers."""
        return time.monotonic() < self.ends_at + ASKING_SECONDS

    def workspace_settings(self) -> WorkspaceSettings:
        """The workspace's settings as they are now."""
        with reading() as session:
            return snapshot.load(session, self.held.workspace_id)

    def settings_seen(self) -> WorkspaceSettings:
        """Those of the version that was seen last, or newer ones."""
        return snapshot.of_version(self.held.workspace_id, self.settings_version)

    def write(self, work: Callable[[Session], T], **lane_values: object) -> T:
        """`work(session)` with the attempts made so far, in one transaction guarded by the fence. Raises FenceLost."""
        if self.held.slow and self.quick_again:
            lane_values["slow"] = False

        def guarded(session: Session) -> T:
            guard(session, self.held, **lane_values)
            self._note(session)
            return work(session)

        began = time.monotonic()
        try:
            result = run_writing(guarded)
        except FenceLost:
            self.flush()
            raise
        self._held_at = began
        self._forget_attempts()
        return result

    def flush(self) -> None:
        """Write down attempts whoever holds the lane now: the calls were made."""
        if self.attempts:
            run_writing(self._note)
            self._forget_attempts()

    def reserve(self, session: Session, endpoint: Endpoint, calls: int = 1) -> int:
        """Take budget in the caller's transaction; how many calls. Raises Hold."""
        try:
            taken = pace.reserve(session, self.connection.klaviyo_account_id, endpoint, calls, share=self.share)
        except pace.OverBudget as over:
            raise Hold(until=over.until, limited=True) from None
        self._limits[endpoint.name] = taken.limits
        self._left[endpoint.name] = taken.left
        return taken.calls

    def has_room(self, endpoint: Endpoint, calls: int) -> bool:
        """Whether so many could be reserved when this drain last did so. False where it did not."""
        return self._left.get(endpoint.name, 0) >= calls

    def check_creates(self, session: Session) -> None:
        """In the transaction that reserves a call which creates people: whether that is still wanted. Raises Stale."""
        behavior = session.connection().scalar(_BEHAVIOR, {"connection": self.held.connection_id})
        if behavior is not SyncBehavior.CREATE_PROFILE:
            raise Stale

    def check_list(self, session: Session) -> None:
        """In the transaction that reserves a call for the chosen list: whether it is still the one. Raises Stale."""
        chosen = session.connection().scalar(_LIST, {"connection": self.held.connection_id})
        if chosen != self.connection.list_id:
            raise Stale

    def check_people(self, session: Session, person_ids: Iterable[int]) -> None:
        """In the transaction that opens a call: whether all of them are still there. Raises Stale after an erasure."""
        if session.connection().scalar(_ERASED, {"ids": list(person_ids)}):
            raise Stale

    def call(self, call: Call, *, size: int) -> Answer:
        """Reserve and send one call that leaves no batch behind. Raises Hold, also after a 429."""
        self.write(lambda session: self.reserve(session, call.endpoint))
        answer = self.send(call, size=size)
        if answer.status == 429:
            raise self.hold_after([answer])
        return answer

    def send(
        self, call: Call, *, size: int, batch: Batch | None = None, deliveries: Sequence[int] | None = None
    ) -> Answer:
        """Send what was reserved. A 401 is answered with a refreshed token once. Raises Hold (no budget).

        `deliveries`: the ids it holds; those of the batch unless given.
        """
        return self.send_all([call], [size], batch, None if deliveries is None else [deliveries])[0]

    def send_all(
        self,
        calls: Sequence[Call],
        sizes: Sequence[int],
        batch: Batch | None = None,
        deliveries: Sequence[Sequence[int]] | None = None,
    ) -> list[Answer]:
        """Send reserved calls of one endpoint, up to AT_ONCE at the same time; their answers in order. See `send`."""
        held = [attempts.deliveries_of(batch)] * len(calls) if deliveries is None else deliveries
        client = context.client(settings().klaviyo_api_url)
        token = self.grant.access_token
        under_way = self._ask_all(client, calls, token)
        try:
            self.catch_up()
        finally:  # whatever came of that: these are made, and nothing of them goes on behind our back
            answers = [answer_of() for answer_of in under_way]
            for index, answer in enumerate(answers):
                self._keep(calls[index], answer, sizes[index], batch, held[index])
        refused = [index for index, answer in enumerate(answers) if answer.status == 401]
        if refused:
            self.grant = grants.usable(self.held.connection_id, newer_than=self.grant.version)
            # Calls like any others: they take budget, and the lease is renewed after the refresh.
            taken = self.write(partial(self.reserve, endpoint=calls[0].endpoint, calls=len(refused)))
            under_way = self._ask_all(client, [calls[index] for index in refused[:taken]], self.grant.access_token)
            for index, answer_of in zip(refused, under_way, strict=False):
                answers[index] = answer_of()
                self._keep(calls[index], answers[index], sizes[index], batch, held[index])
        return answers

    def catch_up(self) -> None:
        """Write down the call before, if that is still to be done. Raises FenceLost."""
        before, self.taken = self.taken, None
        if before is not None:
            before.record()

    def hold_after(self, answers: Sequence[Answer]) -> Hold:
        """How long to wait after answers that are to be asked again: what a 429 says with jitter, else a back-off."""
        asked = [answer.retry_after or 1 for answer in answers if answer.status == 429]
        if not asked:
            return self.back_off()
        return Hold(seconds=float(max(asked)) + random.random(), limited=True)  # noqa: S311 - jitter

    def _ask_all(self, client: KlaviyoClient, calls: Sequence[Call], token: str) -> list[Callable[[], Answer]]:
        """Each gives its answer once there is one. A single call with nothing to be done beside it is made then."""
        if len(calls) == 1 and self.taken is None:
            return [partial(self._ask, client, calls[0], token)]
        return [_threads().submit(self._ask, client, call, token).result for call in calls]

    def _ask(self, client: KlaviyoClient, call: Call, token: str) -> Answer:
        seconds = SLOW_SECONDS if self.held.slow else FAST_SECONDS
        # Nothing is sent when its answer could come after the lease: by then the lane may be somebody else's.
        deadline = self._held_at + LEASE_SECONDS - seconds - 0.5
        return client.call(call, token, seconds=seconds, deadline=deadline)

    def _keep(self, call: Call, answer: Answer, size: int, batch: Batch | None, held: Sequence[int]) -> None:
        long = answer.duration_ms >= 900 * FAST_SECONDS
        self.timed_out = self.timed_out or (long and outcome(answer) is Outcome.UNKNOWN)
        self.quick_again = answer.ok and not long
        self.not_taken = self.not_taken if answer.ok else answer
        self.attempts.append(attempts.row_of(self.held.connection_id, call, answer, size, batch))
        # Where a call delivered, `deliveries.batch_id` says which it was; a call that did not is written besides.
        self._undelivered.append([] if outcome(answer) is Outcome.DONE else held)
        self._answers.append((call.endpoint, answer))

    def _note(self, session: Session) -> None:
        attempts.write(session, self.attempts, self._undelivered)
        for endpoint, answer in self._answers:
            known = self._limits.get(endpoint.name, {})
            pace.learn(session, self.connection.klaviyo_account_id, endpoint, answer, known)
            api_clock.note(session, self.connection, answer.revision, answer.retires)
            refused = answer.status == 403 and answer.is_json
            if answer.ok or refused:
                note = partial(scope_matrix.note, session, self.held.connection_id, endpoint.scopes, endpoint.name)
                note(proven=answer.ok, account=self.connection.klaviyo_account_id)

    def _forget_attempts(self) -> None:
        self.attempts.clear()
        self._undelivered.clear()
        self._answers.clear()

    def back_off(self) -> Hold:
        """Full jitter over an exponential back-off, at least half a second."""
        longest = min(LONGEST_BACK_OFF, 2.0 ** min(self.lane.failures + 1, 9))
        return Hold(seconds=random.uniform(0.5, longest))  # noqa: S311 - jitter


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="klaviyo")
