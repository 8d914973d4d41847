"""What a grant with less than was asked stops: whatever waits for it is skipped, and a consent for good."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp.catalogue.causes import LOST
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.klaviyo import scopes
from webapp.models import Connection, Lane
from webapp.services.deliveries.detail import FEATURE_OF
from webapp.services.lanes import LANE_OF

STAYS_PAUSED = "It stays paused until somebody resumes it."
NOUNS = {
    Kind.EVENT: ("event", "events"),
    Kind.FIELDS: ("change of profile data", "changes of profile data"),
    Kind.CONSENT: ("consent", "consents"),
}


def kinds(connection: Connection, granted: frozenset[str]) -> list[Kind]:
    """The kinds of deliveries that are skipped with these scopes. Who may create everybody needs to find nobody."""
    lacking = scopes.missing(granted)
    if connection.sync_behavior is SyncBehavior.CREATE_PROFILE and lacking.get("events") == ("profiles:read",):
        del lacking["events"]
    return [kind for kind, feature in FEATURE_OF.items() if feature in lacking]


def waiting(session: Session, connection: Connection, granted: frozenset[str]) -> dict[Kind, int]:
    """How many deliveries wait that these scopes stop, by kind, where any do."""
    stopped = {LANE_OF[kind]: kind for kind in kinds(connection, granted)}
    if not stopped:
        return {}
    lanes = session.scalars(select(Lane).where(Lane.connection_id == connection.id, Lane.kind.in_(stopped)))
    counts = {stopped[lane.kind]: lane.waiting for lane in lanes}
    return {kind: counts[kind] for kind in NOUNS if counts.get(kind)}


def in_words(counts: Mapping[Kind, int]) -> str:
    """Such counts in a sentence: "2 events and 1 consent"."""
    parts = [f"{number:,} {NOUNS[kind][number != 1]}" for kind, number in counts.items()]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def goes_on(connection: Connection, without: Mapping[Kind, int]) -> str:
    """What becomes of what waited. `without`: how much of it by kind the grant is too small for."""
    if not without:
        return STAYS_PAUSED if connection.is_paused else "What waited goes out now."
    count = in_words(without)
    if connection.is_paused:
        return f"{STAYS_PAUSED} Before that, reconnect and allow everything asked: without it {count} will be skipped."
    lost = "It can be sent again once that is granted."
    if Kind.CONSENT in without:
        lost = LOST.format(then="once that is granted, ")
    return f"What waited goes out now, except for {count}: skipped, as Klaviyo did not grant what is needed. {lost}"
