"""Pure: which of the lists that we subscribed a person to a withdrawal leaves, and what it comes to with them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs.consents.decide import Decision, Sent, Step
from jobs.lookup import Link
from webapp.catalogue.reasons import Reason

DONE = Decision(Step.DELIVERED, Reason.WRITTEN)
# What is said of a withdrawal from several lists, the first of these that one of them comes to.
SAID_FIRST = (Step.WAIT, Reason.SCOPE_MISSING, Step.DELIVERED)


def last_sent(link: Link | None, signups: Mapping[str | None, Sent]) -> Sent | None:
    """Our last subscribe, by this connection or else by the one that had the account before it."""
    if link is not None and link.subscribed_at is not None:
        list_id = link.subscribed_list_id
        return replace(signups.get(list_id, Sent(link.subscribed_at, list_id)), at=link.subscribed_at)
    return max(signups.values(), key=lambda sent: sent.at, default=None)


def to_leave(last: Sent | None, signups: Mapping[str | None, Sent]) -> list[Sent | None]:
    """Which signups a withdrawal takes back; None: one that we do not know of.

    The subscription as a whole only where the last signup went without a list: one to a list ends with that list.
    """
    if last is None:
        return [None]
    return [last, *(sent for list_id, sent in signups.items() if list_id not in {last.list_id, None})]


def is_taken(sent: Sent | None, delivery_id: int) -> bool:
    """Whether Klaviyo took this withdrawal for that list: sent once more it might come when they are off the list."""
    return sent is not None and sent.withdrawn_by == delivery_id and sent.withdrawn_at is not None


def told(decisions: Sequence[Decision]) -> Decision:
    """What is said of a withdrawal whose lists come to these, of which none is to be written."""
    for word in SAID_FIRST:
        those = [each for each in decisions if word in {each.step, each.reason}]
        if those:
            return min(those, key=lambda each: each.until.timestamp() if each.until else 0.0)
    return decisions[0]


def told_after(decisions: Sequence[Decision]) -> Decision:
    """The same where Klaviyo took it for other lists: not to be on these is as good."""
    return told([*decisions, DONE])
