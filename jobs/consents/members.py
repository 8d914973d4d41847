"""Who is on which list, just now: a hundred people a call, up to eight calls at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from jobs.lookup import MayNotLook, matched
from jobs.outcomes import REFUSALS, Outcome, outcome
from jobs.refused import halves
from jobs.run import AT_ONCE, Run
from webapp.klaviyo import endpoints, parse, payloads


def members_of(run: Run, people: Mapping[str, Mapping[int, str]]) -> set[tuple[int, str]]:
    """Which of these people (list -> person id -> address) are on the list: (person id, list).

    Nobody is on one that is gone. A group that is refused is asked about in halves, as in `jobs.lookup`. Raises Hold,
    MayNotLook.
    """
    by_email = {email: person_id for theirs in people.values() for person_id, email in theirs.items()}
    groups: list[tuple[str, Sequence[str]]] = [
        (list_id, group) for list_id, theirs in people.items() for group in payloads.lookup_groups(theirs.values())
    ]
    members: set[tuple[int, str]] = set()
    gone: set[str] = set()
    while groups:
        wanted = min(AT_ONCE, len(groups))
        taken = run.write(partial(run.reserve, endpoint=endpoints.LIST_MEMBERS, calls=wanted))
        now, groups = groups[:taken], groups[taken:]
        answers = run.send_all([payloads.list_members(*each) for each in now], [len(group) for _, group in now])
        again: list[tuple[str, Sequence[str]]] = []
        for (list_id, group), answer in zip(now, answers, strict=True):
            match outcome(answer):
                case Outcome.DONE:
                    found, others = matched(group, parse.profiles(answer.json))
                    members |= {(by_email[email], list_id) for email in found}
                    again += [(list_id, half) for half in halves(others)]
                case Outcome.GONE:
                    gone.add(list_id)
                case Outcome.SCOPE_MISSING:
                    raise MayNotLook
                case came if came in REFUSALS:
                    again += [(list_id, half) for half in halves(group)] if len(group) > 1 else []
                case _:
                    raise run.hold_after(answers)
        groups = [each for each in again + groups if each[0] not in gone]
    return {each for each in members if each[1] not in gone}
