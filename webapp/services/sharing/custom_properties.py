"""A workspace's own profile fields. Key and label name a Klaviyo property for good: neither changes nor is reused."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from webapp import clock
from webapp.catalogue.fields import FIELDS, PREFIX
from webapp.database import run_writing
from webapp.extensions import db
from webapp.forms.custom_properties import NewProperty, same_name
from webapp.forms.invalid import Invalid
from webapp.models import CustomProperty
from webapp.services import audit
from webapp.services.workspaces import tenancy

MOST = 200  # Klaviyo takes 400 properties a profile, the brand's own and others' among them


def get(workspace_id: int, property_id: int) -> CustomProperty | None:
    """A custom property of this workspace; None for anybody else's."""
    statement = select(CustomProperty).where(
        CustomProperty.id == property_id, CustomProperty.workspace_id == workspace_id
    )
    return db.session.scalar(statement)


def create(workspace_id: int, actor_id: int, new: NewProperty) -> CustomProperty:
    """A new one, off until it is turned on. Raises Invalid where its key or label is taken, by a retired one too."""
    try:
        return run_writing(lambda session: _create(session, workspace_id, actor_id, new))
    except IntegrityError:
        raise Invalid({"key": "Somebody has just created one with this key or label."}) from None


def _create(session: Session, workspace_id: int, actor_id: int, new: NewProperty) -> CustomProperty:
    tenancy.changed(session, workspace_id)  # first: whoever creates another at the same time waits here, then sees ours
    mine = CustomProperty.workspace_id == workspace_id
    taken = list(session.scalars(select(CustomProperty).where(mine)))
    problems: dict[str, str] = {}
    if new.key in FIELDS or any(row.key == new.key for row in taken):
        problems["key"] = "This key is taken. A retired property keeps its key."
    properties = {same_name(field.property) for field in FIELDS.values()}
    properties |= {same_name(f"{PREFIX}{row.label}") for row in taken}
    if same_name(f"{PREFIX}{new.label}") in properties:
        problems["label"] = "This label is taken. A retired property keeps its label."
    if len(taken) >= MOST:
        problems["key"] = f"A workspace has at most {MOST} custom properties."
    if problems:
        raise Invalid(problems)
    made = CustomProperty(
        workspace_id=workspace_id,
        key=new.key,
        label=new.label,
        type=new.type,
        choices=list(new.choices),
        created_at=clock.now(),
    )
    session.add(made)
    session.flush()
    audit.record(
        session,
        workspace_id=workspace_id,
        actor_id=actor_id,
        action="custom_property.created",
        subject=("custom_property", made.id),
        after={"key": new.key, "label": new.label, "type": new.type, "choices": list(new.choices)},
    )
    return made


def retire(workspace_id: int, property_id: int, actor_id: int) -> CustomProperty:
    """No longer shared, for good; what Klaviyo holds stays there. Retiring twice is once. Raises LookupError."""

    def work(session: Session) -> CustomProperty:
        statement = select(CustomProperty).where(
            CustomProperty.id == property_id, CustomProperty.workspace_id == workspace_id
        )
        found = session.scalar(statement.with_for_update())
        if found is None:
            raise LookupError("no such custom property")
        if found.retired_at is None:
            found.retired_at = clock.now()
            tenancy.changed(session, workspace_id)
            audit.record(
                session,
                workspace_id=workspace_id,
                actor_id=actor_id,
                action="custom_property.retired",
                subject=("custom_property", found.id),
                after={"key": found.key},
            )
        return found

    return run_writing(work)
