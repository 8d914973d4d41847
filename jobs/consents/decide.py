"""Pure: what to do now with one consent, from what is known of the person here and in Klaviyo.

Subscribing in Klaviyo lifts opt-outs, so nothing is subscribed unless it was just read that this neither repeats nor
overrules anything. A withdrawal goes out as soon as it may, and never to a list the person is not on: Klaviyo would
unsubscribe non-members everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import SyncBehavior

RESUBSCRIBE_PAUSE = timedelta(minutes=30)
# A subscribe of ours may take this long to show in Klaviyo: until then a withdrawal does not believe "not on the list".
SUBSCRIBE_SETTLES_IN = timedelta(minutes=10)
RECHECKS = (timedelta(seconds=5), timedelta(seconds=15), timedelta(seconds=60))
HOLDS = (timedelta(minutes=1), timedelta(minutes=10), timedelta(minutes=60))
LATER_HOLD = timedelta(hours=6)


class Wanted(StrEnum):
    """What the person said."""

    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"


class Step(StrEnum):
    """What is to be done."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    CHECK_MEMBERSHIP = "check_membership"
    DELIVERED = "delivered"
    SKIP = "skip"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class InKlaviyo:
    """A profile's e-mail marketing state as just read. Times are aware UTC; None: never.

    `has_opted_out`: they have unsubscribed, also where Klaviyo does not tell when; or they are subscribed and
    suppressed all the same, and get nothing until a subscribe lifts it. `is_ours`: whether their consent carries our
    name; None where it carries none.
    """

    klaviyo_id: str
    is_subscribed: bool
    opted_out_at: datetime | None = None
    has_opted_out: bool = False
    consented_at: datetime | None = None
    is_ours: bool | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A subscribe of ours for this person that Klaviyo accepted or may have accepted: the last one to its list.

    `withdrawn_by`, `withdrawn_at`: see `models.Signup`.
    """

    at: datetime
    list_id: str | None
    withdrawn_by: int | None = None
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a decision needs, of a consent that nothing newer supersedes.

    `sent`: our last subscribe, of those to any list. `leaving`: the one that a withdrawal takes back, if it is about
    another. `tried`: this withdrawal was sent before, and nobody knows whether it arrived. `withdrawn_at`: since when a
    withdrawal of ours is on its way in Klaviyo; None where none is, or it was seen there. `unproven`: see `left.Left`.
    """

    wanted: Wanted
    occurred_at: datetime
    behavior: SyncBehavior
    list_id: str | None
    sent: Sent | None
    profile: InKlaviyo | None
    accepted_at: datetime
    now: datetime
    on_list: bool | None = None
    tried: bool = False
    withdrawn_at: datetime | None = None
    leaving: Sent | None = None
    unproven: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """A step; the reason it is recorded with; for WAIT until when; for the two writes the list (None: no list)."""

    step: Step
    reason: Reason | None = None
    until: datetime | None = None
    list_id: str | None = None


def decide(situation: Situation) -> Decision:
    """The next step of one consent. `situation.profile` was read in this drain."""
    if situation.wanted is Wanted.SUBSCRIBED:
        return _subscribe(situation)
    return _unsubscribe(situation)


def _subscribe(situation: Situation) -> Decision:
    profile = situation.profile
    if profile is None and situation.behavior is SyncBehavior.UPDATE_EXISTING:
        return _hold(situation)
    is_already = profile is not None and profile.is_subscribed and not profile.has_opted_out
    if profile is not None and not is_already and _opted_out_since(situation, profile):
        return Decision(Step.SKIP, Reason.NEWER_OPT_OUT)
    # A withdrawal that is on its way ends what this begins; "already" would be said of somebody who is not for long.
    on_its_way = _look_again(situation, situation.withdrawn_at)
    if on_its_way is not None:
        return on_its_way
    if is_already:
        return _subscribed_already(situation)
    if situation.sent is not None and situation.now < situation.sent.at + RESUBSCRIBE_PAUSE:
        until = situation.sent.at + RESUBSCRIBE_PAUSE
        return Decision(Step.WAIT, Reason.RESUBSCRIBE_PAUSE, until=until)
    return Decision(Step.SUBSCRIBE, list_id=situation.list_id)


def _subscribed_already(situation: Situation) -> Decision:
    if situation.unproven is not None and situation.on_list is None:
        return Decision(Step.CHECK_MEMBERSHIP, list_id=situation.unproven)
    return Decision(Step.DELIVERED, Reason.ALREADY_SUBSCRIBED)


def _opted_out_since(situation: Situation, profile: InKlaviyo) -> bool:
    """Whether they opted out after they consented, or nobody knows when. A consent of tomorrow is one of today."""
    if profile.opted_out_at is None:
        return profile.has_opted_out
    return profile.opted_out_at > min(situation.occurred_at, situation.accepted_at)


def _unsubscribe(situation: Situation) -> Decision:
    sent, profile = situation.leaving or situation.sent, situation.profile
    list_id = sent.list_id if sent is not None else situation.list_id
    if profile is None:
        return _recheck(situation) or _hold(situation)
    if _consented_since(situation, profile):
        return Decision(Step.SKIP, Reason.SUPERSEDED)
    if list_id is None:
        return Decision(Step.UNSUBSCRIBE, list_id=None)
    if situation.on_list is None:
        return Decision(Step.CHECK_MEMBERSHIP, list_id=list_id)
    if situation.on_list:
        return Decision(Step.UNSUBSCRIBE, list_id=list_id)
    if situation.tried:
        return Decision(Step.DELIVERED, Reason.WRITTEN)
    return _recheck(situation) or Decision(Step.SKIP, Reason.NOT_ON_LIST)


def _consented_since(situation: Situation, profile: InKlaviyo) -> bool:
    """Whether the person subscribed by another door after withdrawing here, which ours must not undo."""
    sent_at = situation.sent.at if situation.sent is not None else None
    told = (profile.consented_at, profile.is_ours)
    return profile.is_subscribed and is_by_another_door(*told, after=situation.accepted_at, sent_at=sent_at)


def is_by_another_door(
    consented_at: datetime | None, is_ours: bool | None, *, after: datetime, sent_at: datetime | None
) -> bool:
    """Whether a consent of that time is newer than what we heard of `after`, and not our own subscribe.

    One that carries no name, as ours did not always, is told by its time.
    """
    if consented_at is None or consented_at <= after:
        return False
    if is_ours is not None:
        return not is_ours
    return sent_at is None or abs(consented_at - sent_at) > SUBSCRIBE_SETTLES_IN


def _recheck(situation: Situation) -> Decision | None:
    """While our own subscribe may still be on its way in Klaviyo, a withdrawal looks again instead of giving up."""
    sent = situation.leaving or situation.sent
    if sent is None or situation.now >= sent.at + SUBSCRIBE_SETTLES_IN:
        return None
    return _look_again(situation, sent.at)


def _look_again(situation: Situation, sent_at: datetime | None) -> Decision | None:
    """Soon, for what was sent then may show by then; None where nothing was."""
    if sent_at is None:
        return None
    age = situation.now - max(sent_at, situation.accepted_at)
    pause = next((step for step in RECHECKS if age < step), RECHECKS[-1])
    return Decision(Step.WAIT, Reason.KLAVIYO_PROCESSING, until=situation.now + pause)


def _hold(situation: Situation) -> Decision:
    """Held while the person is not in Klaviyo: looked up after 1, 10 and 60 minutes, then every six hours."""
    age = situation.now - situation.accepted_at
    due = next((step for step in HOLDS if age < step), None)
    until = situation.accepted_at + due if due is not None else situation.now + LATER_HOLD
    return Decision(Step.WAIT, Reason.NOT_IN_KLAVIYO, until=until)
