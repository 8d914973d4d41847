"""Creations as the tests of them speak of them: calls that may create, who was born, another lane meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from jobs import drain
from tests.jobs.klaviyo import Asked, html
from tests.jobs.shop import Shop
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.models import Person

LOOK, EVENT, EVENTS = "GET /api/profiles", "POST /api/events", "POST /api/event-bulk-create-jobs"
IMPORT, JOB = "POST /api/profile-import", "POST /api/profile-bulk-import-jobs"
SUBSCRIBE = "POST /api/profile-subscription-bulk-create-jobs"
STATUS, JOB_ERRORS = "GET /api/profile-bulk-import-jobs/{id}", "GET /api/profile-bulk-import-jobs/{id}/import-errors"
ADD = "POST /api/lists/{id}/relationships/profiles"


def profile(person: Person, born: datetime) -> dict[str, Any]:
    attributes = {"email": person.email, "created": clock.iso(born)}
    return {"type": "profile", "id": f"01BORN{person.id}", "attributes": attributes}


def beside(shop: Shop, kind: Kind, answer: Any) -> Callable[[Asked], Any]:
    """Another worker drains the other lane while this call is under way; then it is answered so."""

    def work(_asked: Asked) -> Any:
        drain.drain(shop.lane(kind).id)
        return answer(_asked) if callable(answer) else answer

    return work


LOST = html(500)
