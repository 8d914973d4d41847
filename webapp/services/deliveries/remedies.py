"""What removes a cause today: nobody is asked for what was done since, nor for what would not help any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp.catalogue.causes import CAUSES, Cause, Who
from webapp.catalogue.events import EVENTS
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import Kind, Origin
from webapp.klaviyo.scopes import missing
from webapp.models import Connection, ConnectionState, Grant
from webapp.services.activities import routing
from webapp.services.deliveries.causes import Group, Home
from webapp.services.deliveries.detail import FEATURE_OF, Detail
from webapp.services.deliveries.resend_rules import UNROUTED
from webapp.services.workspaces import snapshot
from webapp.services.workspaces.snapshot import WorkspaceSettings

GONE = "Nothing is sent to an account that is disconnected."
SOME = "What a connected account takes by now can be sent again already."


def of_delivery(session: Session, found: Detail) -> Cause:
    """Why a delivery has its status, with what helps it today."""
    delivery, person = found.delivery, found.person
    if found.reason in UNROUTED:
        home = (found.activity.store_id, person.home_store_id if person else None)
        cause = _unrouted(snapshot.load(session, delivery.workspace_id), found.reason, [home])
    else:
        cause = CAUSES[found.reason]
        cause = cause.mended() if _is_mended(session, found) else cause
        cause = cause.of_test() if found.activity.origin is Origin.TEST else cause
    if cause.is_mended and cause.again and delivery.kind is Kind.EVENT:
        cause = _as_it_goes(session, found, cause)
    cause = cause.of(delivery.status, [delivery.kind])
    is_gone = found.connection is not None and not found.connection.is_live
    return _over(cause) if is_gone and not cause.is_mended and found.reason is not Reason.DISCONNECTED else cause


def _as_it_goes(session: Session, found: Detail, cause: Cause) -> Cause:
    """What is mended is to be sent again only where it would be: to an account that is there, and while it is on."""
    if found.connection is not None and not found.connection.is_live:
        return replace(cause, again="", who=Who.NOBODY)
    if found.delivery.event in snapshot.load(session, found.delivery.workspace_id).events_on:
        return cause
    off = CAUSES[Reason.EVENT_OFF]
    return replace(CAUSES[found.reason], mend=off.mend, who=off.who, button=off.button)


def _is_mended(session: Session, found: Detail) -> bool:
    delivery, connection = found.delivery, found.connection
    if found.reason is Reason.EVENT_OFF:
        return delivery.event in snapshot.load(session, delivery.workspace_id).events_on
    if connection is None:
        return False
    if found.reason is Reason.DISCONNECTED:
        return _are_back(session, delivery.workspace_id, [connection.id])
    if found.reason is Reason.SCOPE_MISSING and not found.lacking and delivery.settled_at is not None:
        granted_at = session.scalar(select(Grant.granted_at).where(Grant.connection_id == connection.id))
        return granted_at is not None and granted_at > delivery.settled_at
    return False


def of_groups(session: Session, workspace_id: int, groups: Sequence[Group]) -> dict[Group, Cause]:
    """The cause of each group, with what helps all of it today."""
    settings = snapshot.load(session, workspace_id)
    live = _live(session, {id_ for group in groups for id_ in group.connections})
    found = {}
    for group in groups:
        cause = CAUSES[group.reason]
        if group.reason in UNROUTED:
            cause = _unrouted(settings, group.reason, group.homes)
        elif _are_all_mended(session, settings, group):
            cause = cause.mended()
        cause = cause.of(group.status, group.kinds)
        are_gone = bool(group.connections) and live.isdisjoint(group.connections)
        found[group] = _over(cause) if are_gone and group.reason is not Reason.DISCONNECTED else cause
    return found


def _live(session: Session, connection_ids: Collection[int]) -> set[int]:
    """Those of these connections that are not disconnected."""
    statement = select(Connection.id).where(
        Connection.id.in_(connection_ids), Connection.state != ConnectionState.DISCONNECTED
    )
    return set(session.scalars(statement))


def _over(cause: Cause) -> Cause:
    """Of a disconnected account, another cause than that: neither mending it nor sending again would help."""
    if not cause.resend:
        return cause
    return replace(cause, mend="", again=GONE, who=Who.NOBODY, button="", resend=False)


def _are_all_mended(session: Session, settings: WorkspaceSettings, group: Group) -> bool:
    if group.reason is Reason.EVENT_OFF:
        return settings.events_on.issuperset(EVENTS)
    if group.reason is Reason.DISCONNECTED:
        return _are_back(session, settings.workspace_id, group.connections)
    return group.reason is Reason.SCOPE_MISSING and _is_all_granted(session, group)


def _is_all_granted(session: Session, group: Group) -> bool:
    """Whether each of its accounts has granted what its kinds need, after the last of its deliveries had ended."""
    ended = dict(group.ended)
    grants = {
        each.connection_id: each
        for each in session.scalars(select(Grant).where(Grant.connection_id.in_(group.connections)))
    }
    if group.more:
        return False  # not all were looked at
    for connection_id in group.connections:
        grant, last = grants.get(connection_id), ended.get(connection_id)
        if grant is None or last is None or grant.granted_at <= last:
            return False
        lacking = missing(grant.scope_set)
        if any(FEATURE_OF[kind] in lacking for kind in group.kinds):
            return False
    return True


def _unrouted(settings: WorkspaceSettings, reason: Reason, homes: Collection[Home]) -> Cause:
    """Of what no account took: whether one takes it now, else what is lacking now, which may be something else."""
    cause = CAUSES[reason]
    routes = [routing.route(settings, *home) for home in homes]
    lacking = {route.reason for route in routes if route.reason is not None}
    if not lacking:
        return cause.mended()
    today = CAUSES[lacking.pop()]
    is_part = any(route.connection_id is not None for route in routes)
    again = f"{cause.again} {SOME}" if is_part else cause.again
    return replace(cause, mend=today.mend, again=again, button=today.button)


def _are_back(session: Session, workspace_id: int, connection_ids: Collection[int]) -> bool:
    """Whether the workspace has a live connection with the account of each of these."""
    mine = select(Connection.klaviyo_account_id).where(Connection.workspace_id == workspace_id)
    were = set(session.scalars(mine.where(Connection.id.in_(connection_ids))))
    live = mine.where(Connection.klaviyo_account_id.in_(were), Connection.state != ConnectionState.DISCONNECTED)
    return were == set(session.scalars(live))
