"""Kind `proof`: whether accepted deliveries are really in Klaviyo. Arguments: `deliveries`, ids; one is read a bite."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs.run import Hold
from jobs.tasks.membership import is_on_list
from jobs.tasks.run import TaskRun
from webapp import clock, log
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind
from webapp.database import reading
from webapp.klaviyo import readback
from webapp.klaviyo.readback import HeldProfile, same
from webapp.models import Activity, Delivery, Person, ProfileLink, Signup
from webapp.services.activities.ingest import unique_id
from webapp.services.people import records
from webapp.services.workspaces import snapshot

# Klaviyo shows an accepted event after seconds to a few minutes: until then "not there" means nothing.
PATIENCE = timedelta(minutes=5)
LOOK_AGAIN = timedelta(seconds=15)
AROUND = timedelta(seconds=2)
# A profile and its list step are recorded this near each other.
LISTED_WITH = timedelta(minutes=5)


def step(run: TaskRun) -> bool:
    """Read one delivery back; whether more are left. What is not there yet is looked at again for five minutes."""
    place = int(run.task.cursor.get("place", 0))
    ids: list[int] = run.task.arguments["deliveries"]
    if place >= len(ids):
        return False
    statement = (
        select(Delivery, Activity, Person)
        .join(Activity, Activity.id == Delivery.activity_id)
        .join(Person, Person.id == Delivery.person_id)
        .where(Delivery.id == ids[place], Delivery.connection_id == run.connection.id)
    )
    with reading() as session:
        row = session.execute(statement).one_or_none()
    there = None
    if row is not None and row[0].status is Status.DELIVERED and row[2].email is not None:
        there = _is_there(run, *row)
        if not there and clock.now() - run.task.created_at < PATIENCE:
            raise Hold(until=clock.now() + LOOK_AGAIN)
    run.write(lambda session: _note(session, run, ids, place, there))
    return place + 1 < len(ids)


def _is_there(run: TaskRun, delivery: Delivery, activity: Activity, person: Person) -> bool:
    email = str(person.email)
    if delivery.kind is Kind.EVENT:
        return _event_is_there(run, delivery, activity, email)
    held = _profile(run, email)
    if held is None:
        return False
    if delivery.kind is Kind.CONSENT:
        return _consent_is_there(run, delivery, activity, email, held)
    return _fields_are_there(run, person, held) and _is_listed(run, delivery, email, held)


def _profile(run: TaskRun, email: str) -> HeldProfile | None:
    answer = run.call(readback.profile(email))
    if not answer.ok:
        raise run.klaviyo.back_off()
    return readback.held_profile(answer.json)


def _event_is_there(run: TaskRun, delivery: Delivery, activity: Activity, email: str) -> bool:
    with reading() as session:
        link = session.get(ProfileLink, (run.connection.id, delivery.person_id))
    klaviyo_id = link.klaviyo_id if link is not None and link.found else None
    if klaviyo_id is None:
        held = _profile(run, email)
        klaviyo_id = held.id if held else None
    if klaviyo_id is None:
        return False
    at = activity.occurred_at
    answer = run.call(readback.events(klaviyo_id, at - AROUND, at + AROUND))
    if not answer.ok:
        raise run.klaviyo.back_off()
    wanted = unique_id(run.task.workspace_id, activity.external_id)
    return any(event.unique_id == wanted for event in readback.held_events(answer.json))


def _fields_are_there(run: TaskRun, person: Person, held: HeldProfile) -> bool:
    """Every field shared today has the value we hold today, which is what was written last."""
    with reading() as session:
        settings = snapshot.load(session, run.task.workspace_id)
    shared = records.shared_changes(orjson.loads(person.fields), 0, settings.fields, settings.fields_on)
    return all(same(value, held.properties.get(name)) for name, value in shared.items())


def _is_listed(run: TaskRun, delivery: Delivery, email: str, held: HeldProfile) -> bool:
    """On the list, where it was this delivery that put the person there."""
    with reading() as session:
        link = session.get(ProfileLink, (run.connection.id, delivery.person_id))
    added_at = link.list_added_at if link is not None else None
    if added_at is None or delivery.settled_at is None or abs(added_at - delivery.settled_at) > LISTED_WITH:
        return True
    return is_on_list(run, run.connection.list_id, email, held) is not False


def _consent_is_there(run: TaskRun, delivery: Delivery, activity: Activity, email: str, held: HeldProfile) -> bool:
    """Subscribed, and on the list it went to where it went to one; or no longer subscribed, or on none of its lists."""
    is_signup = orjson.loads(activity.consent or "{}").get("state") == "subscribed"
    list_id = _consents_list(run, delivery, is_signup=is_signup)
    is_subscribed = held.consent == "SUBSCRIBED"
    if is_signup:
        return is_subscribed and is_on_list(run, list_id, email, held) is not False
    lists = {list_id, *_further_lists(run, delivery)}
    return not is_subscribed or all(is_on_list(run, each, email, held) is False for each in lists)


def _consents_list(run: TaskRun, delivery: Delivery, *, is_signup: bool) -> str | None:
    """The list that the person's last signup or withdrawal of ours went to: the connection's may be another by now."""
    with reading() as session:
        link = session.get(ProfileLink, (run.connection.id, delivery.person_id))
    if link is not None and is_signup and link.subscribed_at is not None:
        return link.subscribed_list_id
    if link is not None and not is_signup and link.withdrawn_delivery_id is not None:
        return link.withdrawn_list_id
    return run.connection.list_id


def _further_lists(run: TaskRun, delivery: Delivery) -> list[str | None]:
    """What else this withdrawal was sent for, as long as nobody has seen that they left it."""
    mine = (Signup.person_id == delivery.person_id, Signup.withdrawn_by == delivery.id)
    theirs = select(Signup.list_id).where(*mine, Signup.klaviyo_account_id == run.connection.klaviyo_account_id)
    with reading() as session:
        return [list_id or None for list_id in session.scalars(theirs)]


def _note(session: Session, run: TaskRun, ids: list[int], place: int, there: bool | None) -> None:
    before: dict[str, Any] = run.task.result
    confirmed, missing = before.get("confirmed", 0), list(before.get("missing", []))
    if there:
        statement = update(Delivery).where(Delivery.id == ids[place], Delivery.status == Status.DELIVERED)
        session.execute(statement.values(confirmed_at=clock.now()))
        confirmed += 1
    elif there is False:
        log.get("proof").warning("accepted, not found", delivery=ids[place], connection=run.connection.id)
        missing.append(ids[place])
    result = {"confirmed": confirmed, "missing": missing}
    run.save(session, cursor={"place": place + 1}, done=place + 1, total=len(ids), result=result)
