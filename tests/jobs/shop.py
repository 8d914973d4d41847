"""A connection with a Klaviyo of its own, people in and out of it, and lanes drained in the test's own process."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from flask import Flask
from sqlalchemy import select, update

from jobs import context, drain
from tests.jobs.klaviyo import Asked, FakeKlaviyo, Given
from tests.rows import ALL_SCOPES, Rows
from webapp import clock
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import ActivityType, Kind, SyncBehavior
from webapp.database import reading, writing
from webapp.dialects import db_now
from webapp.extensions import settings
from webapp.models import Attempt, Batch, BatchOutcome, Connection, Delivery, FieldChoice, Lane, Person, ProfileLink
from webapp.services.activities.delivery_maker import LIFE
from webapp.services.lanes import LANE_OF
from webapp.services.people import consents, records
from webapp.services.people.consents import Place
from webapp.services.workspaces import snapshot

SIZE = 8  # of a bulk call of events, under `few_fill_a_call`
_numbers = itertools.count(1)


class Killed(BaseException):
    """What ends a worker at once."""


class Shop:
    """One connection, `update_existing` and all scopes unless said otherwise, sharing points and the tier's name."""

    def __init__(self, rows: Rows, **values: Any) -> None:
        self.rows = rows
        self.klaviyo = FakeKlaviyo(settings().klaviyo_api_url)
        self.workspace = rows.workspace()
        for name in ("points", "tier_name"):
            rows.save(FieldChoice(workspace_id=self.workspace.id, field=name, is_on=True, changed_at=clock.now()))
        self.connection: Connection = rows.connection(self.workspace, **{"scopes": ALL_SCOPES, **values})

    def person(self, *, there: bool = True, remembered: bool = False) -> Person:
        """Somebody, in Klaviyo or not; `remembered`: and looked up a moment ago."""
        made = self.rows.person(self.workspace, f"person-{next(_numbers)}@example.com")
        profile_id = self.klaviyo.put(str(made.email)) if there else None
        if remembered:
            self.rows.link(self.connection, made, found=there, klaviyo_id=profile_id)
        return made

    def event(self, person: Person, **values: Any) -> Delivery:
        """An event that is due. It was accepted two minutes ago, so that nobody's creation is waited for."""
        ago = clock.now() - timedelta(minutes=2)
        made = self.rows.activity(self.workspace, person, **values)
        return self.rows.delivery(made, self.connection, created_at=ago, expires_at=ago + LIFE)

    def in_turns(self, count: int = 3 * SIZE, people: int = 3) -> tuple[list[Person], list[Delivery]]:
        """Due events of a few remembered people, in turns, numbered by their property `n`."""
        known = [self.person(remembered=True) for _ in range(people)]
        return known, [self.event(known[n % people], properties=f'{{"n":{n}}}') for n in range(count)]

    def put_off(self, person: Person, seconds: float = 60) -> Delivery:
        """An event that is to be looked at again in a while."""
        made = self.event(person)
        with writing() as session:
            due_at = clock.now() + timedelta(seconds=seconds)
            session.execute(update(Delivery).where(Delivery.id == made.id).values(due_at=due_at))
        return made

    def fields(self, person: Person, **news: Any) -> Delivery:
        """A change of a person's fields that is due."""
        with writing() as session:
            row = session.get_one(Person, person.id)
            held, on = orjson.loads(row.fields), snapshot.load(session, self.workspace.id).fields_on
            merged, version = records.merge_fields(held, row.fields_version, news, clock.now(), on)
            row.fields, row.fields_version = orjson.dumps(merged).decode(), version
        made = self.rows.activity(self.workspace, person, type=ActivityType.PROFILE, event=None, properties=None)
        return self.rows.delivery(made, self.connection, kind=Kind.FIELDS)

    def consent(self, person: Person, state: str = "subscribed", at: datetime | None = None) -> Delivery:
        """A consent that is due."""
        at = at or clock.now()
        said = {"channel": "email", "state": state, "source": "form", "collected_by": "checkbox"}
        text = orjson.dumps(said).decode()
        plain = {"type": ActivityType.CONSENT, "event": None, "properties": None}
        made = self.rows.activity(self.workspace, person, consent=text, occurred_at=at, **plain)
        with writing() as session:
            row = session.get_one(Person, person.id)
            place = Place(self.connection.id, made.store_id)
            row.consents, _ = consents.merged(row.consents, said, at, made.accepted_at, made.id, place)
        return self.rows.delivery(made, self.connection, kind=Kind.CONSENT)

    def due(self, kind: Kind, person: Person) -> Delivery:
        """Something of this kind that is due."""
        if kind is Kind.EVENT:
            return self.event(person)
        return self.fields(person, points=1) if kind is Kind.FIELDS else self.consent(person)

    def lane(self, kind: Kind) -> Lane:
        """A lane as it stands."""
        with reading() as session:
            mine = (Lane.connection_id == self.connection.id, Lane.kind == LANE_OF[kind])
            return session.scalars(select(Lane).where(*mine)).one()

    def open_batches(self, kind: Kind) -> list[Batch]:
        """The batches of a lane whose end nobody knows, oldest first."""
        with reading() as session:
            mine = (Batch.lane_id == self.lane(kind).id, Batch.outcome == BatchOutcome.UNKNOWN)
            return list(session.scalars(select(Batch).where(*mine).order_by(Batch.id)))

    def drain(self, kind: Kind, times: int = 1) -> None:
        """Drain a lane as a worker would; before each further time whatever holds it back is over."""
        for number in range(times):
            if number:
                self.wait_is_over()
            with self.working():
                drain.drain(self.lane(kind).id)
        self.check_counters()

    @contextmanager
    def working(self) -> Iterator[None]:
        """This process is a worker's; what it sends to Klaviyo comes to this shop's."""
        with pytest.MonkeyPatch.context() as patch, self.klaviyo.answering():
            patch.setattr(drain, "SLICE_SECONDS", 5)
            patch.setattr(context, "app", _current)
            yield

    def dies(self, kind: Kind, endpoint: str) -> None:
        """A worker that dies while it waits for the answer of its next call there; its lease is over soon after."""

        def killed(_asked: Asked) -> Given:
            raise Killed

        self.klaviyo.script(endpoint, killed)
        with pytest.raises(Killed):
            self.drain(kind)
        self.klaviyo.asked.pop()  # nobody was left to write it down
        with writing() as session:
            session.merge(self.lane(kind)).lease_until = clock.now() - timedelta(seconds=1)

    def wait_is_over(self) -> None:
        """Pretend that every wait is over: of lanes, of budgets, of deliveries, of import jobs."""
        from webapp.models import Budget

        with writing() as session:
            mine = Lane.connection_id == self.connection.id
            session.execute(update(Lane).where(mine).values(held_until=None, next_at=db_now()))
            account = self.connection.klaviyo_account_id
            session.execute(update(Budget).where(Budget.klaviyo_account_id == account).values(blocked_until=None))
            owed = (Delivery.connection_id == self.connection.id, Delivery.status == Status.WAITING)
            session.execute(update(Delivery).where(*owed).values(due_at=db_now()))
            jobs = (Batch.connection_id == self.connection.id, Batch.job_due_at.is_not(None))
            session.execute(update(Batch).where(*jobs).values(job_due_at=db_now()))

    def now(self, delivery: Delivery) -> Delivery:
        """A delivery as it stands."""
        with reading() as session:
            return session.get_one(Delivery, delivery.id)

    def said(self, *deliveries: Delivery) -> list[str]:
        """`status: reason` of deliveries."""
        rows = [self.now(delivery) for delivery in deliveries]
        return [f"{row.status}: {row.reason}" for row in rows]

    def link(self, person: Person) -> ProfileLink:
        """What is remembered of a person."""
        with reading() as session:
            return session.get_one(ProfileLink, (self.connection.id, person.id))

    def again(self) -> Connection:
        """The connection as it stands."""
        with reading() as session:
            return session.get_one(Connection, self.connection.id)

    def batches(self) -> list[Batch]:
        """Every batch of it."""
        with reading() as session:
            return list(
                session.scalars(select(Batch).where(Batch.connection_id == self.connection.id).order_by(Batch.id))
            )

    def attempts(self) -> list[tuple[str, int | None, str]]:
        """Every call that was written down: endpoint, status, outcome."""
        with reading() as session:
            statement = select(Attempt).where(Attempt.connection_id == self.connection.id).order_by(Attempt.id)
            return [(a.endpoint, a.http_status, a.outcome) for a in session.scalars(statement)]

    def check_counters(self) -> None:
        """E1: the lanes count what the rows say, and every call that was made is written down."""
        with reading() as session:
            rows = list(session.scalars(select(Delivery).where(Delivery.connection_id == self.connection.id)))
        for kind in Kind:
            lane, counted = self.lane(kind), Counter(row.status for row in rows if row.kind is kind)
            found = (lane.delivered, lane.skipped, lane.failed, lane.made)
            assert found == (*(counted[s] for s in (Status.DELIVERED, Status.SKIPPED, Status.FAILED)), counted.total())
            assert lane.owner is None or lane.stopped
        assert len(self.attempts()) == len(self.klaviyo.asked)


def _current() -> Flask:
    from flask import current_app

    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # what the proxy stands for
    return app


CREATES = SyncBehavior.CREATE_PROFILE
