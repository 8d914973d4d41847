"""Kind `backfill_count`: what a sync of the people known here would do in one account.

Arguments: what it holds for (`services.backfills.terms`). Result: how many would be `updated`, `created`, and skipped:
`not_in_klaviyo`, `nothing_shared`, `other_store` (people of another store who are not in this account). Who is
remembered is not asked about; the others are looked up a hundred a call, with half of the account's budget while live
work waits for it.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from jobs import choose, lookup
from jobs.tasks import existing
from jobs.tasks.existing import Known
from jobs.tasks.run import TaskProblem, TaskRun
from webapp import clock
from webapp.catalogue.words import SyncBehavior
from webapp.database import reading
from webapp.services.people import records
from webapp.services.sharing import backfills
from webapp.services.workspaces.snapshot import WorkspaceSettings

BITE = 800
# A count may be a little old: somebody missing an hour ago is counted as missing.
MISS = timedelta(hours=1)


def step(run: TaskRun) -> bool:
    """Some hundred people; whether more follow."""
    with reading() as session:
        if run.task.arguments != backfills.terms(session, run.connection):
            raise TaskProblem("Settings changed while people were counted. Count again.")
    if run.task.total is None:
        total, up_to = existing.extent(run)
        cursor = {"after": 0, "up_to": up_to}
        run.write(lambda session: run.save(session, total=total, cursor=cursor))
        return total > 0
    after, up_to = run.task.cursor["after"], run.task.cursor["up_to"]
    bite = existing.following(run, after, up_to, BITE)
    unknown = {person.id: person.email for person in bite if not _is_remembered(person)}
    found = _look_up(run, unknown)
    found |= {person.id for person in bite if person.found and person.id not in unknown}
    tally = Counter(run.task.result) + _tally(run, bite, found)
    cursor = {"after": bite[-1].id if bite else up_to, "up_to": up_to}
    done = run.task.done + len(bite)
    run.write(lambda session: run.save(session, cursor=cursor, done=done, result=dict(tally)))
    return len(bite) == BITE


def _is_remembered(person: Known) -> bool:
    if person.found is None or person.looked_up_at is None:
        return False
    return person.found or person.looked_up_at > clock.now() - MISS


def _look_up(run: TaskRun, unknown: dict[int, str]) -> set[int]:
    if not unknown:
        return set()
    if "profiles:read" not in run.klaviyo.grant.scopes:
        raise TaskProblem("Klaviyo does not allow us to read profiles. Reconnect, and allow everything asked.")
    run.klaviyo.share = choose.low_share(run.klaviyo)
    return set(lookup.look_up(run.klaviyo, unknown))


def _tally(run: TaskRun, bite: list[Known], found: set[int]) -> Counter[str]:
    current = existing.settings(run)
    return Counter(_word(run, current, person, is_there=person.id in found) for person in bite)


def _word(run: TaskRun, current: WorkspaceSettings, person: Known, *, is_there: bool) -> str:
    if is_there:
        shared = records.shared_changes(person.fields, 0, current.fields, current.fields_on)
        return "updated" if shared else "nothing_shared"
    if not existing.is_taken(run, current, person):
        return "other_store"
    creates = run.connection.sync_behavior is SyncBehavior.CREATE_PROFILE
    return "created" if creates else "not_in_klaviyo"
