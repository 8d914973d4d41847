"""Which deliveries an activity owes, and what it changes of its person."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy.orm import Session

from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import ActivityType, Kind
from webapp.forms.activities import Draft
from webapp.models.delivery import PRIORITY_WITHDRAWAL
from webapp.services import lanes
from webapp.services.activities.routing import Route
from webapp.services.people import consents, records
from webapp.services.people.consents import Place
from webapp.services.people.records import Known
from webapp.services.workspaces.snapshot import WorkspaceSettings

LIFE = timedelta(days=7)  # how long a delivery may wait
EXPLICIT = {"checkbox", "newsletter_activity"}
KIND_OF = {
    ActivityType.EVENT: Kind.EVENT,
    ActivityType.PROFILE: Kind.FIELDS,
    ActivityType.CONSENT: Kind.CONSENT,
}


class DeliveryMaker:
    """Makes the deliveries of one call and keeps count of them."""

    def __init__(self, settings: WorkspaceSettings, now: datetime, *, is_test: bool) -> None:
        self._settings = settings
        self._now = now
        self._is_test = is_test
        self.rows: list[dict[str, Any]] = []
        self.withdrawals: list[dict[str, Any]] = []
        self.touched: dict[int, Known] = {}
        self._made: Counter[tuple[int, Kind]] = Counter()
        self._skipped: Counter[tuple[int, Kind]] = Counter()

    def make(
        self, draft: Draft, activity_id: int, route: Route, person: Known | None, links: dict[int, set[int]]
    ) -> None:
        """The deliveries of one new activity: at least one."""
        kind = KIND_OF[draft.type]
        if self._is_test:  # the event alone, also while it is off; what we know of the person stays as it is
            self._add(draft, activity_id, person, route.connection_id, kind, None)
            return
        superseded, changed = (False, False) if person is None else self._merge(draft, activity_id, route, person)
        target = route.connection_id
        if person is None or target is None:
            reason = Reason.NO_EMAIL if person is None else route.reason
            self._add(draft, activity_id, person, None, kind, reason)
        else:
            self._to_routed(draft, activity_id, person, target, superseded=superseded)
        for other in sorted(links.get(person.id, set()) - {target}) if person is not None and changed else ():
            self._add(draft, activity_id, person, other, Kind.FIELDS, None, only_existing=True)

    def _to_routed(self, draft: Draft, activity_id: int, person: Known, target: int, *, superseded: bool) -> None:
        """What the connection that takes the activity is owed."""
        kind, carries = KIND_OF[draft.type], bool(_fields_of(draft))
        if kind is Kind.CONSENT:
            reason = _consent_reason(draft, superseded=superseded)
            self._add(draft, activity_id, person, target, kind, reason)
            # Whoever is not subscribed by it is not created by what came along either.
            subscribes = reason is None and not is_withdrawal(draft)
            if carries:
                self._add(draft, activity_id, person, target, Kind.FIELDS, None, only_existing=not subscribes)
            return
        is_on = draft.event in self._settings.events_on
        if kind is Kind.EVENT:
            self._add(draft, activity_id, person, target, kind, None if is_on else Reason.EVENT_OFF)
        if kind is Kind.FIELDS or is_on or carries:
            self._add(draft, activity_id, person, target, Kind.FIELDS, None)

    def _merge(self, draft: Draft, activity_id: int, route: Route, person: Known) -> tuple[bool, bool]:
        """Merge a draft into its person: (whether its consent is an older one, whether a shared value changed)."""
        self.touched[person.id] = person
        person.tested_only = False
        person.first_name = draft.first_name or person.first_name
        person.last_name = draft.last_name or person.last_name
        person.home_store_id = person.home_store_id or draft.store_id
        before = person.fields_version
        known = orjson.loads(person.fields)
        on = self._settings.fields_on
        fields, version = records.merge_fields(known, before, _fields_of(draft), draft.occurred_at, on)
        person.fields, person.fields_version = orjson.dumps(fields).decode(), version
        shared = records.shared_changes(fields, before, self._settings.fields, on)
        if draft.consent is None or _is_notice(draft.consent):
            return False, bool(shared)
        place = Place(route.connection_id, draft.store_id or person.home_store_id)
        person.consents, superseded = consents.merged(
            person.consents, draft.consent, draft.occurred_at, self._now, activity_id, place
        )
        return superseded, bool(shared)

    def _add(
        self,
        draft: Draft,
        activity_id: int,
        person: Known | None,
        connection_id: int | None,
        kind: Kind,
        skipped: Reason | None,
        *,
        only_existing: bool = False,
    ) -> None:
        key = (connection_id or lanes.NO_CONNECTION, kind)
        self._made[key] += 1
        self._skipped[key] += skipped is not None
        row = {
            "workspace_id": self._settings.workspace_id,
            "activity_id": activity_id,
            "connection_id": connection_id,
            "kind": kind,
            "person_id": person.id if person else None,
            "event": draft.event,
            "status": Status.SKIPPED if skipped else Status.WAITING,
            "reason": skipped or Reason.BACKLOG,
            "created_at": self._now,
            "expires_at": self._now + LIFE,
            "settled_at": self._now if skipped else None,
            "only_existing": only_existing,
        }
        if kind is Kind.CONSENT and is_withdrawal(draft):
            self.withdrawals.append({**row, "priority": PRIORITY_WITHDRAWAL})
        else:
            self.rows.append(row)

    def count(self, session: Session) -> None:
        """Keep the counters and let the lanes be woken: the transaction's last statements.

        All lanes are locked before any is counted in, or two calls that skip different kinds would wait for each other.
        """
        lanes.owe(session, {key: n for key, n in self._made.items() if key[0] != lanes.NO_CONNECTION})
        for (connection_id, kind), skipped in sorted(self._skipped.items()):
            counts = lanes.Counts(skipped=skipped)
            lanes.count(session, self._settings.workspace_id, connection_id, kind, counts)


def _fields_of(draft: Draft) -> dict[str, Any]:
    """What a draft says of the person's fields. Leaving the program clears what only members have."""
    # The platform may send along what the person had until then: that is what leaving clears.
    return {**draft.fields, **records.CLEARED_ON_LEAVING} if draft.event == "member_left_program" else draft.fields


def is_withdrawal(draft: Draft) -> bool:
    """Whether the person takes a consent back."""
    return draft.consent is not None and draft.consent["state"] == "unsubscribed"


def _is_notice(consent: dict[str, Any]) -> bool:
    """A notice beside a button is not a consent."""
    return consent["state"] == "subscribed" and consent.get("collected_by") not in EXPLICIT


def _consent_reason(draft: Draft, *, superseded: bool) -> Reason | None:
    if draft.consent is not None and _is_notice(draft.consent):
        return Reason.NOT_EXPLICIT
    return Reason.SUPERSEDED if superseded else None
