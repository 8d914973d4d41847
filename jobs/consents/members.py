"""Who is on a list, just now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.lookup import MayNotLook, matched
from jobs.outcomes import REFUSALS, Outcome, outcome
from jobs.refused import halves
from jobs.run import Run
from webapp.klaviyo import parse, payloads


def members_of(run: Run, list_id: str, people: Mapping[int, str]) -> set[int]:
    """Which of these people (person id -> address) are on the list. Nobody is on one that is gone.

    A group that is refused is asked about in halves, as in `jobs.lookup`. Raises Hold, MayNotLook.
    """
    by_email = {email: person_id for person_id, email in people.items()}
    groups: list[Sequence[str]] = [*payloads.lookup_groups(by_email)]
    members: set[int] = set()
    while groups:
        group = groups.pop(0)
        answer = run.call(payloads.list_members(list_id, group), size=len(group))
        match outcome(answer):
            case Outcome.DONE:
                theirs, others = matched(group, parse.profiles(answer.json))
                members |= {by_email[email] for email in theirs}
                groups = halves(others) + groups
            case Outcome.GONE:
                return set()
            case Outcome.SCOPE_MISSING:
                raise MayNotLook
            case came if came in REFUSALS:
                groups = (halves(group) if len(group) > 1 else []) + groups
            case _:
                raise run.back_off()
    return members
