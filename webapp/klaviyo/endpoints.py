"""Every Klaviyo endpoint we call: what it needs, what it allows. Source: Klaviyo's OpenAPI document.

The limits and scopes are the same in 2026-07-15 and 2026-10-15; what moved between the two is where an event's profile
carries its `meta` (see `payloads`).
"""

from __future__ import annotations

from dataclasses import dataclass

REVISION = "2026-10-15"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`scopes` are those the call really needs; limits are calls per second and per minute, per account."""

    method: str
    path: str
    scopes: tuple[str, ...]
    per_second: int
    per_minute: int

    @property
    def name(self) -> str:
        """`POST /api/events`: how budgets, attempts and pages call it."""
        return f"{self.method} {self.path}"


ACCOUNTS = Endpoint("GET", "/api/accounts", ("accounts:read",), 1, 15)
LISTS = Endpoint("GET", "/api/lists", ("lists:read",), 75, 750)
LIST_MEMBERS = Endpoint("GET", "/api/lists/{id}/profiles", ("lists:read", "profiles:read"), 75, 750)
LIST_ADD = Endpoint("POST", "/api/lists/{id}/relationships/profiles", ("lists:write", "profiles:write"), 10, 150)
PROFILES = Endpoint("GET", "/api/profiles", ("profiles:read",), 75, 750)
PROFILE_PATCH = Endpoint("PATCH", "/api/profiles/{id}", ("profiles:write",), 75, 750)
PROFILE_IMPORT = Endpoint("POST", "/api/profile-import", ("profiles:write",), 75, 750)
IMPORT_JOB = Endpoint("POST", "/api/profile-bulk-import-jobs", ("lists:write", "profiles:write"), 10, 150)
IMPORT_JOB_STATUS = Endpoint("GET", "/api/profile-bulk-import-jobs/{id}", ("lists:read", "profiles:read"), 10, 150)
IMPORT_JOB_ERRORS = Endpoint("GET", "/api/profile-bulk-import-jobs/{id}/import-errors", ("profiles:read",), 10, 150)
EVENT = Endpoint("POST", "/api/events", ("events:write",), 350, 3500)
EVENTS_READ = Endpoint("GET", "/api/events", ("events:read",), 350, 3500)
EVENTS = Endpoint("POST", "/api/event-bulk-create-jobs", ("events:write",), 10, 150)
SUBSCRIBE = Endpoint(
    "POST",
    "/api/profile-subscription-bulk-create-jobs",
    ("lists:write", "profiles:write", "subscriptions:write"),
    75,
    750,
)
UNSUBSCRIBE = Endpoint(
    "POST",
    "/api/profile-subscription-bulk-delete-jobs",
    ("lists:write", "profiles:write", "subscriptions:write"),
    75,
    750,
)

ALL = (
    ACCOUNTS,
    LISTS,
    LIST_MEMBERS,
    LIST_ADD,
    PROFILES,
    PROFILE_PATCH,
    PROFILE_IMPORT,
    IMPORT_JOB,
    IMPORT_JOB_STATUS,
    IMPORT_JOB_ERRORS,
    EVENT,
    EVENTS,
    EVENTS_READ,
    SUBSCRIBE,
    UNSUBSCRIBE,
)
BY_NAME = {endpoint.name: endpoint for endpoint in ALL}
