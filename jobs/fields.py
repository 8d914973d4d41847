"""The fields lane: several changes of one person become one write; people are created only where the owner chose so."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
from sqlalchemy.orm import Session

from jobs import choose, lookup, settle
from jobs.choose import Item
from jobs.run import Run, is_unknown
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Kind, Origin, SyncBehavior
from webapp.database import reading, upsert
from webapp.klaviyo import parse, payloads
from webapp.klaviyo.answers import Answer, Reached
from webapp.klaviyo.payloads import ProfileWrite
from webapp.models import Connection, ProfileLink
from webapp.services import people, workspace_settings
from webapp.services.workspace_settings import WorkspaceSettings

CHOSEN = 200


def step(run: Run) -> bool:
    """Write the people whose changes are due, one call each; whether there was anything to do."""
    items = choose.due(run, Kind.FIELDS, CHOSEN)
    if not items:
        return False
    if not {"profiles:read", "profiles:write"} <= run.grant.scopes:
        _settle(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items})
        return True
    with reading() as session:
        settings = workspace_settings.load(session, run.held.workspace_id)
    by_person: dict[int, list[Item]] = {}
    for item in items:
        by_person.setdefault(item.person_id, []).append(item)
    _settle_gone(run, by_person)
    links = lookup.links_of(run, {p: str(group[0].email) for p, group in by_person.items()})
    for person_id, group in by_person.items():
        _person(run, settings, group, links.get(person_id))
        if not run.time_left():
            break
    return True


def _settle_gone(run: Run, by_person: dict[int, list[Item]]) -> None:
    """Erased people and expired deliveries need no call."""
    now = clock.now()
    results: dict[int, Result] = {}
    for person_id in list(by_person):
        group = by_person[person_id]
        erased = group[0].email is None
        results |= {i.id: settle.skipped(Reason.ERASED) for i in group if erased}
        results |= {i.id: settle.failed(Reason.EXPIRED) for i in group if not erased and i.expires_at <= now}
        by_person[person_id] = [item for item in group if item.id not in results]
        if not by_person[person_id]:
            del by_person[person_id]
    if results:
        _settle(run, results)


def _person(run: Run, settings: WorkspaceSettings, group: Sequence[Item], link: ProfileLink | None) -> None:
    """One person: one write with everything that changed since the last."""
    newest = group[-1]
    written = link.fields_version if link else 0
    found = link is not None and bool(link.found)
    creates = run.connection.sync_behavior is SyncBehavior.CREATE_PROFILE and newest.origin is not Origin.TEST
    changes = people.shared_changes(newest.fields, written, settings.fields, settings.fields_on)
    if not found and not creates:
        _settle(run, {item.id: settle.skipped(Reason.NOT_IN_KLAVIYO) for item in group})
    elif found and not changes:
        shared = people.shared_changes(newest.fields, 0, settings.fields, settings.fields_on)
        reason = Reason.UNCHANGED if shared else Reason.FIELDS_OFF
        _settle(run, {item.id: settle.skipped(reason) for item in group})
    elif found:
        assert link is not None
        write = ProfileWrite(id=link.klaviyo_id, email=newest.email, properties=changes)
        answer = run.call(payloads.patch_profile(write), size=1)
        _record(run, group, answer, created=False)
    else:
        everything = people.shared_changes(newest.fields, 0, settings.fields, settings.fields_on)
        write = ProfileWrite(None, newest.email, everything, newest.first_name, newest.last_name)
        answer = run.call(payloads.import_profile(write), size=1)
        _record(run, group, answer, created=answer.status == 201)


def _record(run: Run, group: Sequence[Item], answer: Answer, *, created: bool) -> None:
    if answer.ok:
        result = _list_step(run, answer, created=created)
        run.write(lambda session: _written(session, run, group, answer, result, created=created), failures=0)
        run.lane.failures = 0
    elif is_unknown(answer) or answer.reached is Reached.NOT_SENT or answer.status in {401, 410} or not answer.is_json:
        raise run.back_off()
    elif answer.status == 404 and group[-1].attempts == 0:
        run.write(lambda session: _again(session, run, group, answer))
    else:
        gone = answer.status == 404
        result = settle.skipped(Reason.NOT_IN_KLAVIYO) if gone else _refusal(answer)
        _settle(run, {item.id: result for item in group}, attempts=1)


def _refusal(answer: Answer) -> Result:
    if answer.status == 403:
        return settle.skipped(Reason.SCOPE_MISSING)
    reason = Reason.PAYLOAD_TOO_LARGE if answer.status == 413 else Reason.REJECTED
    return settle.failed(reason, answer.sentence)


def _list_step(run: Run, answer: Answer, *, created: bool) -> Result:
    """Put somebody we just created on the chosen list, by id. Never anybody who was there before."""
    list_id = run.connection.list_id
    if not created or list_id is None:
        return settle.DELIVERED
    if not {"lists:read", "lists:write"} <= run.grant.scopes:
        return Result(Status.DELIVERED, Reason.LIST_SCOPE_MISSING)
    added = run.call(payloads.add_to_list(list_id, [parse.profile_id(answer.json)]), size=1)
    if added.status == 404:
        return Result(Status.DELIVERED, Reason.LIST_MISSING)
    return settle.DELIVERED if added.ok else Result(Status.DELIVERED, Reason.LIST_MISSING, detail=added.sentence)


def _written(
    session: Session, run: Run, group: Sequence[Item], answer: Answer, result: Result, *, created: bool
) -> None:
    newest, now = group[-1], clock.now()
    row = {
        "connection_id": run.held.connection_id,
        "person_id": newest.person_id,
        "found": True,
        "klaviyo_id": parse.profile_id(answer.json),
        "looked_up_at": now,
        "fields_version": newest.fields_version,
        "created_by_us_at": now if created else None,
    }
    changed = ["found", "klaviyo_id", "looked_up_at", "fields_version"] + (["created_by_us_at"] if created else [])
    key = ["connection_id", "person_id"]
    session.execute(upsert(session, ProfileLink.__table__, key=key, update=changed), [row])
    if created:
        statement = update(Connection).where(Connection.id == run.held.connection_id)
        session.execute(statement.values(profiles_created=Connection.profiles_created + 1))
    if result.reason is Reason.LIST_MISSING:
        statement = update(Connection).where(Connection.id == run.held.connection_id)
        session.execute(statement.values(list_missing_at=now))
    settle.settle(session, run.connection, Kind.FIELDS, {item.id: result for item in group}, attempts=1)


def _again(session: Session, run: Run, group: Sequence[Item], answer: Answer) -> None:
    """A remembered id that is gone: look up again, once."""
    statement = update(ProfileLink).where(
        ProfileLink.connection_id == run.held.connection_id, ProfileLink.person_id == group[-1].person_id
    )
    session.execute(statement.values(found=None, looked_up_at=None, fields_version=0))
    result = settle.waiting(Reason.RETRYING, clock.now(), answer.sentence)
    settle.settle(session, run.connection, Kind.FIELDS, {item.id: result for item in group}, attempts=1)


def _settle(run: Run, results: dict[int, Result], attempts: int = 0) -> None:
    run.write(lambda session: settle.settle(session, run.connection, Kind.FIELDS, results, attempts=attempts))
