"""One delivery in full: what came, where it went and why, every call, what was sent, what happens next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin
from webapp.extensions import db
from webapp.klaviyo.scopes import missing
from webapp.models import (
    Activity,
    Attempt,
    Connection,
    Delivery,
    Grant,
    Lane,
    Person,
    ProfileLink,
    Store,
)
from webapp.services.deliveries import rebuilt, resend_rules, settings_then, waiting_reasons
from webapp.services.deliveries.attempts import attempts_of, is_being_sent, sending_since
from webapp.services.deliveries.settings_then import SettingsThen
from webapp.services.lanes import LANE_OF

SIBLINGS = 20
ROUTES = {
    "store": "its store has this connection",
    "home_store": "it named no store, and this connection belongs to the store the person was first seen with",
    "only_connection": "it named no store, and this was the only connection",
    "storeless": "no connection had its store, and this one had no store of its own yet",
    "not_connected": "no Klaviyo account was connected",
    "no_route": "no connection had its store",
    "backfill": "everybody known here was synced to this account",
}
FOUND_THERE = "the person is in this account, and what changed of them goes to every connected account they are in"
NO_ADDRESS = "nobody can be found in Klaviyo without an address"
FEATURE_OF = {Kind.EVENT: "events", Kind.FIELDS: "profile_data", Kind.CONSENT: "newsletter"}


@dataclass(frozen=True, slots=True)
class Detail:
    """All of it. `until`: the next look at a waiting one; None: nothing is sent before somebody acts.

    `siblings`: the other deliveries of its activity, each with today's reason; `lacking`: scopes its kind needs and the
    account has not granted; `sending_since`: of a call under way, or of one that nothing is known of; `held_by`: what
    the last call of its line came to, as in "answered 500"; `link`: what we know of the person in its account.
    """

    delivery: Delivery
    activity: Activity
    reason: Reason
    person: Person | None
    connection: Connection | None
    store: Store | None
    route: str
    attempts: list[Attempt]
    siblings: list[tuple[Delivery, Reason]]
    item: rebuilt.Item | None
    settings: SettingsThen
    lacking: tuple[str, ...]
    until: datetime | None
    sending_since: datetime | None
    is_being_sent: bool
    held_by: str | None
    link: ProfileLink | None
    in_line: int

    @property
    def is_due(self) -> bool:
        """Whether its next look is not to come but now."""
        return self.until is not None and self.until <= clock.now()

    @property
    def can_resend(self) -> bool:
        """Whether sending it again is possible at all."""
        return self._may_go_again(self.delivery)

    @property
    def resent_with_it(self) -> list[int]:
        """What goes along when it is sent again: itself, and what ended undelivered beside it in the same account."""
        mine = [each for each, _ in self.siblings if each.connection_id == self.delivery.connection_id]
        return [self.delivery.id, *(each.id for each in mine if self._may_go_again(each))]

    def _may_go_again(self, delivery: Delivery) -> bool:
        """Whether this delivery of the same activity, in the same account, may be sent again."""
        is_erased = self.person is not None and self.person.erased_at is not None
        return resend_rules.refusal(delivery, self.connection, is_erased=is_erased) is None


def of(workspace_id: int, delivery_id: int) -> Detail | None:
    """A delivery of this workspace; None for anybody else's."""
    session = db.session()
    statement = (
        select(Delivery, Activity, Person, Connection, Store)
        .join(Activity, Activity.id == Delivery.activity_id)
        .outerjoin(Person, Person.id == Delivery.person_id)
        .outerjoin(Connection, Connection.id == Delivery.connection_id)
        .outerjoin(Store, Store.id == Activity.store_id)
        .where(Delivery.workspace_id == workspace_id, Delivery.id == delivery_id)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        return None
    delivery, activity, person, connection, store = row
    holds = waiting_reasons.of_workspace(session, workspace_id)
    beside = select(Delivery).where(Delivery.activity_id == activity.id, Delivery.id != delivery.id)
    siblings = session.scalars(beside.order_by(Delivery.id).limit(SIBLINGS)).all()
    return Detail(
        delivery=delivery,
        activity=activity,
        reason=waiting_reasons.of(delivery, holds),
        person=person,
        connection=connection,
        store=store,
        route=_route(delivery, activity, siblings),
        attempts=attempts_of(session, delivery),
        siblings=[(each, waiting_reasons.of(each, holds)) for each in siblings],
        item=rebuilt.item(session, delivery, activity, person, connection),
        settings=settings_then.of(session, delivery, activity.accepted_at, connection),
        lacking=_lacking(session, delivery, connection),
        until=waiting_reasons.until(delivery, holds),
        sending_since=sending_since(session, delivery),
        is_being_sent=is_being_sent(session, delivery),
        held_by=waiting_reasons.detail(delivery, holds),
        link=session.get(ProfileLink, (connection.id, person.id)) if connection and person else None,
        in_line=_in_line(session, delivery),
    )


def _route(delivery: Delivery, activity: Activity, siblings: Sequence[Delivery]) -> str:
    """Why it went where it went, in words; the activity's route leads nowhere for somebody without an address.

    Of an event or a consent that was routed elsewhere an account gets the fields alone: the route is not its own.
    """
    if delivery.reason is Reason.NO_EMAIL:
        return NO_ADDRESS
    is_alone = all(each.connection_id != delivery.connection_id for each in siblings)
    if delivery.only_existing and activity.origin is Origin.PLATFORM and is_alone:
        return FOUND_THERE
    return ROUTES.get(activity.route or "", activity.route or "not said")


def _lacking(session: Session, delivery: Delivery, connection: Connection | None) -> tuple[str, ...]:
    grant = session.scalar(select(Grant).where(Grant.connection_id == connection.id)) if connection else None
    return missing(grant.scope_set).get(FEATURE_OF[delivery.kind], ()) if grant else ()


def _in_line(session: Session, delivery: Delivery) -> int:
    """How many deliveries wait in the same lane, this one among them."""
    if delivery.status is not Status.WAITING:
        return 0
    statement = select(Lane).where(Lane.connection_id == delivery.connection_id, Lane.kind == LANE_OF[delivery.kind])
    lane = session.scalar(statement)
    return lane.waiting if lane else 0
