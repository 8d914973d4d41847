"""Bulk import jobs: refused whole, done later, polled, their errors read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.processes import wait_for
from tests.sandbox.bodies import import_job
from tests.sandbox.klaviyo_clients import Plain, refused
from tests.sandbox_process import SandboxProcess


def _start(klaviyo: Any, *profiles: dict[str, Any], lists: tuple[str, ...] = ()) -> str:
    made: str = klaviyo.Profiles.bulk_import_profiles(import_job(profiles, *lists)).data.id
    return made


def _done(klaviyo: Any, job_id: str) -> Any:
    def attributes() -> Any:
        return klaviyo.Profiles.get_bulk_import_profiles_job(job_id).data.attributes

    wait_for(lambda: attributes().status == "complete", "the import job", 5)
    return attributes()


def test_job_creates_updates_and_adds_to_lists(
    klaviyo: Any, sandbox: SandboxProcess, account: str, newsletter: str
) -> None:
    sandbox.put_profiles(account, "ada@example.com")
    job_id = _start(
        klaviyo,
        {"email": "ADA@example.com", "properties": {"points": 3}},
        {"email": "bea@example.com", "first_name": "Bea"},
        lists=(newsletter,),
    )
    job = _done(klaviyo, job_id)
    assert (job.total_count, job.completed_count, job.failed_count) == (2, 2, 0)
    assert job.started_at >= job.created_at
    assert (job.expires_at - job.created_at).days == 7
    held = sandbox.profiles(account)
    assert held["ada@example.com"]["properties"] == {"points": 3}
    assert held["bea@example.com"]["first_name"] == "Bea"
    assert set(sandbox.lists(account)["Newsletter"]["members"]) == {"ada@example.com", "bea@example.com"}
    assert sandbox.subscriptions(account)["bea@example.com"]["state"] == "NEVER_SUBSCRIBED"


def test_202_is_not_done(plain: Plain) -> None:
    answer = plain.post("/api/profile-bulk-import-jobs", import_job([{"email": "ada@example.com"}]))
    assert answer.status_code == 202
    assert answer.json()["data"]["attributes"]["status"] == "queued"
    assert plain.get("/api/profiles").json()["data"] == []


def test_null_does_not_clear_but_unset_does(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    _done(klaviyo, _start(klaviyo, {"email": "ada@example.com", "first_name": "Ada", "properties": {"a": 1, "b": 2}}))
    item = {
        "type": "profile",
        "attributes": {"email": "ada@example.com", "first_name": None, "properties": {"a": None}},
        "meta": {"patch_properties": {"unset": ["b"]}},
    }
    _done(klaviyo, _start(klaviyo, item))
    held = sandbox.profiles(account)["ada@example.com"]
    assert (held["first_name"], held["properties"]) == ("Ada", {"a": 1})


def test_one_bad_address_refuses_all(plain: Plain, sandbox: SandboxProcess, account: str) -> None:
    people = [{"email": "ada@example.com"}, {"email": "nonsense"}, {"email": "bea@example.com"}, {"email": "x@y"}]
    found = plain.refused("POST", "/api/profile-bulk-import-jobs", import_job(people))
    assert found.status == 400
    assert found.pointers == [
        "/data/attributes/profiles/data/1/attributes/email",
        "/data/attributes/profiles/data/3/attributes/email",
    ]
    assert sandbox.profiles(account) == {}


@pytest.mark.parametrize("count", [0, 10_001])
def test_size_of_a_job(plain: Plain, count: int) -> None:
    people = [{"email": f"p{number}@example.com"} for number in range(count)]
    found = plain.refused("POST", "/api/profile-bulk-import-jobs", import_job(people))
    assert (found.status, found.pointers) == (400, ["/data/attributes/profiles/data"])


def test_ten_thousand_are_taken(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    people = [{"email": f"p{number}@example.com"} for number in range(10_000)]
    assert _done(klaviyo, _start(klaviyo, *people)).completed_count == 10_000
    assert sandbox.accounts()[account]["profiles"] == 10_000


def test_errors_name_what_failed(klaviyo: Any) -> None:
    taken = [{"email": "ada@example.com"}, {"email": "bea@example.com", "phone_number": "+46701234567"}]
    _done(klaviyo, _start(klaviyo, *taken))
    job_id = _start(
        klaviyo,
        {"email": "cleo@example.com"},
        {"email": "ada@example.com", "phone_number": "+46701234567"},
    )
    job = _done(klaviyo, job_id)
    assert (job.total_count, job.completed_count, job.failed_count) == (2, 1, 1)
    (error,) = klaviyo.Profiles.get_errors_for_bulk_import_profiles_job(job_id).data
    assert error.attributes.code == "duplicate_profile"
    assert error.attributes.source.pointer == "/data/attributes/profiles/data/1"
    assert error.attributes.original_payload["email"] == "ada@example.com"


def test_an_address_twice_in_a_job_is_taken_once(klaviyo: Any, sandbox: SandboxProcess, account: str) -> None:
    twice = [{"email": "ada@example.com", "title": "first"}, {"email": "Ada@example.com", "title": "second"}]
    _done(klaviyo, _start(klaviyo, *twice))
    assert sandbox.profiles(account)["ada@example.com"]["title"] == "first"


def test_jobs_are_listed(klaviyo: Any) -> None:
    job_id = _start(klaviyo, {"email": "ada@example.com"})
    _done(klaviyo, job_id)
    assert [each.id for each in klaviyo.Profiles.get_bulk_import_profiles_jobs().data] == [job_id]
    complete = 'equals(status,"complete")'
    assert len(klaviyo.Profiles.get_bulk_import_profiles_jobs(filter=complete).data) == 1
    assert klaviyo.Profiles.get_bulk_import_profiles_jobs(filter='any(status,["queued"])').data == []


def test_unknown_job_and_unknown_list(klaviyo: Any) -> None:
    assert refused(klaviyo.Profiles.get_bulk_import_profiles_job, "nope").status == 404
    assert refused(klaviyo.Profiles.get_errors_for_bulk_import_profiles_job, "nope").status == 404
    job = import_job([{"email": "ada@example.com"}], "NOPE01")
    assert refused(klaviyo.Profiles.bulk_import_profiles, job).status == 404


def test_scopes(klaviyo_with: Callable[..., Any]) -> None:
    job = import_job([{"email": "ada@example.com"}])
    assert refused(klaviyo_with("profiles:write").Profiles.bulk_import_profiles, job).status == 403
    assert refused(klaviyo_with("lists:write").Profiles.bulk_import_profiles, job).status == 403
    job_id = klaviyo_with("lists:write", "profiles:write").Profiles.bulk_import_profiles(job).data.id
    reader = klaviyo_with("profiles:read")
    assert refused(reader.Profiles.get_bulk_import_profiles_job, job_id).status == 403
    assert reader.Profiles.get_errors_for_bulk_import_profiles_job(job_id).data == []
