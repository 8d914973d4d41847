"""Bulk import of profiles: checked at once and as a whole, done later one by one, errors kept in the job."""

from __future__ import annotations

import time
from typing import Any

from sandbox import filters
from sandbox.answers import iso, page, resource, words
from sandbox.api import lists
from sandbox.bodies import IMPORT_JOB, checked
from sandbox.effects import ImportProfiles
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import invalid, not_found
from sandbox.limits import M
from sandbox.state.account import normalized
from sandbox.state.records import ImportJob, long_id

_EXPIRES_SECONDS = 7 * 86_400


def _shown(call: Call, job: ImportJob) -> dict[str, Any]:
    attributes = {
        "status": job.status,
        "created_at": iso(job.created),
        "total_count": job.total,
        "completed_count": job.completed_count,
        "failed_count": job.failed_count,
        "completed_at": iso(job.completed),
        "expires_at": iso(job.created + _EXPIRES_SECONDS),
        "started_at": iso(job.started),
    }
    relationships = {"lists": {"data": [{"type": "list", "id": list_id} for list_id in job.lists]}}
    return resource(call, "profile-bulk-import-job", job.id, attributes, relationships)


def _find(call: Call, job_id: str) -> ImportJob:
    if job_id not in call.account.jobs:
        raise not_found("profile-bulk-import-job", job_id)
    return call.account.jobs[job_id]


def _first_of_each(profiles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several with one address only the first is taken."""
    found: dict[Any, dict[str, Any]] = {}
    for place, item in enumerate(profiles):
        email = item["attributes"].get("email")
        found.setdefault(normalized(email) if email else place, item)
    return list(found.values())


@endpoint("POST /api/profile-bulk-import-jobs", "lists:write profiles:write", M)
async def create_job(call: Call) -> Reply:
    """Accept up to 10,000 profiles; one that is wrong refuses them all."""
    data = checked(call.body, IMPORT_JOB)["data"]
    named = (data.get("relationships") or {}).get("lists") or {}
    list_ids = [lists.find(call, item["id"]).id for item in named.get("data") or []]
    profiles = data["attributes"]["profiles"]["data"]
    job = ImportJob(f"{long_id()}{long_id()}=", time.time(), len(profiles), list_ids)
    call.account.jobs[job.id] = job
    call.account.touch("job", job.id)
    effect = ImportProfiles(call.account.id, job.id, _first_of_each(profiles))
    call.world.accept(call.account, call.name, [effect])
    return Reply(202, {"data": _shown(call, job)})


@endpoint("GET /api/profile-bulk-import-jobs", "lists:read profiles:read", M)
async def get_jobs(call: Call) -> Reply:
    """A page of jobs, the newest first unless asked otherwise."""
    clauses = filters.parse(call.request.query.get("filter"), {"status": ("any", "equals")})
    rows = [job for job in call.account.jobs.values() if all(job.status in clause.values for clause in clauses)]
    sort = call.request.query.get("sort", "-created_at")
    if sort.removeprefix("-") != "created_at":
        raise invalid(f"Cannot sort by {sort!r}.", parameter="sort")
    rows.sort(key=lambda job: job.created, reverse=sort.startswith("-"))
    return Reply(200, page(call, rows, lambda job: _shown(call, job), standard=20, most=100))


@endpoint("GET /api/profile-bulk-import-jobs/{id}", "lists:read profiles:read", M)
async def get_job(call: Call) -> Reply:
    """One job."""
    job = _find(call, call.part("id"))
    answer: dict[str, Any] = {"data": _shown(call, job)}
    if words(call, "include", ("lists",)):
        answer["included"] = [lists.shown(call, call.account.lists[each]) for each in job.lists]
    return Reply(200, answer)


@endpoint("GET /api/profile-bulk-import-jobs/{id}/import-errors", "profiles:read", M)
async def get_import_errors(call: Call) -> Reply:
    """A page of what failed, with the payload it failed on."""

    def shown(error: dict[str, Any]) -> dict[str, Any]:
        attributes = {name: value for name, value in error.items() if name != "id"}
        return {"type": "import-error", "id": error["id"], "attributes": attributes}

    return Reply(200, page(call, _find(call, call.part("id")).errors, shown, standard=20, most=100))
