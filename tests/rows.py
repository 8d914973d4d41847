"""Rows for tests, with sensible values for all that a test does not care about. Needs an app context."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from webapp import clock
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import ActivityType, Kind, Origin
from webapp.database import writing
from webapp.extensions import key_ring
from webapp.models import (
    Activity,
    Connection,
    Delivery,
    Grant,
    Lane,
    LaneKind,
    Membership,
    Person,
    ProfileLink,
    Role,
    Signup,
    Store,
    User,
    Workspace,
)

ALL_SCOPES = (
    "accounts:read metrics:read metrics:write events:read events:write profiles:read profiles:write "
    "lists:read lists:write subscriptions:write"
)


class Rows:
    """Each method writes one row (with what must go with it) and gives it back, detached."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def save(self, row: Any) -> Any:
        """Write any row as it is."""
        with writing() as session:
            session.add(row)
        return row

    def workspace(self, slug: str | None = None, **values: Any) -> Workspace:
        """A workspace."""
        slug = slug or f"workspace-{next(self._numbers)}"
        named = {"name": slug.title(), **values}
        made: Workspace = self.save(Workspace(slug=slug, version=1, created_at=clock.now(), **named))
        return made

    def store(self, workspace: Workspace, external_id: str | None = None, **values: Any) -> Store:
        """A store."""
        external_id = external_id or f"store-{next(self._numbers)}"
        values.setdefault("name", external_id)
        made: Store = self.save(
            Store(workspace_id=workspace.id, external_id=external_id, created_at=clock.now(), **values)
        )
        return made

    def user(self, workspace: Workspace | None = None, *, support: bool = False, **values: Any) -> User:
        """A user who cannot sign in by password; a member (owner) of `workspace` if given."""
        values.setdefault("email", f"user-{next(self._numbers)}@example.com")
        values.setdefault("password_hash", "!")
        user: User = self.save(User(is_support=support, created_at=clock.now(), **values))
        if workspace is not None:
            self.save(Membership(workspace_id=workspace.id, user_id=user.id, role=Role.OWNER, created_at=clock.now()))
        return user

    def connection(self, workspace: Workspace, store: Store | None = None, **values: Any) -> Connection:
        """An active connection with its four lanes and a grant of every scope good for an hour."""
        scopes = values.pop("scopes", ALL_SCOPES)
        values.setdefault("klaviyo_account_id", f"ACC{next(self._numbers):03d}")
        values.setdefault("account_name", "Acme")
        values.setdefault("state_at", clock.now())
        values.setdefault("created_at", clock.now())
        made: Connection = self.save(
            Connection(workspace_id=workspace.id, store_id=store.id if store else None, **values)
        )
        for kind in LaneKind:
            self.save(Lane(workspace_id=workspace.id, connection_id=made.id, kind=kind))
        self.grant(made, scopes=scopes)
        return made

    def grant(self, connection: Connection, **values: Any) -> Grant:
        """A grant with the tokens `access-<id>` and `refresh-<id>` unless given (in clear) in `values`."""
        row = f"grant:{connection.id}"
        access = values.pop("access_token", f"access-{connection.id}")
        refresh = values.pop("refresh_token", f"refresh-{connection.id}")
        now = clock.now()
        values = {"expires_at": now + timedelta(hours=1), "scopes": ALL_SCOPES, "refreshed_at": now, **values}
        made: Grant = self.save(
            Grant(
                connection_id=connection.id,
                access_token=key_ring().encrypt(access, row=row, field="access_token"),
                refresh_token=key_ring().encrypt(refresh, row=row, field="refresh_token"),
                granted_at=now,
                **values,
            )
        )
        return made

    def person(self, workspace: Workspace, email: str | None = None, **values: Any) -> Person:
        """A person."""
        email = email or f"person-{next(self._numbers)}@example.com"
        made: Person = self.save(Person(workspace_id=workspace.id, email=email, created_at=clock.now(), **values))
        return made

    def link(self, connection: Connection, person: Person, **values: Any) -> ProfileLink:
        """A profile link; found now unless said otherwise."""
        values.setdefault("found", True)
        values.setdefault("klaviyo_id", f"01K{person.id:023d}")
        values.setdefault("looked_up_at", clock.now())
        made: ProfileLink = self.save(ProfileLink(connection_id=connection.id, person_id=person.id, **values))
        return made

    def signup(self, connection: Connection, person: Person, list_id: str | None = None, **values: Any) -> Signup:
        """That we subscribed somebody to a list, or to none; now unless said otherwise."""
        values.setdefault("sent_at", clock.now())
        account_id = connection.klaviyo_account_id
        made: Signup = self.save(
            Signup(person_id=person.id, klaviyo_account_id=account_id, list_id=list_id or "", **values)
        )
        return made

    def activity(self, workspace: Workspace, person: Person | None = None, **values: Any) -> Activity:
        """An activity: a member_joined_program event unless said otherwise."""
        number = next(self._numbers)
        defaults: dict[str, Any] = {
            "external_id": f"a-{number}",
            "type": ActivityType.EVENT,
            "event": "member_joined_program",
            "origin": Origin.PLATFORM,
            "occurred_at": clock.now(),
            "accepted_at": clock.now(),
            "properties": '{"shortId":"123456"}',
            "profile": "{}",
        }
        made: Activity = self.save(
            Activity(workspace_id=workspace.id, person_id=person.id if person else None, **{**defaults, **values})
        )
        return made

    def delivery(self, activity: Activity, connection: Connection | None, **values: Any) -> Delivery:
        """A delivery of `activity`, waiting unless said otherwise; lane counters are kept."""
        now = clock.now()
        defaults: dict[str, Any] = {
            "kind": Kind.EVENT,
            "status": Status.WAITING,
            "reason": Reason.BACKLOG,
            "due_at": now,
            "created_at": now,
            "expires_at": now + timedelta(days=7),
            "event": activity.event,
        }
        made: Delivery = self.save(
            Delivery(
                workspace_id=activity.workspace_id,
                activity_id=activity.id,
                connection_id=connection.id if connection else None,
                person_id=activity.person_id,
                **{**defaults, **values},
            )
        )
        if connection is not None:
            self._count(made)
        return made

    def _count(self, delivery: Delivery) -> None:
        lane_kind = {
            Kind.EVENT: LaneKind.EVENTS,
            Kind.FIELDS: LaneKind.FIELDS,
            Kind.CONSENT: LaneKind.CONSENTS,
        }
        with writing() as session:
            lane = (
                session.query(Lane).filter_by(connection_id=delivery.connection_id, kind=lane_kind[delivery.kind]).one()
            )
            lane.made += 1
            lane.news += 1
            if delivery.status is Status.WAITING:
                lane.next_at = delivery.due_at
            else:
                column = {Status.DELIVERED: "delivered", Status.SKIPPED: "skipped", Status.FAILED: "failed"}
                name = column[delivery.status]
                setattr(lane, name, getattr(lane, name) + 1)
