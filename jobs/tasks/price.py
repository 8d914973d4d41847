"""Kind `price`: how many of the people known here Create profile would add to a Klaviyo account.

Arguments: `account`, and `store_id`, the store the connection would have (None: it takes everybody). Result:
`{"known", "missing"}`. What is remembered of people is used first; the others are looked up, a hundred a call, with
half of the account's budget so that deliveries go on beside it.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select

from jobs import lookup
from jobs.tasks.run import TaskProblem, TaskRun
from webapp import clock
from webapp.database import reading
from webapp.models import Person, ProfileLink
from webapp.services.workspaces import snapshot

BITE = 800
SHARE = 0.5
LACKS = "Klaviyo does not let us see who is there: profiles:read is missing. Reconnect to grant it."
# A preview may be a little old: somebody missing an hour ago is counted as missing.
MISS = timedelta(hours=1)


def step(run: TaskRun) -> bool:
    """Some hundred people; whether more follow."""
    if run.task.arguments["account"] != run.connection.klaviyo_account_id:
        raise TaskProblem("This connection has another Klaviyo account now. Ask again.")
    if run.task.total is None:
        total = _count(run)
        run.write(lambda session: run.save(session, total=total, result={"known": total}))
    after, missing = run.task.cursor.get("after", 0), run.task.cursor.get("missing", 0)
    people, known = _next(run, after)
    unknown = {person_id: email for person_id, email in people.items() if person_id not in known}
    found: set[int] = set()
    if unknown:
        if "profiles:read" not in run.klaviyo.grant.scopes:
            raise TaskProblem(LACKS)
        run.klaviyo.share = SHARE
        found = set(lookup.look_up(run.klaviyo, unknown))
    missing += sum(1 for person_id in people if not (known.get(person_id) or person_id in found))
    after = max(people, default=after)
    done = run.task.done + len(people)
    result = {"known": max(done, run.task.total or 0), "missing": missing}
    cursor = {"after": after, "missing": missing}
    run.write(lambda session: run.save(session, cursor=cursor, done=done, result=result))
    return len(people) == BITE


def _mine(run: TaskRun) -> ColumnElement[bool]:
    """People with an address whom the connection would take, as routing has it for their home stores."""
    store_id = run.task.arguments["store_id"]
    ours = and_(
        Person.workspace_id == run.connection.workspace_id, Person.email.is_not(None), Person.tested_only.is_(False)
    )
    with reading() as session:
        settings = snapshot.load(session, run.connection.workspace_id)
    others = [connection.store_id for connection in settings.connections if connection.id != run.connection.id]
    homeless = Person.home_store_id.is_(None)
    if store_id is None:
        return and_(ours, or_(homeless, Person.home_store_id.not_in([other for other in others if other])))
    of_store = Person.home_store_id == store_id
    return and_(ours, of_store if others else or_(of_store, homeless))


def _count(run: TaskRun) -> int:
    with reading() as session:
        return session.scalar(select(func.count(Person.id)).where(_mine(run))) or 0


def _next(run: TaskRun, after: int) -> tuple[dict[int, str], dict[int, bool]]:
    """The next people (id -> address), and whether those remembered are in Klaviyo (id -> found)."""
    link = and_(ProfileLink.connection_id == run.connection.id, ProfileLink.person_id == Person.id)
    statement = (
        select(Person.id, Person.email, ProfileLink.found, ProfileLink.looked_up_at)
        .outerjoin(ProfileLink, link)
        .where(_mine(run), Person.id > after)
        .order_by(Person.id)
        .limit(BITE)
    )
    recent = clock.now() - MISS
    people: dict[int, str] = {}
    known: dict[int, bool] = {}
    with reading() as session:
        for person_id, email, found, looked_up_at in session.execute(statement):
            people[person_id] = str(email)
            if found or (found is False and looked_up_at is not None and looked_up_at > recent):
                known[person_id] = found
    return people, known
