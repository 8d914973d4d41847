"""The tables, one module a noun. Hot tables carry no foreign keys: their rows are written thousands at a time."""

from webapp.models.activity import Activity
from webapp.models.alert import Alert
from webapp.models.audit_entry import AuditEntry
from webapp.models.authorization import Authorization, Purpose
from webapp.models.batch import Attempt, AttemptDelivery, Batch, BatchOutcome
from webapp.models.connection import Connection, ConnectionState, ScopeProof
from webapp.models.delivery import Delivery
from webapp.models.grant import Grant
from webapp.models.lane import Budget, Lane, LaneKind
from webapp.models.person import Person, ProfileLink
from webapp.models.refusal import Refusal
from webapp.models.sharing import CustomProperty, EventChoice, FieldChoice
from webapp.models.signup import Signup
from webapp.models.stats import ConnectionStat
from webapp.models.task import Task, TaskState
from webapp.models.user import Membership, Role, Session, SignInFailure, User
from webapp.models.workspace import IngestKey, Store, Workspace

__all__ = [
    "Activity",
    "Alert",
    "Attempt",
    "AttemptDelivery",
    "AuditEntry",
    "Authorization",
    "Batch",
    "BatchOutcome",
    "Budget",
    "Connection",
    "ConnectionStat",
    "ConnectionState",
    "CustomProperty",
    "Delivery",
    "EventChoice",
    "FieldChoice",
    "Grant",
    "IngestKey",
    "Lane",
    "LaneKind",
    "Membership",
    "Person",
    "ProfileLink",
    "Purpose",
    "Refusal",
    "Role",
    "ScopeProof",
    "Session",
    "SignInFailure",
    "Signup",
    "Store",
    "Task",
    "TaskState",
    "User",
    "Workspace",
]


def load_all() -> None:
    """Make every table known to the metadata; importing this package has done it."""
