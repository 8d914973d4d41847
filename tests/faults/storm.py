"""A storm: activities posted over HTTP while things break, then Klaviyo's ledger and our rows compared one by one.

The world is two accounts of one workspace: `ACCTSE` only updates, `ACCTNO` creates. Every person's events carry a
number that grows, every person's points likewise: order and convergence can be read off the ledger.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from flask import Flask
from sqlalchemy import and_, func, not_, select, update

from tests.processes import wait_for
from tests.rows import Rows
from tests.stack import Stack
from webapp import create_app
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import reading, writing
from webapp.klaviyo.oauth import TokenSet
from webapp.models import Connection, Delivery, Lane, LaneKind, ProfileLink, Store, Workspace
from webapp.services.activities.ingest import unique_id
from webapp.services.oauth import grants
from webapp.settings import load

STORES = {"ACCTSE": ("se", SyncBehavior.UPDATE_EXISTING), "ACCTNO": ("no", SyncBehavior.CREATE_PROFILE)}
LANE_KINDS = {Kind.EVENT: LaneKind.EVENTS, Kind.FIELDS: LaneKind.FIELDS, Kind.CONSENT: LaneKind.CONSENTS}


@dataclass
class World:
    """A running product with two connected accounts, and what was posted to it."""

    stack: Stack
    app: Flask
    seed: int
    people: int = 40
    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)
    newest_points: dict[tuple[str, str], int | None] = field(default_factory=dict)
    profiles_before: dict[str, set[str | None]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)  # deleted in Klaviyo meanwhile
    workspace_id: int = 0
    _number: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.began = datetime.now(UTC) - timedelta(hours=2)

    def address(self, account: str, number: int) -> str:
        """A person of an account; every fifth one is not in Klaviyo."""
        return f"{'stranger' if number % 5 == 0 else 'member'}-{number}-{account.lower()}@example.com"

    def connect(self) -> None:
        """Two connections with real grants of the sandbox's, their people put there."""
        rows = Rows()
        with reading() as session:
            workspace = session.scalars(select(Workspace).where(Workspace.slug == "demo")).one()
            stores = {
                s.external_id: s for s in session.scalars(select(Store).where(Store.workspace_id == workspace.id))
            }
        self.workspace_id = workspace.id
        for account, (external_id, behavior) in STORES.items():
            made = rows.connection(workspace, stores[external_id], klaviyo_account_id=account, sync_behavior=behavior)
            granted = self.stack.sandbox.grant(account)
            scopes = frozenset(granted["scope"].split())
            tokens = TokenSet(granted["access_token"], granted["refresh_token"], int(granted["expires_in"]), scopes)
            with writing() as session:
                grants.store(session, made.id, tokens)
                session.execute(update(Workspace).values(version=Workspace.version + 1))
            members = [self.address(account, n) for n in range(self.people) if n % 5]
            self.stack.sandbox.put_profiles(account, *members)
            self.profiles_before[account] = set(self.stack.sandbox.profiles(account))

    def post(self, count: int) -> None:
        """Post `count` activities, the same call again until it is answered: nothing may be lost or doubled by that."""
        batch = [self._activity() for _ in range(count)]
        body = {"activities": batch}
        for _ in range(200):
            try:
                answer = requests.post(
                    f"{self.stack.url}/api/v1/activities",
                    json=body,
                    headers={"Authorization": "Bearer demo-ingest-key"},
                    timeout=20,
                )
            except requests.RequestException:
                time.sleep(0.1)
                continue
            if answer.status_code == 202:
                break
            assert answer.status_code == 503, answer.text
            assert "Retry-After" in answer.headers
            time.sleep(0.1)
        else:
            raise AssertionError("the call was never answered")
        assert answer.json()["rejected"] == []
        self.accepted.update({activity["id"]: activity for activity in batch})

    def _activity(self) -> dict[str, Any]:
        self._number += 1
        account = self.random.choice(list(STORES))
        email = self.address(account, self.random.randrange(self.people))
        is_event = self.random.random() < 0.7
        points = self._number
        self.newest_points[account, email] = points
        return {
            "id": f"storm-{self.seed}-{self._number}",
            "type": "event" if is_event else "profile",
            **(
                {"event": "tier_earned", "properties": {"tierId": "t", "tierName": "T", "n": self._number}}
                if is_event
                else {}
            ),
            "store": STORES[account][0],
            "occurred_at": (self.began + timedelta(milliseconds=self._number)).isoformat(),
            "profile": {"email": email, "fields": {"points": points}},
        }

    def connection(self, account: str) -> Connection:
        """The connection of an account."""
        with reading() as session:
            return session.scalars(select(Connection).where(Connection.klaviyo_account_id == account)).one()

    def connection_by(self, connection_id: int) -> Connection:
        """A connection by its id."""
        with reading() as session:
            return session.get_one(Connection, connection_id)

    def arrived(self, account: str) -> set[str]:
        """The ids, as posted, of the events that an account has."""
        ours = {unique_id(self.workspace_id, identity): identity for identity in self.accepted}
        return {ours[e["unique_id"]] for e in self.stack.sandbox.events(account) if e["unique_id"] in ours}

    def refused_share(self) -> float:
        """Which share of all calls to Klaviyo was answered 429."""
        rows = self.stack.sandbox.call("GET", "/requests")["requests"]
        refused = sum(row["count"] for row in rows if row["status"] == 429)
        return float(refused / max(1, sum(row["count"] for row in rows)))

    def waiting(self) -> int:
        """Deliveries without a final status, by the counters."""
        with reading() as session:
            sums = select(func.sum(Lane.made - Lane.delivered - Lane.skipped - Lane.failed))
            return int(session.scalar(sums) or 0)

    def settle(self, seconds: float = 120) -> None:
        """Wait until nothing waits any more."""
        wait_for(lambda: self.waiting() == 0, "an empty backlog", seconds)

    def make_rewrites_due(self, seconds: float = 60) -> None:
        """Pretend that every write still under way is over, and wait until those people were written once more."""
        with writing() as session:
            past = datetime.now(UTC) - timedelta(seconds=1)
            session.execute(update(ProfileLink).where(ProfileLink.rewrite).values(unsettled_until=past))
            session.execute(update(Lane).where(Lane.kind == LaneKind.FIELDS).values(next_at=past, news=Lane.news + 1))
        wait_for(lambda: self._rewrites() == 0, "the people written once more", seconds)

    def _rewrites(self) -> int:
        """Who is still to be written once more; whoever was missed is asked for later, at moments of their own."""
        missed = and_(ProfileLink.found.is_(False), ProfileLink.unsettled_until > datetime.now(UTC))
        with reading() as session:
            statement = select(func.count()).select_from(ProfileLink).where(ProfileLink.rewrite, not_(missed))
            return session.scalar(statement) or 0

    def check_sums(self) -> None:
        """E1: rows and counters say the same, and every activity has its deliveries."""
        with reading() as session:
            rows = Counter(
                {
                    (row[0], row[1], row[2]): row[3]
                    for row in session.execute(
                        select(Delivery.connection_id, Delivery.kind, Delivery.status, func.count()).group_by(
                            Delivery.connection_id, Delivery.kind, Delivery.status
                        )
                    )
                }
            )
            lanes = {(lane.connection_id, lane.kind): lane for lane in session.scalars(select(Lane))}
            connections = list(session.scalars(select(Connection)))
        for connection in connections:
            for kind, lane_kind in LANE_KINDS.items():
                lane = lanes[connection.id, lane_kind]
                counted = {status: rows[connection.id, kind, status] for status in Status}
                assert lane.delivered == counted[Status.DELIVERED], (connection.klaviyo_account_id, kind, counted)
                assert lane.skipped == counted[Status.SKIPPED], (connection.klaviyo_account_id, kind, counted)
                assert lane.failed == counted[Status.FAILED], (connection.klaviyo_account_id, kind, counted)
                assert lane.made == sum(counted.values()), (connection.klaviyo_account_id, kind, counted)

    def check_ledger(self, *, ordered: bool = True) -> None:
        """E3, E4, E7: each event once, in a person's order, nobody created who may not be, the newest fields.

        Not `ordered` where Klaviyo itself records what it accepted in any order.
        """
        for account, (external_id, behavior) in STORES.items():
            events = self.stack.sandbox.events(account)
            times = Counter(event["unique_id"] for event in events if event["unique_id"])
            assert [key for key, count in times.items() if count > 1] == [], "doubled"
            expected = {
                unique_id(self.workspace_id, activity["id"]): activity
                for activity in self.accepted.values()
                if activity["type"] == "event" and activity["store"] == external_id
            }
            there = self.profiles_before[account]
            if behavior is SyncBehavior.UPDATE_EXISTING:
                expected = {key: a for key, a in expected.items() if a["profile"]["email"] in there}
                assert set(self.stack.sandbox.profiles(account)) == there - self.gone, "created"
            wanted = {key for key, a in expected.items() if a["profile"]["email"] not in self.gone}
            assert wanted - set(times) == set(), "lost"
            assert {key for key in times if key not in expected} == set(), "sent though it should not be"
            order: dict[str, list[int]] = defaultdict(list)
            for event in events:
                if event["unique_id"] in expected:
                    order[event["email"]].append(event["properties"]["n"])
            if ordered:
                assert {email: numbers for email, numbers in order.items() if numbers != sorted(numbers)} == {}
            profiles = self.stack.sandbox.profiles(account)
            older = {
                email: (profiles[email]["properties"].get("Cevoid: Points"), points)
                for (where, email), points in self.newest_points.items()
                if where == account
                and email in profiles
                and profiles[email]["properties"].get("Cevoid: Points") != points
            }
            assert older == {}, "older fields left standing"

    def check_all(self) -> None:
        """Everything above, once the dust has settled."""
        self.settle()
        self.make_rewrites_due()
        self.check_sums()
        self.check_ledger()


def world(home: Path, seed: int, people: int = 40, **options: Any) -> tuple[World, Callable[[], None]]:
    """A started World with its app context pushed, and what ends it."""
    stack = Stack(home, **options)
    try:
        stack.start()
    except BaseException:
        stack.stop()
        raise
    app = create_app(load({**os.environ, **stack.env}))
    context = app.app_context()
    context.push()

    def end() -> None:
        from webapp.extensions import db

        for engine in db.engines.values():
            engine.dispose()
        context.pop()
        stack.stop()

    made = World(stack, app, seed, people)
    made.connect()
    return made, end
