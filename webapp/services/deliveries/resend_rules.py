"""What may be sent again, and why not. One table of rules for the button, the count and the worker."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Protocol

from webapp.catalogue.causes import RESENDABLE
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind
from webapp.models import Connection
from webapp.services.workspaces.snapshot import WorkspaceSettings

STATUSES = (Status.FAILED, Status.SKIPPED)
# No connection took these when they were accepted: they are routed anew.
UNROUTED = frozenset({Reason.NO_ROUTE, Reason.NOT_CONNECTED})


class Ended(Protocol):
    """What the rules look at: a delivery, or a group of deliveries that are alike in it."""

    status: Any
    reason: Any
    kind: Any
    event: Any
    person_id: Any


class Left(StrEnum):
    """Why a delivery is left out of a resend."""

    NOT_ENDED = "not_ended"
    DELIVERED = "delivered"
    CONSENT = "consent"
    ERASED = "erased"
    POINTLESS = "pointless"
    DISCONNECTED = "disconnected"
    STILL_OFF = "still_off"
    STILL_NO_ROUTE = "still_no_route"


SENTENCES = {
    Left.NOT_ENDED: "still waiting: they go out by themselves",
    Left.DELIVERED: "delivered already",
    Left.CONSENT: "consents: a consent is not sent again from here; the platform may post it again under a new id",
    Left.ERASED: "of erased people: nothing is kept of them that could be sent",
    Left.POINTLESS: "ended for a reason that sending again does not change",
    Left.DISCONNECTED: "belong to a disconnected account",
    Left.STILL_OFF: "their event is still off under Events",
    Left.STILL_NO_ROUTE: "no connected account belongs to their store",
}


def refusal(
    ended: Ended, connection: Connection | None, settings: WorkspaceSettings | None = None, *, is_erased: bool
) -> Left | None:
    """Why a delivery is not sent again; None where it is. With `settings` also whether its event is on by now.

    `is_erased`: its person was, so that its status is kept as it is.
    """
    if ended.status is Status.WAITING:
        return Left.NOT_ENDED
    if ended.status is Status.DELIVERED:
        return Left.DELIVERED
    if ended.kind is Kind.CONSENT:
        return Left.CONSENT
    if is_erased:
        return Left.ERASED
    if ended.reason not in RESENDABLE or ended.person_id is None:
        return Left.POINTLESS
    if connection is not None and not connection.is_live:
        return Left.DISCONNECTED
    is_off = settings is not None and ended.kind is Kind.EVENT and ended.event not in settings.events_on
    return Left.STILL_OFF if is_off else None


def may_be_chosen(ended: Ended, *, is_erased: bool) -> bool:
    """Whether a list offers it, without looking at its connection: `refusal` has the last word."""
    return refusal(ended, None, is_erased=is_erased) is None
