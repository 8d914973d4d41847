"""Import jobs as the tests of them speak of them: their endpoints, their people, and what was sent."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update

from tests.jobs.klaviyo import Given, good
from tests.jobs.shop import Shop
from webapp.database import writing
from webapp.models import Budget, Delivery, Person

LOOK, JOB, STATUS = "GET /api/profiles", "POST /api/profile-bulk-import-jobs", "GET /api/profile-bulk-import-jobs/{id}"
ERRORS, PATCH = "GET /api/profile-bulk-import-jobs/{id}/import-errors", "PATCH /api/profiles/{id}"
ADD = "POST /api/lists/{id}/relationships/profiles"
PROCESSING = ["waiting: klaviyo_processing"]


def several(shop: Shop, count: int = 6, *, there: bool = True) -> tuple[list[Person], list[Delivery]]:
    people = [shop.person(there=there) for _ in range(count)]
    return people, [shop.fields(person, points=number) for number, person in enumerate(people)]


def at(place: int) -> str:
    return f"/data/attributes/profiles/data/{place}/attributes/email"


def ended(shop: Shop, status: str = "complete", **attributes: Any) -> Given:
    """What the last job is like now."""
    name = list(shop.klaviyo.jobs)[-1]
    return good(200, {"type": "profile-bulk-import-job", "id": name, "attributes": {"status": status, **attributes}})


def sent(shop: Shop) -> list[list[int]]:
    """The points of the people of each job."""
    return [
        [each["attributes"]["properties"]["Cevoid: Points"] for each in a.profiles] for a in shop.klaviyo.calls(JOB)
    ]


def next_second(shop: Shop) -> None:
    """Nothing is held back any more, for the budget neither."""
    with writing() as session:
        session.execute(update(Budget).values(spent=[]))
    shop.wait_is_over()
