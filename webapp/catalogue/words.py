"""The closed lists of words that tables, templates and the API share."""

from __future__ import annotations

from enum import StrEnum


class ActivityType(StrEnum):
    """What the platform tells us."""

    EVENT = "event"
    PROFILE = "profile"
    CONSENT = "consent"


class Kind(StrEnum):
    """What a delivery writes."""

    EVENT = "event"
    FIELDS = "fields"
    CONSENT = "consent"


class Origin(StrEnum):
    """Where an activity comes from."""

    PLATFORM = "platform"
    BACKFILL = "backfill"
    TEST = "test"


class SyncBehavior(StrEnum):
    """Profile sync behavior: whether missing people are created in Klaviyo (which costs the brand money)."""

    UPDATE_EXISTING = "update_existing"
    CREATE_PROFILE = "create_profile"
