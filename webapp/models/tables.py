"""The tables of the mapped classes, for statements that are made once and sent past the mapper.

The engine sends some thirty of them a drain: making one, and keeping a session's objects in step with it, costs more
than the statement.
"""

from __future__ import annotations

from sqlalchemy import Table

from webapp.extensions import Base
from webapp.models.activity import Activity
from webapp.models.audit_entry import AuditEntry
from webapp.models.batch import Attempt, AttemptDelivery, Batch
from webapp.models.connection import Connection
from webapp.models.delivery import Delivery
from webapp.models.lane import Budget, Lane
from webapp.models.person import Person, ProfileLink
from webapp.models.signup import Signup
from webapp.models.stats import ConnectionStat
from webapp.models.user import Session
from webapp.models.workspace import Workspace


def _table(mapped: type[Base]) -> Table:
    return mapped.metadata.tables[mapped.__tablename__]


ACTIVITIES = _table(Activity)
ATTEMPTS = _table(Attempt)
ATTEMPT_DELIVERIES = _table(AttemptDelivery)
AUDIT_ENTRIES = _table(AuditEntry)
BATCHES = _table(Batch)
BUDGETS = _table(Budget)
CONNECTIONS = _table(Connection)
CONNECTION_STATS = _table(ConnectionStat)
DELIVERIES = _table(Delivery)
LANES = _table(Lane)
PEOPLE = _table(Person)
PROFILE_LINKS = _table(ProfileLink)
SESSIONS = _table(Session)
SIGNUPS = _table(Signup)
WORKSPACES = _table(Workspace)
