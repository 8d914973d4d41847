"""Large numbers of rows at once on PostgreSQL, as acceptance would have written them, one statement a table.

Accepting a million events takes minutes and is measured elsewhere; here only what comes after it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from webapp.database import writing
from webapp.models import Connection

FIELDS = '{"points":{"v":120,"at":"2026-11-23T10:00:00+00:00","n":1}}'
PROPERTIES = '{"tierId":"gold","tierName":"Gold","previousTierId":"silver","pointsBalance":120}'
_PEOPLE = """
INSERT INTO people (workspace_id, email, fields, fields_version, consents, tested_only, created_at)
SELECT :workspace, 'person-' || n || '@example.com', :fields, 1, '{}', false, now() FROM generate_series(0, :most) n
ON CONFLICT DO NOTHING
"""
_ACTIVITIES = """
WITH someone AS (
    SELECT row_number() OVER (ORDER BY id) - 1 AS place, id FROM people WHERE workspace_id = :workspace
), new AS (
    INSERT INTO activities (workspace_id, external_id, type, event, origin, person_id, occurred_at, accepted_at,
        properties, profile, route, starts_flows)
    SELECT :workspace, :prefix || '-' || n, 'event', 'tier_earned', 'platform', someone.id,
        now() - interval '1 hour' + n * interval '1 millisecond', now(), :properties, '{}', 'only', false
    FROM generate_series(0, :most) n JOIN someone ON someone.place = n % :people ORDER BY n
    RETURNING id, person_id
)
INSERT INTO deliveries (workspace_id, activity_id, connection_id, kind, person_id, event, status, reason, priority,
    due_at, created_at, expires_at, settled_at, only_existing, attempts)
SELECT :workspace, new.id, :connection, kind, new.person_id, 'tier_earned', :status, :reason, 0,
    now(), now(), now() + interval '7 days', :settled, false, :attempts
FROM new, unnest(CAST(:kinds AS text[])) kind ORDER BY new.id
"""
_LINKS = """
INSERT INTO profile_links (connection_id, person_id, klaviyo_id, found, looked_up_at, fields_version, rewrite, list_due)
SELECT :connection, people.id, :klaviyo_id, true, now(), 0, false, false
FROM people WHERE workspace_id = :workspace AND email = :email
ON CONFLICT (connection_id, person_id) DO UPDATE SET looked_up_at = now(), found = true, klaviyo_id = :klaviyo_id
"""
_LANE = """
UPDATE lanes SET made = made + :made, delivered = delivered + :delivered, news = news + 1, next_at = clock_timestamp()
WHERE connection_id = :connection AND kind = :lane
"""
LANES = {"event": "events", "fields": "fields"}


@dataclass(frozen=True, slots=True)
class Pile:
    """`count` events of one connection about `people` people, still waiting unless `finished`."""

    connection: Connection
    count: int
    people: int
    prefix: str = "pile"
    kinds: tuple[str, ...] = ("event",)
    finished: bool = False

    def make(self) -> None:
        """Write it: people, activities, deliveries and the lanes' counters in one commit."""
        with writing() as session:
            self._insert(session)

    def _insert(self, session: Session) -> None:
        given = {"workspace": self.connection.workspace_id, "connection": self.connection.id}
        add_people(session, self.connection.workspace_id, self.people)
        values = {
            **given,
            "prefix": self.prefix,
            "most": self.count - 1,
            "people": self.people,
            "properties": PROPERTIES,
            "kinds": list(self.kinds),
            "status": "delivered" if self.finished else "waiting",
            "reason": "written" if self.finished else "backlog",
            "attempts": int(self.finished),
            "settled": None,
        }
        session.execute(text(_ACTIVITIES), values)
        for kind in self.kinds:
            counted = {"made": self.count, "delivered": self.count if self.finished else 0}
            session.execute(text(_LANE), {"connection": self.connection.id, "lane": LANES[kind], **counted})


def add_people(session: Session, workspace_id: int, count: int) -> None:
    """People with a field to share; those who are there already stay."""
    session.execute(text(_PEOPLE), {"workspace": workspace_id, "most": count - 1, "fields": FIELDS})


def know(connection: Connection, profiles: dict[str, str]) -> None:
    """Remember who is in the account (address -> Klaviyo's id), as if they had been looked up just now."""
    given = {"connection": connection.id, "workspace": connection.workspace_id}
    rows = [{**given, "email": email, "klaviyo_id": klaviyo_id} for email, klaviyo_id in profiles.items()]
    with writing() as session:
        session.execute(text(_LINKS), rows)
