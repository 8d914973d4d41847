"""Who is on a list, just now."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.outcomes import Outcome, outcome
from jobs.run import Run
from webapp.klaviyo import parse, payloads


def members_of(run: Run, list_id: str, people: Mapping[int, str]) -> set[int]:
    """Which of these people (person id -> address) are on the list. Nobody is on one that is gone. Raises Hold."""
    by_email = {email: person_id for person_id, email in people.items()}
    members: set[int] = set()
    for group in payloads.lookup_groups(by_email):
        answer = run.call(payloads.list_members(list_id, group), size=len(group))
        if outcome(answer) is Outcome.GONE:
            return set()
        if outcome(answer) is not Outcome.DONE:
            raise run.back_off()
        members |= {by_email[p.email] for p in parse.profiles(answer.json) if p.email in by_email}
    return members
