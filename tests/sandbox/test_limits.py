"""Rate limits: documented, times a factor, or off; announced and enforced alike."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import requests

from sandbox.errors import Refused
from sandbox.limits import M_DAILY, XS, L, Limits, M, Tier
from tests.sandbox.authorizing import App
from tests.sandbox.bodies import event
from tests.sandbox.klaviyo_clients import Plain
from tests.sandbox_process import SandboxProcess

MIDNIGHT = 1_790_000_000.0 - 1_790_000_000.0 % 86_400


@pytest.fixture(scope="module")
def documented() -> Iterator[SandboxProcess]:
    with SandboxProcess("--memory", "--extra-accounts", "5") as started:
        yield started


@pytest.fixture(scope="module")
def tenfold() -> Iterator[SandboxProcess]:
    with SandboxProcess("--memory", "--limits", "10") as started:
        yield started


def _client(sandbox: SandboxProcess, account: str) -> Plain:
    return Plain(sandbox, sandbox.grant(account)["access_token"])


def _until_throttled(plain: Plain, path: str, most: int) -> tuple[int, requests.Response]:
    for count in range(most):
        answer = plain.get(path)
        if answer.status_code == 429:
            return count, answer
        assert answer.status_code == 200
    raise AssertionError(f"{most} calls went through")


def test_what_is_announced(documented: SandboxProcess, tenfold: SandboxProcess, sandbox: SandboxProcess) -> None:
    expected = {
        documented: ("75, 75;w=1, 750;w=60", "74"),
        tenfold: ("750, 750;w=1, 7500;w=60", "749"),
        sandbox: ("1000000, 1000000;w=1, 1000000;w=60", "999999"),
    }
    for process, (limit, remaining) in expected.items():
        account = "AC0300" if process is sandbox else "ACCTSE"
        headers = _client(process, account).get("/api/lists").headers
        assert (headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == (limit, remaining)
        assert headers["RateLimit-Reset"] == "0"


def test_daily_limit_is_announced(documented: SandboxProcess) -> None:
    body = {"data": {"type": "list", "attributes": {"name": "New"}}}
    answer = _client(documented, "ACCTSE").post("/api/lists", body)
    assert answer.headers["RateLimit-Limit"] == "10, 10;w=1, 150;w=60, 150;w=86400"


def test_over_the_burst(documented: SandboxProcess) -> None:
    plain = _client(documented, "ACCTNO")
    count, answer = _until_throttled(plain, "/api/accounts", 4)
    # One a second: two may pass where a second begins between them.
    assert count in {1, 2, 3}
    assert answer.headers["Retry-After"] == "1"
    assert not [name for name in answer.headers if name.lower().startswith("ratelimit")]
    error = answer.json()["errors"][0]
    assert (error["status"], error["code"]) == (429, "throttled")
    assert error["detail"] == "Request was throttled. Expected available in 1 second."
    time.sleep(1.05)
    assert plain.get("/api/accounts").status_code == 200


def test_limits_are_per_account_and_endpoint(documented: SandboxProcess) -> None:
    first, second = _client(documented, "AC0001"), _client(documented, "AC0002")
    _until_throttled(first, "/api/accounts", 4)
    assert first.get("/api/metrics").status_code == 200
    assert second.get("/api/accounts").status_code == 200


def test_both_grants_of_an_account_share_its_limit(documented: SandboxProcess) -> None:
    first, second = _client(documented, "AC0003"), _client(documented, "AC0003")
    _until_throttled(first, "/api/accounts", 4)
    statuses = Counter(second.get("/api/accounts").status_code for _ in range(2))
    assert statuses[429] >= 1


def test_costlier_questions_are_limited_more(documented: SandboxProcess) -> None:
    plain = _client(documented, "AC0004")
    listed = plain.get("/api/lists").json()["data"][0]["id"]
    path = f"/api/lists/{listed}?additional-fields%5Blist%5D=profile_count"
    count, _ = _until_throttled(plain, path, 4)
    assert count in {1, 2, 3}
    assert plain.get(f"/api/lists/{listed}").status_code == 200


def test_tenfold_takes_ten_times_the_burst(tenfold: SandboxProcess) -> None:
    plain = _client(tenfold, "ACCTNO")
    count, _ = _until_throttled(plain, "/api/accounts", 160)
    assert 10 <= count <= 150


def test_off_never_refuses(sandbox: SandboxProcess, plain: Plain) -> None:
    assert {plain.get("/api/accounts").status_code for _ in range(40)} == {200}


def test_refresh_is_ten_a_minute_for_an_installation(documented: SandboxProcess) -> None:
    app = App(documented)
    held = [app.connect("AC0005")["refresh_token"] for _ in range(2)]
    statuses = [app.refresh(held[place % 2]).status_code for place in range(11)]
    assert statuses == [200] * 10 + [429]
    assert 1 <= int(app.refresh(held[0]).headers["Retry-After"]) <= 60


def test_rates_are_kept_for_proof(documented: SandboxProcess) -> None:
    plain = _client(documented, "ACCTDE")
    for number in range(5):
        plain.post("/api/events", event({"email": "ada@example.com"}, unique_id=str(number)))
    assert documented.rates()["ACCTDE", "POST /api/events"] == (5, 5)


# the windows themselves, with a clock of our own


def _passes(limits: Limits, tier: Tier, at: float, account: str = "ACCTSE") -> bool:
    try:
        limits.take(account, "GET /x", tier, at)
    except Refused:
        return False
    return True


def test_minute_window() -> None:
    limits = Limits(1)
    passed = [_passes(limits, L, MIDNIGHT + second + 0.01 * call) for second in range(20) for call in range(60)]
    # 60 a second stay under the burst of 75; a fixed minute may end in between, so up to two minutes' worth passes.
    assert 750 <= sum(passed) <= 1200
    assert not all(passed)


def test_windows_of_accounts_begin_at_phases_of_their_own() -> None:
    begins = set()
    for account in ("ACCTSE", "ACCTNO", "ACCTDE", "AC0001"):
        limits = Limits(1)
        assert _passes(limits, XS, MIDNIGHT, account)
        begins.add(next(ms for ms in range(1001) if _passes(limits, XS, MIDNIGHT + ms / 1000, account)))
    assert len(begins) == 4


def test_day_window_gives_a_long_wait() -> None:
    limits = Limits(1)
    start = MIDNIGHT + 3600
    for call in range(150):
        assert _passes(limits, M_DAILY, start + call)
    with pytest.raises(Refused) as refused:
        limits.take("ACCTSE", "GET /x", M_DAILY, start + 150)
    assert 3600 < int(refused.value.headers["Retry-After"]) <= 86_400


def test_refused_calls_do_not_count() -> None:
    limits = Limits(1)
    for _ in range(50):
        _passes(limits, M, MIDNIGHT)
    headers = limits.take("ACCTSE", "GET /x", M, MIDNIGHT + 1)
    assert headers["RateLimit-Remaining"] == "9"


def test_factor_below_one_still_lets_one_through() -> None:
    assert Limits(0.1).scaled(M) == Tier(1, 15, 0)
    assert Limits(0.01).scaled(XS) == Tier(1, 1, 0)
    assert math.isclose(Limits(2.5).scaled(M).burst, 25)
