"""What a bulk import job does: one profile after the other, in any order; what fails is kept in the job."""

from __future__ import annotations

import random
import time
import uuid
from typing import Any

from sandbox import people
from sandbox.errors import Refused, not_found
from sandbox.state.account import Account
from sandbox.state.records import ImportJob


def _import_one(account: Account, item: dict[str, Any], job: ImportJob) -> None:
    attributes = item["attributes"]
    profile = people.resolve(account, item.get("id"), attributes)
    if profile is None and item.get("id") and not any(attributes.get(key) for key in ("email", "external_id")):
        raise not_found("profile", item["id"])
    profile = profile or account.create_profile()
    people.apply(account, profile, attributes, item.get("meta"), null_clears=False)
    for list_id in job.lists:
        if list_id in account.lists:
            account.join(account.lists[list_id], profile.id)


def run(account: Account, job_id: str, profiles: list[dict[str, Any]]) -> None:
    """Do a job."""
    job = account.jobs[job_id]
    job.started = time.time()
    order = list(enumerate(profiles))
    random.shuffle(order)
    for place, item in order:
        try:
            _import_one(account, item, job)
            job.completed_count += 1
        except Refused as refused:
            problem = refused.problems[0]
            job.failed_count += 1
            job.errors.append(
                {
                    "id": str(uuid.uuid4()),
                    "code": problem.code,
                    "title": problem.title,
                    "detail": problem.detail,
                    "source": {"pointer": f"/data/attributes/profiles/data/{place}"},
                    "original_payload": {"id": item.get("id"), **item["attributes"]},
                }
            )
    job.completed = time.time()
    job.status = "complete"
    account.touch("job", job.id)
