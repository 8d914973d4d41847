"""Pure: since when whoever signs up is not subscribed to what they sign up to, whatever they are in general."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from jobs.consents.decide import Sent
from webapp.klaviyo.parse import FoundProfile


class Left(NamedTuple):
    """`at`: since when; None: they are not. `unproven`: the list of a subscribe of ours since, which nothing shows.

    It may never have arrived, as nobody answered: whether they are on that list is to be asked.
    """

    at: datetime | None = None
    unproven: str | None = None


def left(
    profile: FoundProfile, list_id: str | None, *, taken_off: Iterable[str], sent: Sent | None, on_list: bool | None
) -> Left:
    """They left the list the signup would go to; or the last we did was to take them off others, `taken_off`.

    That was on their own word, and unless a door has subscribed them since they are on no list of ours. `sent`: our
    last subscribe; `on_list`: whether they are on its list, None where that was not asked.
    """
    at = profile.left_at(list_id)
    off_at = max((moment for moment in map(profile.left_at, taken_off) if moment is not None), default=None)
    if off_at is None or (profile.consented_at is not None and profile.consented_at > off_at):
        return Left(at)
    if sent is not None and sent.at > off_at:
        if sent.list_id is None or on_list:
            return Left(at)
        if on_list is None:
            return Left(at, unproven=sent.list_id)
    return Left(max(off_at, at or off_at))
