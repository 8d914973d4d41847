"""Every fault a person can order: what the client sees, and whether the work was done."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from sandbox import api
from sandbox.endpoints import ENDPOINTS, Endpoint
from tests.processes import wait_for
from tests.sandbox.authorizing import App
from tests.sandbox.bodies import entry, event, event_attributes, events_job, import_job, profile, subscription_job
from tests.sandbox.klaviyo_clients import Plain
from tests.sandbox_process import SandboxProcess

_ = api  # importing it registers the endpoints
EVENTS = "POST /api/events"
ADA = {"email": "ada@example.com"}


@pytest.fixture(autouse=True)
def _no_faults_left(sandbox: SandboxProcess) -> Iterator[None]:
    yield
    sandbox.clear_faults()


def _send(plain: Plain, unique_id: str = "a-1", **rest: Any) -> requests.Response:
    return plain.call("POST", "/api/events", event(ADA, unique_id=unique_id), **rest)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("429", 429, "throttled"), ("500", 500, "error"), ("503", 503, "error"), ("401", 401, "authentication_failed")],
)
def test_refusals(sandbox: SandboxProcess, plain: Plain, account: str, kind: str, status: int, code: str) -> None:
    sandbox.fault(kind, account=account, endpoint=EVENTS, times=1)
    answer = _send(plain)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
    assert sandbox.events(account) == []
    assert _send(plain).status_code == 202
    assert len(sandbox.events(account)) == 1


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_endpoint_can_be_made_to_fail(
    sandbox: SandboxProcess, plain: Plain, account: str, endpoint: Endpoint
) -> None:
    path = re.sub(r"\{.*?\}", "01ABC", endpoint.path)
    for kind in ("429", "500", "503", "401", "403"):
        sandbox.fault(kind, account=account, endpoint=endpoint.name, times=1)
        assert plain.refused(endpoint.method, path, {}).status == int(kind)
    sandbox.fault("html-403", account=account, endpoint=endpoint.name, times=1)
    assert plain.call(endpoint.method, path, {}).headers["Content-Type"].startswith("text/html")
    sandbox.fault("reset", account=account, endpoint=endpoint.name, times=1)
    with pytest.raises(requests.ConnectionError):
        plain.call(endpoint.method, path, {})
    assert {order["times"] for order in sandbox.call("GET", "/faults")["faults"]} == {0}


def test_403_names_the_endpoints_scopes(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("403", account=account)
    found = plain.refused("POST", "/api/events", event(ADA))
    assert (found.status, found.code, found.detail.endswith("events:write.")) == (403, "permission_denied", True)


def test_429_says_how_long(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("429", account=account, retry_after=17, times=1)
    sandbox.fault("429", account=account, times=1)
    assert [_send(plain).headers["Retry-After"] for _ in range(2)] == ["17", "1"]


def test_503_says_how_long_only_where_told(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("503", account=account, retry_after=5, times=1)
    sandbox.fault("503", account=account, times=1)
    assert [_send(plain).headers.get("Retry-After") for _ in range(2)] == ["5", None]


def test_html_403_of_the_edge(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("html-403", account=account, times=1)
    answer = _send(plain)
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (403, "text/html")
    assert sandbox.events(account) == []


def test_timeout_answers_504_after_its_seconds(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("timeout", account=account, seconds=0.3, times=1)
    started = time.monotonic()
    assert _send(plain).status_code == 504
    assert time.monotonic() - started >= 0.3
    assert sandbox.events(account) == []


def test_hang_never_answers_and_is_counted_as_held(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("hang", account=account, times=1)
    with pytest.raises(requests.ReadTimeout):
        _send(plain, timeout=0.4)
    counts = [row for row in sandbox.call("GET", "/requests")["requests"] if row["account"] == account]
    assert counts == [{"account": account, "endpoint": EVENTS, "status": 0, "count": 1}]
    assert sandbox.events(account) == []
    assert _send(plain).status_code == 202


def test_hanging_calls_hold_up_nobody_else(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("hang", account=account, endpoint=EVENTS, times=3)
    with ThreadPoolExecutor(3) as pool:
        hanging = [pool.submit(_send, plain, timeout=0.6) for _ in range(3)]
        started = time.monotonic()
        assert plain.get("/api/lists").status_code == 200
        assert time.monotonic() - started < 0.5
        for each in hanging:
            assert isinstance(each.exception(), requests.ReadTimeout)


def test_reset_does_nothing(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("reset", account=account, times=1)
    with pytest.raises(requests.ConnectionError):
        _send(plain)
    assert sandbox.events(account) == []


def test_after_commit_reset_does_the_work_first(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("after-commit-reset", account=account, times=1)
    with pytest.raises(requests.ConnectionError):
        _send(plain)
    assert [each["unique_id"] for each in sandbox.events(account)] == ["a-1"]
    assert _send(plain).status_code == 202
    assert len(sandbox.events(account)) == 1


def test_after_commit_reset_of_a_refused_call_is_the_refusal(
    sandbox: SandboxProcess, plain: Plain, account: str
) -> None:
    sandbox.fault("after-commit-reset", account=account, times=1)
    assert plain.call("POST", "/api/events", {}).status_code == 400


def test_slow_adds_seconds(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("slow", account=account, seconds=0.3, times=1)
    started = time.monotonic()
    assert _send(plain).status_code == 202
    assert time.monotonic() - started >= 0.3
    assert len(sandbox.events(account)) == 1


def test_slow_jobs_holds_back_events_and_their_fields(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("slow-jobs", account=account, seconds=0.4)
    entries = [
        entry({"email": f"p{number}@example.com", "properties": {"n": number}}, [event_attributes(unique_id="x")])
        for number in range(30)
    ]
    assert plain.post("/api/event-bulk-create-jobs", events_job(*entries)).status_code == 202
    assert _send(plain).status_code == 202
    assert sandbox.events(account) == []
    assert sandbox.profiles(account) == {}
    wait_for(lambda: len(sandbox.events(account)) == 31, "the events to take effect", 3)
    order = [each["email"] for each in sandbox.events(account)]
    assert order != sorted(order, key=lambda email: int("".join(c for c in email if c.isdigit()) or 99))
    assert sandbox.profiles(account)["p7@example.com"]["properties"] == {"n": 7}


def test_slow_jobs_holds_back_imports_and_subscriptions(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("slow-jobs", account=account, seconds=0.4)
    job = plain.post("/api/profile-bulk-import-jobs", import_job([{"email": "bea@example.com"}])).json()["data"]
    plain.post("/api/profile-subscription-bulk-create-jobs", subscription_job([ADA]))
    time.sleep(0.15)
    path = f"/api/profile-bulk-import-jobs/{job['id']}"
    assert plain.get(path).json()["data"]["attributes"]["status"] == "queued"
    assert sandbox.profiles(account) == {}
    wait_for(lambda: len(sandbox.profiles(account)) == 2, "the jobs to take effect", 3)
    assert plain.get(path).json()["data"]["attributes"]["status"] == "complete"
    assert sandbox.subscriptions(account)["ada@example.com"]["state"] == "SUBSCRIBED"


def test_faults_strike_only_their_account_and_endpoint(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("500", account="AC0300", endpoint=EVENTS)
    sandbox.fault("500", account=account, endpoint="POST /api/profile-import")
    assert _send(plain).status_code == 202
    assert plain.post("/api/profile-import", profile(ADA)).status_code == 500


@pytest.mark.parametrize("named", ["PATCH /api/profiles/{id}", "patch /api/profiles/{profile_id}/", "exactly"])
def test_endpoints_with_an_id_are_named_in_any_way(
    sandbox: SandboxProcess, plain: Plain, account: str, named: str
) -> None:
    made = sandbox.put_profiles(account, "ada@example.com")["ada@example.com"]
    endpoint = f"PATCH /api/profiles/{made}" if named == "exactly" else named
    sandbox.fault("500", account=account, endpoint=endpoint, times=1)
    body = profile({}, profile_id=made)
    assert [plain.call("PATCH", f"/api/profiles/{made}", body).status_code for _ in range(2)] == [500, 200]


def test_faults_strike_in_the_order_they_came_and_times_runs_out(
    sandbox: SandboxProcess, plain: Plain, account: str
) -> None:
    sandbox.fault("500", account=account, times=2)
    sandbox.fault("503", account=account, times=1)
    assert [_send(plain).status_code for _ in range(4)] == [500, 500, 503, 202]


def test_probability(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    sandbox.fault("500", account=account, probability=0.5)
    statuses = [_send(plain).status_code for _ in range(60)]
    # Both outcomes: 60 of one kind comes about once in 10^18 runs.
    assert set(statuses) == {202, 500}
    sandbox.clear_faults()
    sandbox.fault("500", account=account, probability=0.0)
    assert {_send(plain).status_code for _ in range(20)} == {202}


def test_token_endpoint_fails_too(sandbox: SandboxProcess, account: str) -> None:
    app = App(sandbox)
    held = app.connect(account)["refresh_token"]
    sandbox.fault("html-403", account=account, endpoint="POST /oauth/token", times=1)
    sandbox.fault("503", account=account, endpoint="POST /oauth/token", times=1)
    sandbox.fault("after-commit-reset", account=account, endpoint="POST /oauth/token", times=1)
    assert [app.refresh(held).status_code for _ in range(2)] == [403, 503]
    with pytest.raises(requests.ConnectionError):
        app.refresh(held)
    assert app.refresh(held).ok


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"kind": "earthquake"},
        {"kind": "500", "acount": "ACCTSE"},
        {"kind": "500", "times": "many"},
        {"kind": "500", "times": 0},
        {"kind": "500", "times": -1},
        {"kind": "500", "probability": 1.5},
        {"kind": "500", "probability": -0.1},
        {"kind": "slow", "seconds": -1},
        {"kind": "429", "retry_after": -1},
        {"kind": "500", "account": "NOSUCH"},
        {"kind": "500", "account": ["ACCTSE"]},
        {"kind": "500", "endpoint": "POST /api/event"},
        {"kind": "500", "endpoint": "/api/events"},
    ],
)
def test_wrong_orders_are_refused(sandbox: SandboxProcess, order: dict[str, Any]) -> None:
    answer = sandbox.session.post(f"{sandbox.url}/_sandbox/faults", json=order, timeout=10)
    assert answer.status_code == 400
    assert sandbox.call("GET", "/faults") == {"faults": []}
