"""A step of the fields lane: import jobs that may be complete, then halves of a refused one, then what is due."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, select

from jobs import choose, lookup, settle
from jobs.choose import Item
from jobs.fields import confirm, halves, imports, list_step, plan, rewrite, singles
from jobs.fields.plan import Group, Step
from jobs.run import Hold, Run
from jobs.settle import Result
from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import Kind, Origin
from webapp.database import reading
from webapp.models import Batch, ProfileLink
from webapp.services.people import elsewhere

# Up to here one by one: exact and at once. Klaviyo asks not to use import jobs for small numbers.
SINGLES = 75
CHOSEN = 400
NEEDS = frozenset({"profiles:read", "profiles:write"})
IMPORT_NEEDS = frozenset({"lists:read", "lists:write"})


def step(run: Run) -> bool:
    """Do the next thing that is due; whether there was anything."""
    if run.open_batches:
        halves.write_off(run)
    if confirm.confirm_next(run):
        return True
    half, items = halves.first(run)
    if half is None:
        items = choose.due(run, Kind.FIELDS, CHOSEN)
    if not items:
        return rewrite.rewrite_next(run)
    if not run.grant.scopes >= NEEDS:
        _settle(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in items})
        return True
    many = len(plan.by_person(items)) > SINGLES and run.grant.scopes >= IMPORT_NEEDS
    if many and half is None:
        items = choose.due(run, Kind.FIELDS, choose.FOR_IMPORTS)
    ended = plan.ended(items, clock.now())
    if ended:
        _settle(run, ended)
    open_items = [item for item in items if item.id not in ended]
    if open_items:
        try:
            _groups(run, open_items, half, many=many)
        except lookup.MayNotLook:
            _settle(run, {item.id: settle.skipped(Reason.SCOPE_MISSING) for item in open_items})
        _tell_others(run, open_items)
    return True


def _tell_others(run: Run, items: list[Item]) -> None:
    """The workspace's other accounts may have these people too."""
    if all(item.only_existing or item.origin is not Origin.PLATFORM for item in items):
        return
    settings = run.workspace_settings()
    others = [connection.id for connection in settings.connections if connection.id != run.held.connection_id]
    if others:
        elsewhere.wake(run.held.workspace_id, others)


def _groups(run: Run, items: list[Item], half: Batch | None, *, many: bool) -> None:
    settings = run.workspace_settings()
    grouped = plan.by_person(items)
    behavior = run.connection.sync_behavior
    known = lookup.known_links(run, grouped)
    nothing = plan.without_look_up(grouped, known, settings, behavior, clock.now())
    if nothing:
        _settle(run, nothing)
        grouped = plan.by_person(item for item in items if item.id not in nothing)
    # Whoever is only owed to the list goes there by the id we have: nobody is looked up for it.
    owed = {p: group for p, group in grouped.items() if p in known and known[p].list_due}
    owed = {p: group for p, group in owed.items() if lookup.is_believed(known[p], clock.now())}
    listed = [group for group in plan.plan(owed, known, settings, behavior, clock.now()) if group.step is Step.LIST]
    _lists(run, listed)
    for group in listed:
        del grouped[group.person_id]
    if not grouped:
        return
    addresses = {person_id: str(group[0].email) for person_id, group in grouped.items()}
    links = _looked_up_now(run, addresses) if many else _links(run, addresses)
    if many:
        grouped = {person_id: group for person_id, group in grouped.items() if person_id in links}
    settings = run.workspace_settings()  # as they are after the look-ups: what was turned off meanwhile is not written
    planned = plan.plan(grouped, links, settings, behavior, clock.now())
    settled = {id_: r for g in planned if g.result for id_, r in g.results(g.result).items()}
    if settled:
        _settle(run, settled)
    writes = [group for group in planned if group.step in {Step.UPDATE, Step.CREATE}]
    if many and len(writes) > SINGLES:
        imports.send(run, plan.fitting(writes), half)
    elif writes:
        singles.send(run, writes)
    _lists(run, [group for group in planned if group.step is Step.LIST])


def _links(run: Run, addresses: dict[int, str]) -> dict[int, lookup.Link]:
    """Links of these people, looked up where it is not remembered. Raises Hold, MayNotLook."""
    return lookup.links_of(run, addresses, known=lookup.telling(run, lookup.known_links(run, addresses)))


def _looked_up_now(run: Run, addresses: dict[int, str]) -> dict[int, lookup.Link]:
    """Links of those who could be looked up in this drain: an import job could create whoever is not there.

    Where Klaviyo is so slow that the drain would end before the job is sent, the job is for those known by then.
    """
    known = _looked_up_since(run, addresses)
    unknown = {p: email for p, email in addresses.items() if p not in known}
    held = None
    try:
        for number, bite in enumerate(lookup.bites(unknown)):
            if number and not run.may_ask_on():
                break
            lookup.look_up(run, bite)
    except Hold as hold:
        held = hold
    fresh = _looked_up_since(run, addresses)
    if held is not None and not fresh:
        raise held
    return fresh


def _looked_up_since(run: Run, people: Iterable[int]) -> dict[int, lookup.Link]:
    """Links of those who were looked up in this drain: a half of a refused call need not be asked about once more."""
    links = lookup.known_links(run, people)
    return {p: link for p, link in links.items() if link.looked_up_at is not None and link.looked_up_at >= run.began}


def _lists(run: Run, groups: list[Group]) -> None:
    if groups:
        list_step.add(run, groups)


def next_due_at(run: Run) -> datetime | None:
    """When the lane has something to do next: a delivery, an import job to ask about, a person to write once more."""
    jobs = select(func.min(Batch.job_due_at)).where(Batch.lane_id == run.held.lane_id, Batch.job_due_at.is_not(None))
    rewrites = select(func.min(ProfileLink.unsettled_until)).where(
        ProfileLink.connection_id == run.held.connection_id, rewrite.MARKED
    )
    with reading() as session:
        moments = [session.scalar(jobs), session.scalar(rewrites)]
    moments.append(choose.next_due_at(run, Kind.FIELDS))
    return min((moment for moment in moments if moment is not None), default=None)


def _settle(run: Run, results: dict[int, Result]) -> None:
    run.write(lambda session: settle.settle(session, run.connection, Kind.FIELDS, results))
