"""Why a delivery has the status it has: one closed list. Each reason has its sentence in `causes.toml`."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Never nothing."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    FAILED = "failed"


class Reason(StrEnum):
    """Grouped by the status they go with; `not_in_klaviyo` goes with two."""

    # waiting
    BACKLOG = "backlog"
    RATE_LIMITED = "rate_limited"
    RETRYING = "retrying"
    KLAVIYO_PROCESSING = "klaviyo_processing"
    PAUSED = "paused"
    NEEDS_REAUTHORIZATION = "needs_reauthorization"
    NOT_IN_KLAVIYO = "not_in_klaviyo"
    RESUBSCRIBE_PAUSE = "resubscribe_pause"
    # skipped
    NO_EMAIL = "no_email"
    NO_ROUTE = "no_route"
    NOT_CONNECTED = "not_connected"
    EVENT_OFF = "event_off"
    FIELDS_OFF = "fields_off"
    UNCHANGED = "unchanged"
    NOT_EXPLICIT = "not_explicit"
    NEWER_OPT_OUT = "newer_opt_out"
    SUPERSEDED = "superseded"
    NOT_ON_LIST = "not_on_list"
    SCOPE_MISSING = "scope_missing"
    DISCONNECTED = "disconnected"
    ACCOUNT_REPLACED = "account_replaced"
    ERASED = "erased"
    # delivered
    WRITTEN = "written"
    ALREADY_SUBSCRIBED = "already_subscribed"
    LIST_MISSING = "list_missing"
    LIST_SCOPE_MISSING = "list_scope_missing"
    # failed
    EXPIRED = "expired"
    REJECTED = "rejected"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    REVISION_RETIRED = "revision_retired"
    TOO_MANY_ATTEMPTS = "too_many_attempts"


_WAITING = (
    Reason.BACKLOG,
    Reason.RATE_LIMITED,
    Reason.RETRYING,
    Reason.KLAVIYO_PROCESSING,
    Reason.PAUSED,
    Reason.NEEDS_REAUTHORIZATION,
    Reason.NOT_IN_KLAVIYO,
    Reason.RESUBSCRIBE_PAUSE,
)
_SKIPPED = (
    Reason.NO_EMAIL,
    Reason.NO_ROUTE,
    Reason.NOT_CONNECTED,
    Reason.EVENT_OFF,
    Reason.FIELDS_OFF,
    Reason.UNCHANGED,
    Reason.NOT_IN_KLAVIYO,
    Reason.NOT_EXPLICIT,
    Reason.NEWER_OPT_OUT,
    Reason.SUPERSEDED,
    Reason.NOT_ON_LIST,
    Reason.SCOPE_MISSING,
    Reason.DISCONNECTED,
    Reason.ACCOUNT_REPLACED,
    Reason.ERASED,
)
_DELIVERED = (Reason.WRITTEN, Reason.ALREADY_SUBSCRIBED, Reason.LIST_MISSING, Reason.LIST_SCOPE_MISSING)
_FAILED = (
    Reason.EXPIRED,
    Reason.REJECTED,
    Reason.PAYLOAD_TOO_LARGE,
    Reason.REVISION_RETIRED,
    Reason.TOO_MANY_ATTEMPTS,
)
REASONS: dict[Status, frozenset[Reason]] = {
    Status.WAITING: frozenset(_WAITING),
    Status.SKIPPED: frozenset(_SKIPPED),
    Status.DELIVERED: frozenset(_DELIVERED),
    Status.FAILED: frozenset(_FAILED),
}
