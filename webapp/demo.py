"""The demo workspaces, with passwords and keys that everybody knows: for one machine only."""

from __future__ import annotations

from sqlalchemy import select

from webapp import clock
from webapp.catalogue.events import EVENTS
from webapp.catalogue.fields import FIELDS
from webapp.crypto import digest
from webapp.database import writing
from webapp.models import IngestKey, Membership, Role, User, Workspace
from webapp.published import PASSWORD, SUPPORT, WORKSPACES
from webapp.services.sharing import choices
from webapp.services.workspaces import ingest_keys, stores, users
from webapp.settings import Settings


def refusal(values: Settings) -> str | None:
    """Why there can be no demo here; None where there can."""
    if not values.uses_sandbox:
        return "The demo is for the Klaviyo sandbox only, and KLAVIYO_CLIENT_ID is set."
    if values.elsewhere:
        names = ", ".join(values.elsewhere)
        return (
            f"The demo is for one machine, and these name another: {names}. A real installation sets KLAVIYO_CLIENT_ID."
        )
    return None


def seed() -> None:
    """Make whatever of it is missing; what people changed since stays."""
    with writing() as session:
        present = {row.slug for row in session.scalars(select(Workspace))}
    for slug in WORKSPACES.keys() - present:
        _workspace(slug)
    if "demo" not in present:
        _user(SUPPORT, None)


def _workspace(slug: str) -> None:
    name, external_ids, owner, key = WORKSPACES[slug]
    with writing() as session:
        made = Workspace(slug=slug, name=name, version=1, created_at=clock.now())
        session.add(made)
    for external_id in external_ids:
        stores.put(made.id, external_id, f"acme.{external_id}")
    _user(owner, made.id)
    with writing() as session:
        taken = session.scalar(select(IngestKey.id).where(IngestKey.key_hash == digest(key)))
    if taken is None:
        ingest_keys.create(made.id, "demo", None, key=key)
    if slug == "demo":
        choices.choose_events(made.id, None, EVENTS)
        choices.choose_fields(made.id, None, FIELDS)


def _user(email: str, workspace_id: int | None) -> None:
    with writing() as session:
        user = User(
            email=email,
            password_hash=users.hash_password(PASSWORD),
            is_support=workspace_id is None,
            created_at=clock.now(),
        )
        session.add(user)
        session.flush()
        if workspace_id is not None:
            session.add(Membership(workspace_id=workspace_id, user_id=user.id, role=Role.OWNER, created_at=clock.now()))
