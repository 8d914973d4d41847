"""/_sandbox: what people and checks can see and do, beside Klaviyo's own paths."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox.bodies import entry, event, event_attributes, events_job, members, profile
from tests.sandbox.klaviyo_clients import Plain
from tests.sandbox_process import SandboxProcess

ADA = "ada@example.com"


def _status(sandbox: SandboxProcess, method: str, path: str, body: object = None, **rest: Any) -> int:
    answer = sandbox.session.request(method, f"{sandbox.url}/_sandbox{path}", json=body, timeout=10, **rest)
    return answer.status_code


def test_accounts(sandbox: SandboxProcess, plain: Plain, account: str, newsletter: str) -> None:
    ids = sandbox.put_profiles(account, ADA, "bea@example.com")
    sandbox.set_subscription(account, ADA, "SUBSCRIBED")
    plain.post(f"/api/lists/{newsletter}/relationships/profiles", members(ids[ADA]))
    plain.post("/api/events", event({"id": ids[ADA]}, unique_id="1"))
    sandbox.uninstall(account)
    sandbox.grant(account, "lists:read", "events:write")
    assert sandbox.accounts()[account] == {
        "id": account,
        "name": f"Bench {account[2:]}",
        "opt_in": "single_opt_in",
        "scopes": ["events:write", "lists:read"],
        "profiles": 2,
        "events": 1,
        "subscribed": 1,
        "list_members": 1,
    }


def test_events_are_json_lines_in_the_order_recorded(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    said = [event_attributes("Joined", unique_id=str(n), time=f"2026-11-2{n}T10:00:00Z") for n in (3, 1, 2)]
    plain.post("/api/event-bulk-create-jobs", events_job(entry({"email": ADA}, said)))
    plain.post("/api/events", event({"email": ADA}, "Left", unique_id="4", properties={"line": "a\nb\u2028c"}))
    answer = sandbox.session.get(f"{sandbox.url}/_sandbox/accounts/{account}/events", timeout=10)
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    rows = [json.loads(line) for line in answer.content.splitlines()]
    assert [row["unique_id"] for row in rows] == ["3", "1", "2", "4"]
    assert {"unique_id", "metric", "email", "time", "properties", "received_at"} <= set(rows[0])
    assert rows[3]["properties"] == {"line": "a\nb\u2028c"}
    assert len({row["id"] for row in rows}) == 4


def test_profiles_and_lists(sandbox: SandboxProcess, plain: Plain, account: str, newsletter: str) -> None:
    ids = sandbox.put_profiles(account, ADA, "Bea@Example.com")
    plain.call("PATCH", f"/api/profiles/{ids[ADA]}", profile({"first_name": "Ada"}, profile_id=ids[ADA]))
    plain.post(f"/api/lists/{newsletter}/relationships/profiles", members(ids[ADA]))
    held = sandbox.profiles(account)
    assert list(held) == [ADA, "bea@example.com"]
    assert (held[ADA]["id"], held[ADA]["first_name"]) == (ids[ADA], "Ada")
    assert sandbox.lists(account) == {
        "Newsletter": {
            "id": newsletter,
            "name": "Newsletter",
            "opt_in_process": "single_opt_in",
            "members": [ADA],
        }
    }


def test_putting_profiles_twice_keeps_them(sandbox: SandboxProcess, account: str) -> None:
    first = sandbox.put_profiles(account, ADA)
    body = {"emails": [ADA], "properties": {"points": 3}}
    assert sandbox.call("POST", f"/accounts/{account}/profiles", body) == {"profiles": first}
    assert sandbox.profiles(account)[ADA]["properties"] == {"points": 3}


def test_subscriptions(sandbox: SandboxProcess, account: str) -> None:
    sandbox.set_subscription(account, ADA, "SUBSCRIBED", at="2026-01-02T03:04:05Z")
    sandbox.set_subscription(account, "bea@example.com", "UNSUBSCRIBED", reason="SPAM_COMPLAINT")
    held = sandbox.subscriptions(account)
    assert (held[ADA]["state"], held[ADA]["at"]) == ("SUBSCRIBED", "2026-01-02T03:04:05+00:00")
    assert held["bea@example.com"]["suppressions"] == ["SPAM_COMPLAINT"]


def test_deleting_people_and_lists(sandbox: SandboxProcess, plain: Plain, account: str, newsletter: str) -> None:
    ids = sandbox.put_profiles(account, ADA, "bea@example.com")
    plain.post(f"/api/lists/{newsletter}/relationships/profiles", members(*ids.values()))
    plain.post("/api/events", event({"id": ids[ADA]}, unique_id="1"))
    found = sandbox.call("POST", f"/accounts/{account}/delete", {"emails": [ADA, "stranger@example.com"]})
    assert found == {"profiles": 1, "lists": 0}
    assert list(sandbox.profiles(account)) == ["bea@example.com"]
    assert sandbox.lists(account)["Newsletter"]["members"] == ["bea@example.com"]
    assert plain.get(f"/api/profiles/{ids[ADA]}").status_code == 404
    # What happened has happened, but nobody's address is on it any more.
    assert [row["email"] for row in sandbox.events(account)] == [None]
    sandbox.delete(account, lists=(newsletter,))
    assert plain.get(f"/api/lists/{newsletter}").status_code == 404


def test_grant_without_a_browser(sandbox: SandboxProcess, account: str) -> None:
    found = sandbox.grant(account, "profiles:read", "lists:read")
    assert (found["scope"], found["token_type"], found["expires_in"]) == ("lists:read profiles:read", "Bearer", 3600)
    assert "events:write" in sandbox.grant(account)["scope"]


def test_requests_are_counted_by_account_endpoint_and_status(
    sandbox: SandboxProcess, plain: Plain, account: str
) -> None:
    plain.get("/api/lists")
    plain.get("/api/lists")
    plain.get("/api/lists/NOPE01")
    plain.post("/api/events", {})
    rows = [row for row in sandbox.call("GET", "/requests")["requests"] if row["account"] == account]
    assert rows == [
        {"account": account, "endpoint": "GET /api/lists", "status": 200, "count": 2},
        {"account": account, "endpoint": "GET /api/lists/{id}", "status": 404, "count": 1},
        {"account": account, "endpoint": "POST /api/events", "status": 400, "count": 1},
    ]
    assert sandbox.requests(account=account) == 4
    assert sandbox.requests("GET /api/lists", account) == 2


def test_requests_without_a_good_token_have_no_account(sandbox: SandboxProcess, plain: Plain) -> None:
    before = sandbox.requests("GET /api/lists", "")
    plain.call("GET", "/api/lists", headers={"Authorization": "Bearer nobodys"})
    assert sandbox.requests("GET /api/lists", "") == before + 1


def test_faults_are_listed_and_taken_back(sandbox: SandboxProcess, account: str) -> None:
    sandbox.fault("429", account=account, endpoint="POST /api/events", times=3, retry_after=7)
    assert sandbox.call("GET", "/faults")["faults"] == [
        {
            "kind": "429",
            "account": account,
            "endpoint": "POST /api/events",
            "times": 3,
            "probability": 1.0,
            "retry_after": 7,
            "seconds": None,
        }
    ]
    sandbox.clear_faults()
    assert sandbox.call("GET", "/faults") == {"faults": []}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/accounts/NOSUCH/events", None, 404),
        ("POST", "/accounts/NOSUCH/uninstall", None, 404),
        ("POST", "/accounts/NOSUCH/profiles", {"emails": []}, 404),
        ("POST", "/accounts/AC0300/profiles", {"emails": ["nonsense"]}, 400),
        ("POST", "/accounts/AC0300/profiles", {"emails": "ada@example.com"}, 400),
        ("POST", "/accounts/AC0300/profiles", ["ada@example.com"], 400),
        ("POST", "/accounts/AC0300/profiles", {"emails": [ADA], "properties": ["points"]}, 400),
        ("POST", "/accounts/AC0300/subscriptions", {"email": ADA, "state": "MAYBE"}, 400),
        ("POST", "/accounts/AC0300/subscriptions", {"email": ADA, "state": "SUBSCRIBED", "reason": {}}, 400),
        ("POST", "/accounts/AC0300/subscriptions", {"email": "x", "state": "SUBSCRIBED"}, 400),
        ("POST", "/accounts/AC0300/subscriptions", {"email": ADA, "state": "SUBSCRIBED", "at": "then"}, 400),
        ("POST", "/accounts/AC0300/grants", {"scopes": ["lists:steal"]}, 400),
        ("GET", "/nothing", None, 404),
    ],
)
def test_wrong_calls(sandbox: SandboxProcess, method: str, path: str, body: object, status: int) -> None:
    assert _status(sandbox, method, path, body) == status


def test_body_that_is_no_json(sandbox: SandboxProcess) -> None:
    url = f"{sandbox.url}/_sandbox/faults"
    assert sandbox.session.post(url, data=b"{", timeout=10).status_code == 400


def test_reset_begins_as_on_the_first_start() -> None:
    with SandboxProcess("--memory", "--limits", "off") as own:
        plain = Plain(own, own.grant("ACCTSE")["access_token"])
        first = own.accounts()
        people = len(own.profiles("ACCTSE"))
        plain.post("/api/events", event({"email": "new@example.com"}, unique_id="1"))
        own.fault("slow-jobs", seconds=0.2)
        plain.post("/api/events", event({"email": "late@example.com"}, unique_id="2"))
        own.fault("500")
        own.reset()
        assert plain.get("/api/lists").status_code == 401
        assert own.call("GET", "/faults") == {"faults": []}
        assert own.requests() == 1
        again = own.accounts()
        assert again["ACCTSE"] == {**first["ACCTSE"], "scopes": []}
        assert (len(own.profiles("ACCTSE")), own.events("ACCTSE")) == (people, [])
        assert own.call("GET", "/rates")["rates"] != []


def test_nothing_of_it_is_on_klaviyos_paths(plain: Plain) -> None:
    for path in ("/api/_sandbox/accounts", "/api/reset"):
        assert plain.get(path).status_code == 404
