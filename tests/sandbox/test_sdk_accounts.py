"""Whose token it is, and what every call needs before it is looked at: a token, a revision, a scope, a media type."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from sandbox import revisions
from tests.sandbox.klaviyo_clients import Plain, refused, sdk
from tests.sandbox_process import SandboxProcess


def test_token_sees_its_own_account(klaviyo: Any, account: str) -> None:
    answer = klaviyo.Accounts.get_accounts()
    assert [each.id for each in answer.data] == [account]
    held = answer.data[0].attributes
    assert held.contact_information.organization_name == f"Bench {account[2:]}"
    assert held.timezone == "Europe/Stockholm"
    assert held.public_api_key == account


def test_account_by_id_is_only_the_own_one(klaviyo: Any, account: str) -> None:
    assert klaviyo.Accounts.get_account(account).data.id == account
    assert refused(klaviyo.Accounts.get_account, "AC0300").status == 404


def test_sparse_account(plain: Plain) -> None:
    answer = plain.get("/api/accounts", {"fields[account]": "timezone,contact_information.organization_name"})
    held = answer.json()["data"][0]["attributes"]
    assert set(held) == {"timezone", "contact_information"}
    assert set(held["contact_information"]) == {"organization_name"}


def test_unknown_field_is_refused(plain: Plain) -> None:
    found = plain.refused("GET", "/api/accounts", query={"fields[account]": "shoe_size"})
    assert (found.status, found.parameter) == (400, "fields[account]")


def test_missing_scope(klaviyo_with: Callable[..., Any]) -> None:
    found = refused(klaviyo_with("lists:read").Accounts.get_accounts)
    assert (found.status, found.code, found.pointers) == (403, "permission_denied", ["/data/"])
    assert "accounts:read" in found.detail


def test_unknown_token(sandbox: SandboxProcess) -> None:
    found = refused(sdk(sandbox, "nobodys").Accounts.get_accounts)
    assert (found.status, found.code) == (401, "authentication_failed")


def test_expired_token(sandbox: SandboxProcess, klaviyo: Any, account: str) -> None:
    klaviyo.Accounts.get_accounts()
    sandbox.expire(account)
    assert refused(klaviyo.Accounts.get_accounts).status == 401


@pytest.mark.parametrize("header", [None, "Klaviyo-API-Key pk_123", "Bearer", "Basic abc"])
def test_no_bearer_token(plain: Plain, header: str | None) -> None:
    assert plain.refused("GET", "/api/accounts", headers={"Authorization": header}).status == 401


def test_missing_revision(plain: Plain) -> None:
    found = plain.refused("GET", "/api/accounts", headers={"revision": None})
    assert (found.status, found.parameter) == (400, "revision")


@pytest.mark.parametrize("revision", ["2026-07-16", "2026-02-15", "latest", "2099-01-15", "2026-7-15", "9999-99-99"])
def test_invented_revision(plain: Plain, revision: str) -> None:
    assert plain.refused("GET", "/api/accounts", headers={"revision": revision}).status == 400


def test_retired_revision(plain: Plain) -> None:
    found = plain.refused("GET", "/api/accounts", headers={"revision": "2023-10-15"})
    assert (found.status, found.code) == (410, "gone")


@pytest.mark.parametrize(
    ("revision", "headers"),
    [
        ("2026-07-15", {"X-Klaviyo-Api-Revision": "2026-07-15"}),
        (
            "2025-10-15",
            {"X-Klaviyo-Api-Revision": "2025-10-15", "X-Klaviyo-Api-Retirement-Date": "2027-10-15"},
        ),
    ],
)
def test_revision_is_answered(revision: str, headers: dict[str, str]) -> None:
    assert revisions.headers_for(revision, date(2026, 11, 1)) == headers


def test_every_answer_names_revision_request_and_account(plain: Plain, account: str) -> None:
    answer = plain.get("/api/accounts")
    assert answer.headers["X-Klaviyo-Api-Revision"] == "2026-07-15"
    assert uuid.UUID(answer.headers["x-klaviyo-req-id"])
    assert answer.headers["cid"] == account
    assert "Set-Cookie" not in answer.headers


def test_path_may_end_with_a_slash(plain: Plain) -> None:
    assert plain.get("/api/accounts/").status_code == 200


def test_unknown_endpoint(plain: Plain) -> None:
    assert plain.refused("GET", "/api/flying-carpets").code == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/accounts", "GET"),
        ("GET", "/api/profile-import/", "POST"),
        ("PUT", "/api/lists", "GET, POST"),
        ("POST", "/api/profiles/01ABC", "GET, PATCH"),
        ("PATCH", "/api/events", "GET, POST"),
    ],
)
def test_method_that_a_path_does_not_know(plain: Plain, method: str, path: str, allowed: str) -> None:
    found = plain.refused(method, path, {})
    assert (found.status, found.code) == (405, "method_not_allowed")
    assert found.detail == f'Method "{method}" not allowed.'
    assert sorted(found.headers["Allow"].split(", ")) == allowed.split(", ")
    assert plain.refused(method, path, {}, headers={"Authorization": None}).status == 401


def test_media_type(plain: Plain) -> None:
    body = {"data": {"type": "list", "attributes": {"name": "New"}}}
    sent = {"Content-Type": "text/plain"}
    assert plain.refused("POST", "/api/lists", body, headers=sent).status == 415
    assert plain.call("POST", "/api/lists", body, headers={"Content-Type": "application/json"}).status_code == 201


def test_body_over_5_mb(plain: Plain) -> None:
    assert plain.refused("POST", "/api/lists", raw=b" " * (5 * 1024 * 1024 + 1)).status == 413


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"data"', b"\xff"])
def test_body_that_is_no_json_object(plain: Plain, raw: bytes) -> None:
    assert plain.refused("POST", "/api/lists", raw=raw).status == 400


def test_error_objects_have_all_the_documented_fields(plain: Plain) -> None:
    error = plain.refused("GET", "/api/profiles/01NOBODY").errors[0]
    assert set(error) == {"id", "status", "code", "title", "detail", "source", "links", "meta"}
    assert (error["status"], error["code"]) == (404, "not_found")
    assert error["detail"] == "A profile with id 01NOBODY does not exist."


def test_clock_is_the_real_one() -> None:
    assert revisions.today() == datetime.now(UTC).date()
