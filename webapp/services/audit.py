"""Who did what. The entry is written in the transaction of the change."""

from __future__ import annotations

from typing import Any

from flask import g, has_request_context
from sqlalchemy.orm import Session

from webapp import clock
from webapp.models import AuditEntry


def record(
    session: Session,
    *,
    workspace_id: int | None,
    actor_id: int | None,
    action: str,
    subject: tuple[str, str | int],
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write an entry. Ids, states and settings only: never tokens, addresses or payloads."""
    session.add(
        AuditEntry(
            workspace_id=workspace_id,
            actor_id=actor_id,
            action=action,
            subject_type=subject[0],
            subject_id=str(subject[1]),
            before=before,
            after=after,
            request_id=getattr(g, "request_id", None) if has_request_context() else None,
            at=clock.now(),
        )
    )
